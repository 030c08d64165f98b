//! A configuration file that may change comes in, each good new version of it goes out; a bad one is one log line and the
//! old one stays.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Config;

/// Looks after the configuration file and the files with declared rules that it names.
#[derive(Debug)]
pub struct Watch {
    config: PathBuf,
    watched: Vec<(PathBuf, Mark)>,
}

/// What changes when a file is written or replaced.
type Mark = Option<(SystemTime, u64, u64)>;

impl Watch {
    /// Watches the files of `config`; `None` for the defaults, which cannot change.
    pub fn new(config: &Config) -> Option<Self> {
        let path = config.path.clone()?;
        let mut watch = Self { config: path, watched: Vec::new() };
        watch.follow(config);
        Some(watch)
    }

    fn follow(&mut self, config: &Config) {
        let declared = config.declared.files.iter().map(|file| file.path.clone());
        let seen = std::mem::take(&mut self.watched);
        let watch = |path: PathBuf| {
            // What was seen before the file was read stays: it may have changed since.
            let known = seen.iter().find(|(known, _)| *known == path).map(|(_, seen)| *seen);
            let mark = known.unwrap_or_else(|| mark(&path));
            (path, mark)
        };
        self.watched = std::iter::once(self.config.clone()).chain(declared).map(watch).collect();
    }

    /// Whether one of the files has changed since the last look.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        for (path, seen) in &mut self.watched {
            let now = mark(path);
            changed |= std::mem::replace(seen, now) != now;
        }
        changed
    }

    /// Reads the file again; `None`, with a line in the log, where the new version is no good.
    pub fn reload(&mut self) -> Option<Config> {
        // What is read now is no change afterwards.
        self.changed();
        match Config::load(&self.config) {
            Ok(config) => {
                self.follow(&config);
                tracing::info!("{}: read again", self.config.display());
                Some(config)
            }
            Err(error) => {
                tracing::error!("{error}; the configuration in use stays as it was");
                None
            }
        }
    }
}

fn mark(path: &Path) -> Mark {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.ino(), metadata.size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_new_version_is_taken_and_a_bad_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("observer.yaml");
        std::fs::write(&path, "environment: one\n").unwrap();
        let mut watch = Watch::new(&Config::load(&path).unwrap()).unwrap();
        assert!(!watch.changed());

        std::fs::write(&path, "environment: second\n").unwrap();
        assert!(watch.changed());
        assert_eq!(watch.reload().unwrap().environment.as_deref(), Some("second"));

        std::fs::write(&path, "environmint: third one\n").unwrap();
        assert!(watch.reload().is_none());
        assert!(!watch.changed(), "a hangup and the change that it tells of are one");
    }

    #[test]
    fn a_declared_file_is_watched_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("observer.yaml");
        let rules = directory.path().join("rules.yaml");
        std::fs::write(&rules, "default: 0.1\n").unwrap();
        std::fs::write(&path, "declared: {files: [rules.yaml]}\n").unwrap();
        let mut watch = Watch::new(&Config::load(&path).unwrap()).unwrap();
        std::fs::write(&rules, "default: 0.25\n").unwrap();
        assert!(watch.changed());
    }
}
