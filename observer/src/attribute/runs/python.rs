//! A Python process comes in; the packages that are installed where its interpreter looks for them go out.
//!
//! Where that is: site-packages of the virtual environment or prefix of the interpreter that was called (site.py), what PYTHONPATH
//! names, and where extension modules that it has mapped come from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use observer_core::audit::causes::matters;
use observer_core::audit::runs::Runtime;

use super::super::program::Language;
use super::super::program::language;
use super::Libraries;
use super::files::Files;
use super::found::Found;

const CONFIGURATION_BYTES_MAX: u64 = 16 << 10;
/// The directory of extension modules of a package whose name is not that of its import, and where in it they are.
const EXTENSIONS: [(&str, &str); 9] = [
    ("aiohttp", "aiohttp"),
    ("grpcio", "grpc/_cython"),
    ("confluent-kafka", "confluent_kafka"),
    ("aiokafka", "aiokafka/record/_crecords"),
    ("ddtrace", "ddtrace/internal"),
    ("newrelic", "newrelic/core"),
    ("gevent", "gevent"),
    ("tornado", "tornado"),
    ("sanic", "sanic"),
];

/// The version that the names of files tell: `3.11` of `python3.11` and `libpython3.11.so.1.0`; it matters for where packages are.
pub(super) fn series(found: &Found) -> Option<String> {
    let of_library = found.maps("libpython").and_then(Path::file_name).and_then(|name| name.to_str());
    let library = of_library.and_then(|name| number(name.strip_prefix("libpython")?));
    library.or_else(|| number(found.name().trim_start_matches(|letter: char| letter.is_ascii_alphabetic())))
}

/// `3.11.so.1.0` → 3.11.
fn number(text: &str) -> Option<String> {
    let (major, rest) = text.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (major.parse::<u8>().is_ok() && !minor.is_empty()).then(|| format!("{major}.{minor}"))
}

/// The packages that matter.
pub(super) fn libraries(found: &Found, files: &Files, series: Option<&str>) -> Libraries {
    let places = places(found, files, series);
    let mut packages: BTreeMap<String, (Option<String>, PathBuf)> = BTreeMap::new();
    let (mut read, mut is_whole) = (0, true);
    for place in &places.all {
        let Some((names, all)) = files.names(place) else { continue };
        read += 1;
        is_whole &= all;
        for (name, version) in names.iter().filter_map(|name| package(name)) {
            packages.entry(name).or_insert((version, place.clone()));
        }
    }
    let loaded = packages
        .into_iter()
        .filter(|(name, (_, place))| matters(Runtime::Python, name) && may_be_loaded(found, files, name, place));
    let libraries = loaded.map(|(name, (version, _))| (name, version)).collect();
    let unread = if read == 0 {
        Some("no site-packages of its interpreter can be read".to_owned())
    } else if !is_whole || files.is_exhausted() {
        Some("it has more packages than are read".to_owned())
    } else if !places.is_sure {
        Some("its command line does not tell its virtual environment".to_owned())
    } else {
        None
    };
    Libraries { libraries, unread }
}

/// Directories with packages, those first that are looked at first.
struct Places {
    all: Vec<PathBuf>,
    /// Whether the interpreter that was called is known, and with it the virtual environment.
    is_sure: bool,
}

fn places(found: &Found, files: &Files, series: Option<&str>) -> Places {
    let mut all: Vec<PathBuf> = found.listed("PYTHONPATH").collect();
    let interpreter = interpreter(found, files);
    let is_sure = interpreter.is_some();
    let mut prefixes = Vec::new();
    let mut outside = true;
    if let Some(interpreter) = &interpreter
        && let Some((prefix, sees_outside)) = environment(interpreter, files)
    {
        prefixes.push(prefix);
        outside = sees_outside;
    } else if interpreter.is_none()
        && let Some(prefix) = found.settings.get("VIRTUAL_ENV")
    {
        prefixes.push(found.absolute(prefix));
    }
    let lib = series.map(|series| format!("python{series}"));
    for prefix in &prefixes {
        all.extend(lib.iter().map(|lib| prefix.join("lib").join(lib).join("site-packages")));
        all.extend(lib.iter().map(|lib| prefix.join("lib64").join(lib).join("site-packages")));
    }
    // An extension module shows where it came from.
    all.extend(found.mapped.iter().filter_map(|path| installed_in(path)));
    if outside {
        let base = found.executable.parent().and_then(Path::parent);
        for prefix in base.into_iter().chain([Path::new("/usr"), Path::new("/usr/local")]) {
            let lib = lib.iter().flat_map(|lib| ["site-packages", "dist-packages"].map(|kind| format!("{lib}/{kind}")));
            all.extend(lib.map(|lib| prefix.join("lib").join(lib)));
        }
        // Debian's packages.
        all.push(PathBuf::from("/usr/lib/python3/dist-packages"));
    }
    let mut seen = Vec::new();
    all.retain(|place| {
        !seen.contains(place) && {
            seen.push(place.clone());
            true
        }
    });
    Places { all, is_sure }
}

