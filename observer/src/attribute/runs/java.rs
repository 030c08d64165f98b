//! A Java process comes in; its agents and the libraries on its class path go out, from its command line and settings, the files that
//! it has open, and the jars within its own jar.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use observer_core::audit::causes::matters;
use observer_core::audit::runs::Runtime;

use super::Libraries;
use super::files::Files;
use super::found::Found;

const RELEASE_BYTES_MAX: u64 = 16 << 10;
/// Open files of a process that are looked at: a class path of some thousand jars, and sockets.
const OPEN_MAX: usize = 8192;
/// Bytes of the list of a jar's files: some 100,000 of them.
const ENTRIES_BYTES_MAX: usize = 8 << 20;
/// Settings that bring options along.
const OPTIONS: [&str; 2] = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"];

/// The version, as the file `release` beside the runtime's libraries says.
pub(super) fn version(found: &Found, files: &Files) -> Option<String> {
    let library = found.maps("libjvm.so")?;
    let text =
        library.ancestors().skip(1).take(5).find_map(|home| files.text(&home.join("release"), RELEASE_BYTES_MAX))?;
    let version = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    Some(version.trim_matches('"').to_owned()).filter(|version| !version.is_empty())
}

/// The libraries that matter.
pub(super) fn libraries(found: &Found, files: &Files, process: &Path) -> Libraries {
    let mut jars = Jars::default();
    let options: Vec<String> = OPTIONS
        .iter()
        .filter_map(|setting| found.settings.get(setting))
        .flat_map(|options| options.split_ascii_whitespace())
        .map(str::to_owned)
        .collect();
    jars.of_options(&options);
    jars.of_options(found.arguments.get(1..).unwrap_or_default());
    jars.paths.extend(found.listed("CLASSPATH").map(|path| path.to_string_lossy().into_owned()));
    let open = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten().take(OPEN_MAX);
    let open = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    jars.paths.extend(open.filter(|path| is_jar(path)).map(|path| path.to_string_lossy().into_owned()));

    let mut libraries = BTreeMap::new();
    let mut is_whole = true;
    let mut add = |name: &str| {
        let Some((artifact, version)) = artifact(name) else { return };
        if matters(Runtime::Java, &artifact) {
            libraries.entry(artifact).or_insert(version);
        }
    };
    for path in &jars.paths {
        let path = found.absolute(path);
        if let Some(directory) = path.to_str().and_then(|path| path.strip_suffix("/*")) {
            let (names, all) = files.names(Path::new(directory)).unwrap_or_default();
            is_whole &= all;
            for name in &names {
                add(name);
            }
        } else {
            add(path.file_name().and_then(|name| name.to_str()).unwrap_or_default());
        }
    }
    // Spring Boot keeps the libraries of a program in its jar.
    if let Some(main) = &jars.main {
        match files.open(&found.absolute(main)).and_then(|jar| entries(&jar)) {
            Some(entries) => {
                for name in entries.iter().filter(|name| is_jar(Path::new(name))) {
                    add(name.rsplit('/').next().unwrap_or_default());
                }
            }
            None => is_whole = false,
        }
    }
    let unread = if jars.has_modules || !is_whole || files.is_exhausted() {
        Some("not all of its class path can be read".to_owned())
    } else if jars.paths.is_empty() && jars.main.is_none() {
        Some("its command line does not tell its class path".to_owned())
    } else {
        None
    };
    Libraries { libraries, unread }
}

#[derive(Default)]
struct Jars {
    paths: Vec<String>,
    main: Option<String>,
    has_modules: bool,
}

impl Jars {
    fn of_options(&mut self, options: &[String]) {
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            if let Some(agent) = option.strip_prefix("-javaagent:") {
                self.paths.push(agent.split('=').next().unwrap_or_default().to_owned());
            } else if let Some(path) = option.strip_prefix("--class-path=") {
                self.add(path);
            } else if ["-cp", "-classpath", "--class-path"].contains(&option.as_str()) {
                self.add(rest.next().map_or("", String::as_str));
            } else if option == "-jar" {
                self.main = rest.next().cloned();
                return;
            } else if ["-p", "--module-path"].contains(&option.as_str())
                || option.starts_with("--module-path=")
                || option.starts_with('@')
            {
                self.has_modules = true;
                if !option.contains('=') && !option.starts_with('@') {
                    rest.next();
                }
            } else if !option.starts_with('-') {
                // The main class; what follows is its own.
                return;
            }
        }
    }

    fn add(&mut self, path: &str) {
        self.paths.extend(path.split(':').filter(|path| !path.is_empty()).map(str::to_owned));
    }
}

fn is_jar(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jar")
}

