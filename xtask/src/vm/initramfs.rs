//! The first file system of a guest: a kernel's modules and busybox come in, an archive in the `newc` format goes out. It
//! holds just enough to mount this machine's root over 9p.

use super::tree::{KernelTree, command};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Mounts the root file system and leaves for it.
const INIT: &str = include_str!("init.sh");

/// What mounting the root needs: the bus, the file system, the writable layer over it.
const MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// Statically linked, so that it runs without a root file system.
const BUSYBOX: &str = "/bin/busybox";

/// Modes of `stat(2)` for the kinds of entries in the archive.
const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const FILE: u32 = 0o100_644;

/// Builds the archive for this kernel.
///
/// # Errors
///
/// When a module that is needed is neither there nor built in, or cannot be unpacked.
pub(crate) fn build(tree: &KernelTree) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["bin", "modules", "proc", "sys", "dev", "host", "layer", "root"] {
        archive.add(directory, DIRECTORY, &[]);
    }
    archive.add("init", EXECUTABLE, INIT.as_bytes());
    archive.add("bin/busybox", EXECUTABLE, &fs::read(BUSYBOX).context(BUSYBOX)?);
    let mut order = String::new();
    for path in load_order(tree)? {
        let (name, bytes) = unpacked_module(&tree.modules.join(&path))?;
        archive.add(&format!("modules/{name}"), FILE, &bytes);
        order.push_str(&name);
        order.push('\n');
    }
    archive.add("modules/order", FILE, order.as_bytes());
    Ok(archive.finish())
}

/// The files of `MODULES` and of all that they depend on, in the order in which they load.
fn load_order(tree: &KernelTree) -> Result<Vec<String>> {
    let dependencies = fs::read_to_string(tree.modules.join("modules.dep"))?;
    let builtin = fs::read_to_string(tree.modules.join("modules.builtin"))?;
    order_of(&MODULES, &dependencies, &builtin).with_context(|| format!("modules of {}", tree.release))
}

/// `dependencies` is a modules.dep: `file: file…`, what loads first stands last (modules.dep(5)).
fn order_of(wanted: &[&str], dependencies: &str, builtin: &str) -> Result<Vec<String>> {
    let lines: BTreeMap<String, (&str, &str)> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (module_name(file), (file, needs)))
        .collect();
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        match lines.get(*name) {
            Some((file, needs)) => {
                for file in needs.split_whitespace().rev().chain([*file]) {
                    if !order.iter().any(|known| known == file) {
                        order.push(file.to_owned());
                    }
                }
            }
            None if builtin.lines().any(|file| module_name(file) == *name) => {}
            None => bail!("{name} is neither a module nor built in"),
        }
    }
    Ok(order)
}

/// `kernel/fs/9p/9p.ko.xz` is module `9p`; a dash in a file name is an underscore in the module's.
fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split(".ko").next().unwrap_or(base).replace('-', "_")
}

fn unpacked_module(path: &Path) -> Result<(String, Vec<u8>)> {
    let unpack = match path.extension().and_then(|ending| ending.to_str()) {
        Some("xz") => Some("xz"),
        Some("zst") => Some("zstd"),
        _ => None,
    };
    let bytes = match unpack {
        Some(program) => command(Command::new(program).arg("-dc").arg(path))?,
        None => fs::read(path).with_context(|| path.display().to_string())?,
    };
    Ok((format!("{}.ko", module_name(&path.to_string_lossy())), bytes))
}

/// The `newc` format of cpio: a header of hexadecimal fields, name and content padded to four bytes
/// (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's sources).
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = 1;
        let (user, group, modified, device, special, checksum) = (0, 0, 0, 0, 0, 0);
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        self.bytes.extend(b"070701");
        let fields = [
            self.entries,
            mode,
            user,
            group,
            links,
            modified,
            size,
            device,
            device,
            special,
            special,
            name_size,
            checksum,
        ];
        for field in fields {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_loads_before_it_and_once() {
        let dependencies = "kernel/net/9p/9pnet.ko.xz:\n\
                            kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/drivers/virtio/virtio.ko.xz\n\
                            kernel/fs/9p/9p.ko.xz: kernel/fs/fscache/fscache.ko.xz kernel/net/9p/9pnet.ko.xz\n";
        let order = order_of(&["9pnet_virtio", "9p", "virtio_pci"], dependencies, "kernel/virtio/virtio-pci.ko\n");
        let names: Vec<String> = order.unwrap_or_default().iter().map(|file| module_name(file)).collect();
        assert_eq!(names, ["virtio", "9pnet", "9pnet_virtio", "fscache", "9p"]);
    }

    #[test]
    fn a_module_that_is_nowhere_is_an_error() {
        assert!(order_of(&["9p"], "", "").is_err());
    }

    #[test]
    fn the_archive_is_read_by_cpio_as_it_was_written() {
        let mut archive = Archive::default();
        archive.add("dir", DIRECTORY, &[]);
        archive.add("dir/file", FILE, b"12345");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(bytes.windows(6).filter(|window| window == b"070701").count(), 3);
        let content = bytes.windows(8).position(|window| window == b"12345\0\0\0");
        assert_eq!(content.map(|at| at % 4), Some(0));
    }
}
