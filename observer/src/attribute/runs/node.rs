//! A Node.js process comes in; the packages that it can require go out: those of the `node_modules` above its main script, its
//! directory and what its options load, and of NODE_PATH (Node.js, "Modules: loading from node_modules folders").

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use observer_core::audit::causes::{matters, names};
use observer_core::audit::runs::Runtime;
use serde::Deserialize;

use super::Libraries;
use super::files::Files;
use super::found::Found;

const MANIFEST_BYTES_MAX: u64 = 256 << 10;
/// Directories above a script that are looked into.
const LEVELS_MAX: usize = 16;
/// Packages of OpenTelemetry that are read.
const SCOPED_MAX: usize = 256;
/// The scope of OpenTelemetry's packages.
const SCOPE: &str = "@opentelemetry";
/// Options that load a module first.
const LOADING: [&str; 4] = ["-r", "--require", "--import", "--loader"];
/// Other options that take the next argument as their value.
const VALUES: [&str; 5] = ["-C", "--conditions", "--env-file", "--title", "--experimental-loader"];

#[derive(Default, Deserialize)]
struct Manifest {
    version: Option<String>,
}

/// The packages that matter.
pub(super) fn libraries(found: &Found, files: &Files) -> Libraries {
    let command = Command::of(&found.arguments);
    let places: Vec<PathBuf> = places(found, &command, files);
    let mut libraries = BTreeMap::new();
    let mut is_whole = true;
    for place in &places {
        let mut wanted: Vec<String> = names(Runtime::Node).map(str::to_owned).collect();
        if let Some((scoped, all)) = files.names(&place.join(SCOPE)) {
            is_whole &= all && scoped.len() <= SCOPED_MAX;
            let scoped = scoped.into_iter().take(SCOPED_MAX).map(|name| format!("{SCOPE}/{name}"));
            wanted.extend(scoped.filter(|name| matters(Runtime::Node, name)));
        }
        for name in wanted {
            if let Some(Manifest { version }) = manifest(files, &place.join(&name)) {
                // What is found first is what is required.
                libraries.entry(name).or_insert(version);
            }
        }
    }
    let unread = if places.is_empty() {
        Some("no node_modules are found where it looks for them: its packages may be bundled".to_owned())
    } else if !is_whole || files.is_exhausted() {
        Some("it has more packages than are read".to_owned())
    } else if command.main.is_none() {
        Some("its command line does not tell its main script".to_owned())
    } else {
        None
    };
    Libraries { libraries, unread }
}

/// What the manifest of the package in a directory says; `None`: there is none. That it cannot be understood is no reason to pass the
/// package over.
fn manifest(files: &Files, package: &Path) -> Option<Manifest> {
    let text = files.read(&package.join("package.json"), MANIFEST_BYTES_MAX)?;
    Some(serde_json::from_slice(&text).unwrap_or_default())
}

/// What a command line of Node.js says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Command {
    main: Option<String>,
    /// Modules that are loaded before it.
    loaded: Vec<String>,
}

impl Command {
    fn of(arguments: &[String]) -> Self {
        let mut command = Self::default();
        let mut rest = arguments.iter().skip(1);
        while let Some(argument) = rest.next() {
            let (option, value) = match argument.split_once('=') {
                Some((option, value)) if option.starts_with('-') => (option, Some(value.to_owned())),
                _ => (argument.as_str(), None),
            };
            if LOADING.contains(&option) {
                command.loaded.extend(value.or_else(|| rest.next().cloned()));
            } else if VALUES.contains(&option) && value.is_none() {
                rest.next();
            } else if !option.starts_with('-') {
                command.main = Some(argument.clone());
                break;
            }
        }
        command
    }
}

/// The directories of packages that exist, in the order in which they are looked into.
fn places(found: &Found, command: &Command, files: &Files) -> Vec<PathBuf> {
    let options: Vec<String> = found
        .settings
        .get("NODE_OPTIONS")
        .map(|options| std::iter::once("node").chain(options.split_ascii_whitespace()).map(str::to_owned).collect())
        .unwrap_or_default();
    let also = Command::of(&options).loaded;
    // A module that is no path is looked for from where the process was started.
    let paths = command.loaded.iter().chain(&also).filter(|path| path.starts_with(['/', '.']));
    let scripts = command.main.iter().chain(paths).map(|path| found.absolute(path));
    let from: Vec<PathBuf> = scripts.chain(std::iter::once(found.directory.clone())).collect();
    let mut places: Vec<PathBuf> = Vec::new();
    let above = from.iter().flat_map(|path| path.ancestors().take(LEVELS_MAX));
    let above = above.filter(|path| !path.ends_with("node_modules")).map(|path| path.join("node_modules"));
    for place in above.chain(found.listed("NODE_PATH")) {
        if !places.contains(&place) && files.names(&place).is_some() {
            places.push(place);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_tells_the_main_script_and_what_is_loaded_before() {
        let command = |text: &str| Command::of(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let told = |main: Option<&str>, loaded: &[&str]| Command {
            main: main.map(str::to_owned),
            loaded: loaded.iter().map(|name| (*name).to_owned()).collect(),
        };
        for (text, expected) in [
            ("node app.js --require x", told(Some("app.js"), &[])),
            (
                "node --require @opentelemetry/auto-instrumentations-node/register /srv/app.js",
                told(Some("/srv/app.js"), &["@opentelemetry/auto-instrumentations-node/register"]),
            ),
            (
                "node --import=/otel/register.mjs --max-old-space-size=64 --env-file .env app.js",
                told(Some("app.js"), &["/otel/register.mjs"]),
            ),
            ("node -r", told(None, &[])),
            ("node -e code()", told(Some("code()"), &[])),
            ("my title", told(Some("title"), &[])),
            ("node", told(None, &[])),
        ] {
            assert_eq!(command(text), expected, "{text}");
        }
    }

    #[test]
    fn a_package_counts_whatever_its_manifest_says() {
        let place = tempfile::tempdir().unwrap();
        let packages = place.path().join("root/srv/node_modules");
        for (name, manifest) in
            [("express", "{\"version\": \"5.3.0\"}"), ("koa", "{\"version\": 5}"), ("@opentelemetry/api", "not JSON")]
        {
            std::fs::create_dir_all(packages.join(name)).unwrap();
            std::fs::write(packages.join(name).join("package.json"), manifest).unwrap();
        }
        std::fs::create_dir_all(packages.join("undici")).unwrap();
        let files = Files::of(place.path()).unwrap();
        let found = Found {
            arguments: ["node", "/srv/app/main.js"].map(str::to_owned).to_vec(),
            directory: "/".into(),
            ..Found::default()
        };
        let Libraries { libraries, unread } = libraries(&found, &files);
        let expected = [("@opentelemetry/api", None), ("express", Some("5.3.0".to_owned())), ("koa", None)];
        assert_eq!(libraries, expected.map(|(name, version)| (name.to_owned(), version)).into());
        assert_eq!(unread, None);
        let elsewhere = Found { arguments: vec!["node".to_owned(), "/other.js".to_owned()], ..found };
        assert!(super::libraries(&elsewhere, &files).unread.unwrap().contains("no node_modules"));
    }
}