/// `opentelemetry-api-1.34.1.jar` → opentelemetry-api, 1.34.1.
fn artifact(name: &str) -> Option<(String, Option<String>)> {
    let stem = name.strip_suffix(".jar").filter(|stem| !stem.is_empty())?;
    let digit = |rest: &str| rest.starts_with(|letter: char| letter.is_ascii_digit());
    let at = stem.match_indices('-').find(|(at, _)| digit(&stem[at + 1..])).map(|(at, _)| at);
    Some(match at {
        Some(at) => (stem[..at].to_owned(), Some(stem[at + 1..].to_owned())),
        None => (stem.to_owned(), None),
    })
}

/// The names of the files in a jar, by the list at its end (PKWARE APPNOTE 6.3, sections 4.3.12 and 4.3.16). None where it is no jar,
/// or larger than such a list can tell (ZIP64).
fn entries(jar: &File) -> Option<Vec<String>> {
    const END: usize = 22;
    const COMMENT_MAX: usize = 0xffff;
    let len = jar.metadata().ok()?.len();
    let tail_len = usize::try_from(len).unwrap_or(usize::MAX).min(END + COMMENT_MAX);
    let mut tail = vec![0; tail_len];
    jar.read_exact_at(&mut tail, len.checked_sub(tail_len as u64)?).ok()?;
    let at = memchr::memmem::rfind(&tail, b"PK\x05\x06")?;
    let end = tail.get(at..at + END)?;
    let (size, from) = (number(end, 12)?, number(end, 16)?);
    let size = usize::try_from(size).ok().filter(|size| *size <= ENTRIES_BYTES_MAX)?;
    let mut list = vec![0; size];
    jar.read_exact_at(&mut list, u64::from(from)).ok()?;
    Some(listed(&list))
}

fn listed(list: &[u8]) -> Vec<String> {
    const HEADER: usize = 46;
    let mut names = Vec::new();
    let mut rest = list;
    while let Some(header) = rest.get(..HEADER).filter(|header| header.starts_with(b"PK\x01\x02")) {
        let lengths = [28, 30, 32]
            .map(|at| header.get(at..at + 2).map_or(0, |bytes| usize::from(bytes[0]) | usize::from(bytes[1]) << 8));
        let Some(name) = rest.get(HEADER..HEADER + lengths[0]) else { break };
        names.push(String::from_utf8_lossy(name).into_owned());
        rest = rest.get(HEADER + lengths.iter().sum::<usize>()..).unwrap_or_default();
    }
    names
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jar_is_called_as_its_artifact() {
        for (name, expected) in [
            ("opentelemetry-api-1.34.1.jar", Some(("opentelemetry-api", Some("1.34.1")))),
            ("opentelemetry-javaagent.jar", Some(("opentelemetry-javaagent", None))),
            ("httpclient5-5.3-rc1.jar", Some(("httpclient5", Some("5.3-rc1")))),
            ("log4j-1.2-api-2.20.0.jar", Some(("log4j", Some("1.2-api-2.20.0")))),
            ("-1.jar", Some(("", Some("1")))),
            (".jar", None),
            ("shop.war", None),
        ] {
            let expected = expected.map(|(name, version)| (name.to_owned(), version.map(str::to_owned)));
            assert_eq!(artifact(name), expected, "{name}");
        }
    }

    #[test]
    fn options_end_at_the_main_class() {
        let mut jars = Jars::default();
        let options = "-Xmx1g -javaagent:/otel/opentelemetry-javaagent.jar=x=y -cp /a.jar:/lib/* shop.Main -cp /no.jar -javaagent:/no.jar";
        jars.of_options(&options.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(jars.paths, ["/otel/opentelemetry-javaagent.jar", "/a.jar", "/lib/*"]);
        assert_eq!((jars.main, jars.has_modules), (None, false));
        let mut jars = Jars::default();
        jars.of_options(&["-cp".to_owned()]);
        jars.of_options(&["-jar".to_owned()]);
        assert_eq!((jars.paths.len(), jars.main), (0, None));
    }

    #[test]
    fn a_broken_list_of_a_jar_ends_where_it_breaks() {
        let entry = |name: &str| {
            let mut header = vec![0; 46];
            header[..4].copy_from_slice(b"PK\x01\x02");
            header[28] = u8::try_from(name.len()).unwrap();
            [header, name.as_bytes().to_vec()].concat()
        };
        let whole = [entry("a.jar"), entry("BOOT-INF/lib/b.jar")].concat();
        assert_eq!(listed(&whole), ["a.jar", "BOOT-INF/lib/b.jar"]);
        for len in 0..whole.len() {
            assert!(listed(&whole[..len]).len() <= 1);
        }
        assert!(listed(&[0xff; 200]).is_empty());
    }
}
