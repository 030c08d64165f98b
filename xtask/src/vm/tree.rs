//! An unpacked kernel: the packages of a suite come in; a directory with the kernel and its modules, kept for the next run,
//! goes out.

use super::mirror::Mirrors;
use super::suite::{Suite, release_of};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub(crate) struct KernelTree {
    /// As `uname -r` says it.
    pub(crate) release: String,
    /// The compressed kernel.
    pub(crate) kernel: PathBuf,
    /// The directory of its modules.
    pub(crate) modules: PathBuf,
}

/// What became of looking for a kernel.
pub(crate) enum Fetched {
    /// It is here.
    Tree(KernelTree),
    /// No suite offers it, and why.
    NotOffered(String),
}

/// An index may still name images that the mirror dropped; so many are tried, newest first.
const IMAGES_TRIED: usize = 3;

impl KernelTree {
    /// The newest kernel of a series in the first of these suites that offers one.
    ///
    /// # Errors
    ///
    /// When a kernel is offered and cannot be unpacked.
    pub(crate) fn fetch(series: &str, suites: &[&str], mirrors: &Mirrors, cache: &Path) -> Result<Fetched> {
        let mut reasons = Vec::new();
        for suite in suites {
            match Self::from_suite(series, suite, mirrors, cache)? {
                Fetched::Tree(tree) => return Ok(Fetched::Tree(tree)),
                Fetched::NotOffered(reason) => reasons.push(format!("{suite}: {reason}")),
            }
        }
        Ok(Fetched::NotOffered(reasons.join("; ")))
    }

    fn from_suite(series: &str, name: &str, mirrors: &Mirrors, cache: &Path) -> Result<Fetched> {
        let lists = cache.join("apt");
        let offered = |refresh| {
            let suite = Suite::open(name, mirrors, &lists, refresh)?;
            let images = suite.images(series)?;
            anyhow::Ok((suite, images))
        };
        let known = offered(false);
        if let Some(tree) = known.iter().find_map(|(_, images)| Self::unpacked(images.first()?, cache)) {
            return Ok(Fetched::Tree(tree));
        }
        // What is about to be fetched should be what the mirror has now.
        let (suite, images) = match offered(true) {
            Ok(offered) => offered,
            Err(error) => return Ok(Fetched::NotOffered(format!("{error:#}"))),
        };
        let mut reason = format!("offers no {series} kernel");
        for image in images.iter().take(IMAGES_TRIED) {
            if let Some(tree) = Self::unpacked(image, cache) {
                return Ok(Fetched::Tree(tree));
            }
            eprintln!("fetching {image}");
            let work = tempfile::Builder::new().prefix("unpacking-").tempdir_in(cache)?;
            match suite.download(image, &work.path().join("packages")) {
                Ok(files) => {
                    let tree = Self::unpack(image, &files, work.path(), cache)?;
                    tree.drop_older(series, cache);
                    return Ok(Fetched::Tree(tree));
                }
                Err(error) => reason = format!("{error:#}"),
            }
        }
        Ok(Fetched::NotOffered(reason))
    }

    /// The kernel of this image, where an earlier run unpacked it.
    fn unpacked(image: &str, cache: &Path) -> Option<Self> {
        let release = release_of(image).to_owned();
        let directory = cache.join("kernels").join(&release);
        let modules = directory.join("lib/modules").join(&release);
        let places = [directory.join("boot").join(format!("vmlinuz-{release}")), modules.join("vmlinuz")];
        let kernel = places.into_iter().find(|place| place.is_file())?;
        let whole = ["modules.dep", "modules.builtin"].iter().all(|list| modules.join(list).is_file());
        whole.then_some(Self { release, kernel, modules })
    }

    /// Unpacks in `work` and moves the result to its place when it is whole: an interrupted run leaves nothing half done.
    fn unpack(image: &str, packages: &[PathBuf], work: &Path, cache: &Path) -> Result<Self> {
        let release = release_of(image);
        let tree = work.join("tree");
        for package in packages {
            command(Command::new("dpkg").arg("-x").arg(package).arg(&tree))?;
        }
        let modules = tree.join("lib/modules");
        if !modules.is_dir() {
            // Newer packages ship below /usr; depmod of a Debian 12 looks in /lib.
            fs::create_dir_all(tree.join("lib"))?;
            fs::rename(tree.join("usr/lib/modules"), &modules)
                .with_context(|| format!("{image} and what it depends on bring no modules"))?;
        }
        command(Command::new("/sbin/depmod").arg("-b").arg(&tree).arg(release))?;
        let place = cache.join("kernels").join(release);
        fs::create_dir_all(cache.join("kernels"))?;
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        fs::rename(&tree, &place)?;
        Self::unpacked(image, cache).with_context(|| format!("{image} and what it depends on bring no kernel"))
    }

    /// The kernels of this series that this one replaces: each is half a gigabyte.
    fn drop_older(&self, series: &str, cache: &Path) {
        for entry in fs::read_dir(cache.join("kernels")).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("{series}.")) && name != self.release {
                // A tree that stays costs space only.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Runs a program to its end and returns what it prints.
pub(crate) fn command(command: &mut Command) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{program} does not start"))?;
    if !output.status.success() {
        bail!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}