/// The interpreter as it was called: what it finds of its environment depends on that (site.py).
fn interpreter(found: &Found, files: &Files) -> Option<PathBuf> {
    let called = found.arguments.first().filter(|called| language(called) == Language::Python)?;
    if called.contains('/') {
        return Some(found.absolute(called)).filter(|path| files.has(path));
    }
    found.listed("PATH").map(|directory| directory.join(called)).find(|path| files.has(path))
}

/// The virtual environment of an interpreter, and whether it sees the packages outside.
fn environment(interpreter: &Path, files: &Files) -> Option<(PathBuf, bool)> {
    let directory = interpreter.parent()?;
    [directory.parent(), Some(directory)].into_iter().flatten().find_map(|prefix| {
        let text = files.text(&prefix.join("pyvenv.cfg"), CONFIGURATION_BYTES_MAX)?;
        Some((prefix.to_owned(), sees_outside(&text)))
    })
}

/// What `pyvenv.cfg` says.
fn sees_outside(text: &str) -> bool {
    text.lines().filter_map(|line| line.split_once('=')).any(|(key, value)| {
        key.trim().eq_ignore_ascii_case("include-system-site-packages") && value.trim().eq_ignore_ascii_case("true")
    })
}

/// The directory of packages that a file is in.
fn installed_in(path: &Path) -> Option<PathBuf> {
    let is = |path: &&Path| path.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages");
    path.ancestors().find(is).map(Path::to_owned)
}

/// `opentelemetry_sdk-1.45.1.dist-info` → opentelemetry-sdk, 1.45.1 (PEP 376, PEP 427; names by PEP 503).
fn package(entry: &str) -> Option<(String, Option<String>)> {
    let stem = entry.strip_suffix(".dist-info").or_else(|| entry.strip_suffix(".egg-info"))?;
    let mut parts = stem.split('-');
    let (name, version) = (parts.next()?, parts.next());
    let mut normal = String::new();
    for letter in name.chars() {
        let letter = if "-_.".contains(letter) { '-' } else { letter.to_ascii_lowercase() };
        if letter != '-' || !normal.ends_with('-') {
            normal.push(letter);
        }
    }
    let version = version.filter(|version| version.starts_with(|letter: char| letter.is_ascii_digit()));
    (!normal.is_empty()).then(|| (normal, version.map(str::to_owned)))
}

/// Whether a package may be loaded: one with extension modules is not where none of these is mapped.
fn may_be_loaded(found: &Found, files: &Files, name: &str, place: &Path) -> bool {
    let Some((_, within)) = EXTENSIONS.iter().find(|(package, _)| *package == name) else { return true };
    let directory = place.join(within);
    let top = place.join(within.split('/').next().unwrap_or_default());
    if found.mapped.iter().any(|path| path.starts_with(&top)) {
        return true;
    }
    let is_extension = |name: &String| Path::new(name).extension().is_some_and(|extension| extension == "so");
    // Where it was built without them, nothing tells.
    !files.names(&directory).is_some_and(|(names, _)| names.iter().any(is_extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_as_the_index_names_them() {
        for (entry, expected) in [
            (
                "opentelemetry_instrumentation_aiohttp_client-0.66b1.dist-info",
                Some(("opentelemetry-instrumentation-aiohttp-client", Some("0.66b1"))),
            ),
            ("Flask-3.1.3.dist-info", Some(("flask", Some("3.1.3")))),
            ("zope.interface-5.5.2.egg-info", Some(("zope-interface", Some("5.5.2")))),
            ("requests-2.28.1.egg-info", Some(("requests", Some("2.28.1")))),
            ("PyYAML-6.0-py3.11.egg-info", Some(("pyyaml", Some("6.0")))),
            ("a__b-1.dist-info", Some(("a-b", Some("1")))),
            ("shop.egg-info", Some(("shop", None))),
            ("-1.0.dist-info", None),
            (".dist-info", None),
            ("flask", None),
            ("", None),
        ] {
            let expected = expected.map(|(name, version)| (name.to_owned(), version.map(str::to_owned)));
            assert_eq!(package(entry), expected, "{entry}");
        }
    }

    #[test]
    fn the_series_is_told_by_names() {
        let found = |executable: &str, mapped: &[&str]| Found {
            executable: executable.into(),
            mapped: mapped.iter().map(PathBuf::from).collect(),
            ..Found::default()
        };
        for (found, expected) in [
            (found("/usr/bin/python3.11", &[]), Some("3.11")),
            (found("/usr/sbin/uwsgi", &["/usr/lib/libpython3.13.so.1.0"]), Some("3.13")),
            (found("/opt/python3", &[]), None),
            (found("/opt/python", &["/x/libpython.so"]), None),
        ] {
            assert_eq!(series(&found).as_deref(), expected);
        }
    }

    #[test]
    fn a_virtual_environment_says_whether_it_sees_outside() {
        assert!(sees_outside("home = /usr/bin\nInclude-System-Site-Packages = True\n"));
        assert!(!sees_outside("home = /usr/bin\ninclude-system-site-packages = false\n"));
        assert!(!sees_outside("include-system-site-packages"));
        assert!(!sees_outside("\0\u{fffd}=\n="));
    }
}
