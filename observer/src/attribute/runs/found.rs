//! What is found of a process before its libraries are looked for: its command line, the settings that say where these are, what it
//! has mapped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::environment::ENVIRONMENT_BYTES_MAX;
use super::super::process::{ARGUMENTS_BYTES_MAX, read_bytes};

/// The settings that say where libraries are; no other variable is kept.
const SETTINGS: [&str; 8] = [
    "PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "NODE_PATH",
    "NODE_OPTIONS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "CLASSPATH",
];

/// A process as `/proc` tells it.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Its executable as it sees it.
    pub(super) executable: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) settings: BTreeMap<&'static str, String>,
    pub(super) directory: PathBuf,
    /// Paths of the files that it has mapped as code.
    pub(super) mapped: Vec<PathBuf>,
}

impl Found {
    /// What `/proc/PID` tells; `None` where it is gone or its executable may not be known.
    pub(super) fn of(process: &Path, mapped: &[PathBuf]) -> Option<Self> {
        let executable = std::fs::read_link(process.join("exe")).ok()?;
        let arguments = read_bytes(&process.join("cmdline"), ARGUMENTS_BYTES_MAX).unwrap_or_default();
        let environment = read_bytes(&process.join("environ"), ENVIRONMENT_BYTES_MAX).unwrap_or_default();
        Some(Self {
            executable: without_deleted(&executable),
            arguments: strings(&arguments).collect(),
            settings: settings(&environment),
            directory: std::fs::read_link(process.join("cwd")).unwrap_or_default(),
            mapped: mapped.iter().map(|path| without_deleted(path)).collect(),
        })
    }

    /// The name of the executable.
    pub(super) fn name(&self) -> &str {
        self.executable.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// A path as the process means it.
    pub(super) fn absolute(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    /// The paths of a setting that lists them with colons between.
    pub(super) fn listed(&self, setting: &str) -> impl Iterator<Item = PathBuf> {
        let value = self.settings.get(setting).map(String::as_str).unwrap_or_default();
        value.split(':').filter(|path| !path.is_empty()).map(|path| self.absolute(path))
    }

    /// The first mapped file whose name begins so.
    pub(super) fn maps(&self, begin: &str) -> Option<&Path> {
        let is = |path: &&PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(begin))
        };
        self.mapped.iter().find(is).map(PathBuf::as_path)
    }
}

fn strings(bytes: &[u8]) -> impl Iterator<Item = String> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    bytes.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned())
}

fn settings(environment: &[u8]) -> BTreeMap<&'static str, String> {
    let mut settings = BTreeMap::new();
    for entry in environment.split(|byte| *byte == 0) {
        let found = SETTINGS.iter().find_map(|name| {
            let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some((*name, String::from_utf8_lossy(value).into_owned()))
        });
        if let Some((name, value)) = found {
            settings.entry(name).or_insert(value);
        }
    }
    settings
}

/// The kernel says behind the path that the file was deleted.
fn without_deleted(path: &Path) -> PathBuf {
    path.to_str().map_or_else(|| path.to_owned(), |path| PathBuf::from(path.trim_end_matches(" (deleted)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_environment_only_what_says_where_libraries_are_is_kept() {
        let found = settings(b"SECRET=x\0NODE_PATH=/a:/b\0NODE_PATH=/c\0PATHS=/d\0PYTHONPATH\0\0=x\0VIRTUAL_ENV=\xff");
        let expected = [("NODE_PATH", "/a:/b"), ("VIRTUAL_ENV", "\u{fffd}")];
        assert_eq!(found, BTreeMap::from(expected.map(|(name, value)| (name, value.to_owned()))));
    }

    #[test]
    fn arguments_are_what_ends_with_zero_and_may_be_empty() {
        let arguments = |bytes: &[u8]| strings(bytes).collect::<Vec<_>>();
        assert_eq!(arguments(b"node\0\0app.js\0"), ["node", "", "app.js"]);
        assert_eq!(arguments(b"title without end"), ["title without end"]);
    }
}
