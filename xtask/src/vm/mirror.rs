//! The Debian mirrors that this machine is configured for: its apt sources come in, the base address of the archive and
//! of the security archive go out. So no host name stands in this repository.

use anyhow::{Result, bail};
use std::fs;
use std::path::Path;

/// Base addresses, as in `URIs:` of an apt source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    /// The archive with suites like `sid`.
    pub(crate) archive: String,
    /// The one with suites like `bookworm-security`; not every machine names it.
    pub(crate) security: Option<String>,
}

impl Mirrors {
    /// Reads /etc/apt.
    ///
    /// # Errors
    ///
    /// When no source there serves the release that this machine runs.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let codename = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or_default();
        let mut texts = vec![fs::read_to_string("/etc/apt/sources.list").unwrap_or_default()];
        let mut files: Vec<_> = fs::read_dir("/etc/apt/sources.list.d")
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        files.sort();
        // apt itself reads only files that end so.
        let read_by_apt = |path: &&std::path::PathBuf| {
            Path::new(path).extension().is_some_and(|ending| ending == "list" || ending == "sources")
        };
        texts.extend(files.iter().filter(read_by_apt).map(|path| fs::read_to_string(path).unwrap_or_default()));
        match Self::from_sources(&texts.join("\n\n"), codename.trim_matches('"')) {
            Some(mirrors) => Ok(mirrors),
            None => bail!("/etc/apt names no mirror of Debian \"{codename}\": kernels are fetched on Debian only"),
        }
    }

    /// `text`: one-line sources, deb822 stanzas, or both, stanzas apart by empty lines.
    fn from_sources(text: &str, codename: &str) -> Option<Self> {
        let mut entries: Vec<(String, String)> = Vec::new();
        let (mut addresses, mut suites) = (Vec::new(), Vec::new());
        for line in text.lines().chain([""]) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["URIs:", rest @ ..] => addresses.extend(rest.iter().map(ToString::to_string)),
                ["Suites:", rest @ ..] => suites.extend(rest.iter().map(ToString::to_string)),
                ["deb", rest @ ..] => {
                    let end_of_options = rest.iter().position(|word| !word.starts_with('[') && !word.contains('='));
                    if let Some([address, suite, ..]) = end_of_options.and_then(|at| rest.get(at..)) {
                        entries.push(((*address).to_owned(), (*suite).to_owned()));
                    }
                }
                [] => {
                    for address in addresses.drain(..) {
                        entries.extend(suites.iter().map(|suite: &String| (String::clone(&address), suite.clone())));
                    }
                    suites.clear();
                }
                _ => {}
            }
        }
        let serving =
            |wanted: &str| entries.iter().find(|(_, suite)| suite == wanted).map(|(address, _)| address.clone());
        Some(Self { archive: serving(codename)?, security: serving(&format!("{codename}-security")) })
    }

    /// Who serves this suite.
    pub(crate) fn serving(&self, suite: &str) -> Option<&str> {
        if suite.ends_with("-security") { self.security.as_deref() } else { Some(&self.archive) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, archive: &str, security: Option<&str>) {
        let expected = Mirrors { archive: archive.into(), security: security.map(Into::into) };
        assert_eq!(Mirrors::from_sources(text, "bookworm"), Some(expected));
    }

    #[test]
    fn stanzas_name_the_archive_and_the_security_archive() {
        check(
            "Types: deb\nURIs: http://one.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\n\
             Types: deb\nURIs: http://two.example/security\nSuites: bookworm-security\nComponents: main\n",
            "http://one.example/debian",
            Some("http://two.example/security"),
        );
    }

    #[test]
    fn one_line_sources_may_carry_options() {
        check(
            "# comment\ndeb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] http://one.example/debian bookworm main\n\
             deb https://other.example/apt stable main\n",
            "http://one.example/debian",
            None,
        );
    }

    #[test]
    fn a_machine_of_another_release_has_no_mirror_for_this_one() {
        assert_eq!(Mirrors::from_sources("deb http://one.example/debian trixie main", "bookworm"), None);
    }
}
