//! One Debian suite, read through apt with lists, cache and sources of its own, so that the machine's apt is left as it is.
//! Names of packages come in; what the suite offers and the package files go out. Nothing that apt cannot verify against
//! Debian's keys is used.

use super::mirror::Mirrors;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Kernels move a few times a month; a list of yesterday may name a file that is gone.
const LISTS_ARE_FRESH_FOR: Duration = Duration::from_hours(12);

/// Keys of the releases in support, and of older ones (bullseye leaves the first some day).
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-removed-keys.gpg"];

/// A suite whose lists are here.
pub(crate) struct Suite {
    name: String,
    directory: PathBuf,
}

impl Suite {
    /// Fetches the lists of `name`, unless those here are recent and `refresh` is not asked for. `below`: where lists and
    /// cache are kept.
    ///
    /// # Errors
    ///
    /// When no mirror serves it, it cannot be reached and no older lists are here, or it cannot be verified.
    pub(crate) fn open(name: &str, mirrors: &Mirrors, below: &Path, refresh: bool) -> Result<Self> {
        let address = mirrors.serving(name).context("no security mirror is configured here")?;
        let suite = Self { name: name.to_owned(), directory: below.join(name) };
        let stamp = suite.directory.join("updated");
        let known = fs::metadata(&stamp).and_then(|data| data.modified());
        let fresh = known.as_ref().is_ok_and(|at| at.elapsed().is_ok_and(|age| age < LISTS_ARE_FRESH_FOR));
        if fresh && !refresh {
            return Ok(suite);
        }
        for needed in ["sources", "state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(suite.directory.join(needed))?;
        }
        let keyrings: Vec<&str> = KEYRINGS.into_iter().filter(|path| Path::new(path).is_file()).collect();
        if keyrings.is_empty() {
            bail!("cannot be verified: no {} here (package debian-archive-keyring)", KEYRINGS[0]);
        }
        let source = format!(
            "Types: deb\nURIs: {address}\nSuites: {name}\nComponents: main\nArchitectures: amd64\nSigned-By: {}\n",
            keyrings.join(" ")
        );
        fs::write(suite.directory.join("sources/suite.sources"), source)?;
        match suite.apt("apt-get", &["update", "--quiet=2"]) {
            Ok(_) => fs::write(&stamp, "")?,
            Err(error) if known.is_ok() => eprintln!("{name}: the older lists serve: {error:#}"),
            Err(error) => return Err(error),
        }
        Ok(suite)
    }

    /// The kernel images of a series such as `6.12`, newest first, as the names of their packages.
    ///
    /// # Errors
    ///
    /// When apt fails.
    pub(crate) fn images(&self, series: &str) -> Result<Vec<String>> {
        let names = self.apt("apt-cache", &["pkgnames", &format!("linux-image-{series}.")])?;
        let mut images: Vec<&str> = names.lines().filter(|name| is_plain_image(name)).collect();
        images.sort_by_key(|name| std::cmp::Reverse(numbers(name)));
        Ok(images.into_iter().map(str::to_owned).collect())
    }

    /// Fetches the image and the packages of the same release that newer kernels are split into (kernel, modules, lists),
    /// into `directory`; returns the files.
    ///
    /// # Errors
    ///
    /// When a file is gone from the mirror, or is not what the signed list says.
    pub(crate) fn download(&self, image: &str, directory: &Path) -> Result<Vec<PathBuf>> {
        let release = release_of(image);
        let depends = self.apt("apt-cache", &["depends", image])?;
        let parts = depends
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .filter(|name| name.starts_with("linux-") && name.ends_with(release));
        let mut arguments = vec!["download", "--quiet=2", image];
        arguments.extend(parts);
        fs::create_dir_all(directory)?;
        self.apt_in(directory, "apt-get", &arguments)?;
        let mut files: Vec<PathBuf> = fs::read_dir(directory)?.flatten().map(|entry| entry.path()).collect();
        files.sort();
        Ok(files)
    }

    fn apt(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.apt_in(&self.directory, program, arguments)
    }

    fn apt_in(&self, working_directory: &Path, program: &str, arguments: &[&str]) -> Result<String> {
        let own = |path: &str| self.directory.join(path).display().to_string();
        let settings = [
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={}", own("sources")),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("Dir::State={}", own("state")),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={}", own("cache")),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            // By default an address that does not answer is a warning, and apt succeeds without its lists.
            "APT::Update::Error-Mode=any".to_owned(),
            // apt's own user cannot read a directory below somebody's home.
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ];
        let output = Command::new(program)
            .args(arguments)
            .args(settings.iter().flat_map(|setting| ["-o", setting]))
            .current_dir(working_directory)
            .env("LC_ALL", "C")
            .output()
            .with_context(|| format!("{program} does not start"))?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let first = complaint.lines().find(|line| line.starts_with("E: ")).unwrap_or(complaint.trim());
            bail!("{}: {program} {}: {first}", self.name, arguments.first().unwrap_or(&""));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// What `uname -r` says under this image.
pub(crate) fn release_of(image: &str) -> &str {
    image.trim_start_matches("linux-image-")
}

/// Whether this is a kernel with all its modules: the cloud flavour lacks 9p, which carries the guest's files.
fn is_plain_image(name: &str) -> bool {
    let release = release_of(name).strip_suffix("-amd64");
    release.is_some_and(|release| release.split('-').all(|part| part.starts_with(|c: char| c.is_ascii_digit())))
}

/// The numbers of a name in order, by which its version sorts.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_signed_kernels_are_images() {
        let taken =
            ["linux-image-5.10.0-32-amd64", "linux-image-6.12.95+deb12-amd64", "linux-image-6.12.90+deb12.1-amd64"];
        let left = [
            "linux-image-6.12.95+deb12-cloud-amd64",
            "linux-image-6.12.95+deb12-rt-amd64",
            "linux-image-6.12.95+deb12-amd64-unsigned",
            "linux-image-5.10.0-32-amd64-dbg",
            "linux-image-amd64",
        ];
        assert!(taken.into_iter().all(is_plain_image));
        assert!(!left.into_iter().any(is_plain_image));
    }

    #[test]
    fn versions_sort_by_number_and_not_by_letter() {
        assert!(numbers("linux-image-6.12.107+deb13-amd64") > numbers("linux-image-6.12.95+deb12-amd64"));
        assert!(numbers("linux-image-5.10.0-32-amd64") > numbers("linux-image-5.10.0-9-amd64"));
    }
}
