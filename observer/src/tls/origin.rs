//! What a program was made from: a file comes in, the compiler and the libraries that were linked into it go out. No symbol is
//! needed for that.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::ops::ControlFlow;

use flate2::read::ZlibDecoder;
use memchr::memmem::Finder;
use serde::Deserialize;

use super::elf::Elf;
use super::source::{Source, u64_at};
use super::{Fault, go};

/// Bytes that are read of one program: the constants of large ones are some 100 MiB.
const READ_MAX: u64 = 256 << 20;
/// Bytes of Go's list of modules: a line of some 100 bytes each.
const MODULES_MAX: usize = 1 << 20;
/// Bytes of the list of crates that cargo-auditable writes, as they are and unpacked.
const CRATES_PACKED_MAX: u64 = 1 << 20;
const CRATES_MAX: u64 = 8 << 20;
/// Libraries that are kept of one program.
const LIBRARIES_MAX: usize = 4096;
/// Bytes behind a mark that are looked at: the directory of a registry and the name of a crate.
const REST_MAX: usize = 160;

/// What made a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// Go.
    Go,
    /// rustc.
    Rust,
    /// Another one.
    Other,
}

/// What a program was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) compiler: Compiler,
    /// Of the compiler.
    pub(crate) version: Option<String>,
    /// Modules or crates, and their versions.
    pub(crate) libraries: BTreeMap<String, Option<String>>,
    /// Whether these are all of them.
    pub(crate) is_all: bool,
}

/// Looks at a program; the error is for people.
pub(crate) fn origin(file: &File) -> Result<Origin, String> {
    read(file).map_err(|fault| fault.to_string())
}

fn read(file: &File) -> Result<Origin, Fault> {
    let elf = Elf::new(Source::within(file, READ_MAX)?)?;
    if let Some(at) = go::build_info(&elf)? {
        let version = go::version_at(&elf, at)?.trim_start_matches("go").to_owned();
        let text = modules_at(&elf, at).unwrap_or_default();
        let modules = modules(&text);
        let is_all = modules.is_some();
        let version = Some(version).filter(|version| !version.is_empty());
        return Ok(Origin { compiler: Compiler::Go, version, libraries: modules.unwrap_or_default(), is_all });
    }
    if let Some(crates) = listed_crates(&elf)? {
        return Ok(Origin { compiler: Compiler::Rust, version: rustc(&elf)?, libraries: crates, is_all: true });
    }
    let (crates, from_rust) = named_crates(&elf)?;
    let version = rustc(&elf)?;
    let is_rust = from_rust || version.is_some() && !crates.is_empty();
    let compiler = if is_rust { Compiler::Rust } else { Compiler::Other };
    let libraries = if is_rust { crates } else { BTreeMap::new() };
    Ok(Origin { compiler, version: version.filter(|_| is_rust), libraries, is_all: false })
}

/// The text that has Go's modules, between marks of 16 bytes (runtime/debug, `modinfo`).
fn modules_at(elf: &Elf, at: u64) -> Option<Vec<u8>> {
    const IN_PLACE: u8 = 2;
    const HEADER: usize = 32;
    let header = elf.source.read(at, HEADER).ok()?;
    if header.get(15)? & IN_PLACE != 0 {
        let mut next = at + HEADER as u64;
        let version_len = varint(elf, &mut next)?;
        next = next.checked_add(version_len)?;
        let len = usize::try_from(varint(elf, &mut next)?).ok()?;
        return elf.source.read(next, Some(len).filter(|len| *len <= MODULES_MAX)?).ok();
    }
    let string = elf.source.read(elf.offset(u64_at(&header, 24)?)?, 16).ok()?;
    let len = usize::try_from(u64_at(&string, 8)?).ok().filter(|len| *len <= MODULES_MAX)?;
    elf.source.read(elf.offset(u64_at(&string, 0)?)?, len).ok()
}

/// An unsigned number as encoding/binary writes it.
fn varint(elf: &Elf, at: &mut u64) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = *elf.source.read(*at, 1).ok()?.first()?;
        *at = at.checked_add(1)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Go's modules: `dep\tpath\tversion\tsum`, and `=>` before what takes the place of the one above. None where there is no list, as in
/// programs that were built outside of modules.
fn modules(text: &[u8]) -> Option<BTreeMap<String, Option<String>>> {
    const MARK: usize = 16;
    let text = text.get(MARK..text.len().checked_sub(MARK)?)?;
    let text = std::str::from_utf8(text).ok()?;
    let mut modules = BTreeMap::new();
    let mut last: Option<&str> = None;
    let mut is_list = false;
    for line in text.lines() {
        let mut fields = line.split('\t');
        match (fields.next(), fields.next(), fields.next()) {
            // Without it there may have been no modules at all.
            (Some("mod"), Some(_), _) => is_list = true,
            (Some("dep"), Some(path), Some(version)) if modules.len() < LIBRARIES_MAX => {
                is_list = true;
                modules.insert(path.to_owned(), Some(version.to_owned()));
                last = Some(path);
            }
            // What it is called stays: that is what it is imported as.
            (Some("=>"), Some(_), Some(version)) => {
                if let Some(module) = last.take().and_then(|path| modules.get_mut(path)) {
                    *module = Some(version.to_owned()).filter(|version| !version.is_empty());
                }
            }
            _ => {}
        }
    }
    is_list.then_some(modules)
}

#[derive(Deserialize)]
struct Crates {
    packages: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    /// `runtime` where it is left out.
    kind: Option<String>,
}

/// The crates that cargo-auditable lists (section `.dep-v0`: JSON, packed by zlib).
fn listed_crates(elf: &Elf) -> Result<Option<BTreeMap<String, Option<String>>>, Fault> {
    let Some(section) = elf.section(b".dep-v0").filter(|section| section.len <= CRATES_PACKED_MAX) else {
        return Ok(None);
    };
    let packed = elf.source.read(section.offset, usize::try_from(section.len).map_err(|_| Fault::TooLarge)?)?;
    Ok(unpacked_crates(&packed))
}

fn unpacked_crates(packed: &[u8]) -> Option<BTreeMap<String, Option<String>>> {
    let mut text = Vec::new();
    ZlibDecoder::new(packed).take(CRATES_MAX).read_to_end(&mut text).ok()?;
    let crates: Crates = serde_json::from_slice(&text).ok()?;
    let in_program = crates.packages.into_iter().filter(|one| one.kind.as_deref().is_none_or(|kind| kind == "runtime"));
    Some(in_program.take(LIBRARIES_MAX).map(|one| (one.name, Some(one.version))).collect())
}

/// The crates whose files are named in messages of panics, and whether Rust's own are.
fn named_crates(elf: &Elf) -> Result<(BTreeMap<String, Option<String>>, bool), Fault> {
    let (registry, own) = (Finder::new("/registry/src/"), Finder::new("/rustc/"));
    let (mut crates, mut from_rust) = (BTreeMap::new(), false);
    let ranges: Vec<_> = match elf.section(b".rodata") {
        Some(section) => vec![section.range()],
        None => elf.segments.iter().filter(|segment| !segment.writable).map(super::elf::Segment::range).collect(),
    };
    for range in ranges {
        elf.source.scan(range, REST_MAX, |_, bytes| {
            for at in registry.find_iter(bytes) {
                let rest = bytes.get(at + registry.needle().len()..).unwrap_or_default();
                if let Some((name, version)) = crate_of(rest.get(..rest.len().min(REST_MAX)).unwrap_or(rest))
                    && crates.len() < LIBRARIES_MAX
                {
                    crates.insert(name, Some(version));
                }
            }
            from_rust |= own.find_iter(bytes).any(|at| {
                let rest = bytes.get(at + own.needle().len()..).unwrap_or_default();
                rest.get(..40).is_some_and(|hash| hash.iter().all(u8::is_ascii_hexdigit))
                    && rest.get(40..).is_some_and(|rest| rest.starts_with(b"/library/"))
            });
            ControlFlow::Continue(())
        })?;
    }
    Ok((crates, from_rust))
}

/// `index.crates.io-6f17d22bba15001f/hyper-1.4.1/src/…` → hyper, 1.4.1.
fn crate_of(rest: &[u8]) -> Option<(String, String)> {
    let mut parts = rest.split(|byte| *byte == b'/');
    let (_, directory) = (parts.next()?, parts.next()?);
    // The rest of a path must follow, else the name may have been cut.
    parts.next()?;
    let directory = std::str::from_utf8(directory).ok()?;
    let at = directory
        .char_indices()
        .find(|(at, letter)| *letter == '-' && directory[at + 1..].starts_with(|next: char| next.is_ascii_digit()))?
        .0;
    let (name, version) = (&directory[..at], &directory[at + 1..]);
    let is_name =
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
    let is_version = version.split('.').count() >= 3
        && version.chars().all(|letter| letter.is_ascii_alphanumeric() || ".-+_".contains(letter));
    (is_name && is_version).then(|| (name.to_owned(), version.to_owned()))
}

/// The version of rustc that says it made the program.
fn rustc(elf: &Elf) -> Result<Option<String>, Fault> {
    const RUSTC: &str = "rustc version ";
    const COMMENT_MAX: u64 = 1 << 14;
    let Some(section) = elf.section(b".comment") else { return Ok(None) };
    let len = usize::try_from(section.len.min(COMMENT_MAX)).map_err(|_| Fault::TooLarge)?;
    let bytes = elf.source.read(section.offset, len)?;
    let version = |text: &[u8]| {
        std::str::from_utf8(text).ok()?.strip_prefix(RUSTC)?.split_ascii_whitespace().next().map(str::to_owned)
    };
    Ok(bytes.split(|byte| *byte == 0).filter_map(version).max())
}

/// The one version among the constants of a program that stands alone as a text: behind `before`, digits and dots after `begin`.
/// None where there is none, or more than one.
pub(crate) fn constant_version(file: &File, before: &str, begin: &str) -> Option<String> {
    const VERSION_MAX: usize = 32;
    let elf = Elf::new(Source::within(file, READ_MAX).ok()?).ok()?;
    let begins = format!("\0{before}{begin}");
    let finder = Finder::new(begins.as_bytes());
    let mut found: Vec<String> = Vec::new();
    let range = elf.section(b".rodata")?.range();
    elf.source
        .scan(range, begins.len() + VERSION_MAX, |_, bytes| {
            for at in finder.find_iter(bytes) {
                let text = bytes.get(at + 1 + before.len()..).unwrap_or_default();
                let text = text.get(..text.len().min(VERSION_MAX)).unwrap_or(text);
                let Some(len) = text.iter().position(|byte| *byte == 0) else { continue };
                let version = String::from_utf8_lossy(text.get(..len).unwrap_or_default()).into_owned();
                if is_version(&version) && !found.contains(&version) {
                    found.push(version);
                }
            }
            ControlFlow::Continue(())
        })
        .ok()?;
    match &mut found[..] {
        [only] => Some(std::mem::take(only)),
        _ => None,
    }
}

/// Whether one of these texts is among the constants of a program; `None` where that cannot be known.
pub(crate) fn names_any(file: &File, texts: &[&str]) -> Option<bool> {
    const TEXT_MAX: usize = 64;
    let elf = Elf::new(Source::within(file, READ_MAX).ok()?).ok()?;
    let finders: Vec<Finder<'_>> = texts.iter().map(|text| Finder::new(text.as_bytes())).collect();
    let mut is_named = false;
    elf.source
        .scan(elf.section(b".rodata")?.range(), TEXT_MAX, |_, bytes| {
            is_named = finders.iter().any(|finder| finder.find(bytes).is_some());
            if is_named { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .ok()?;
    Some(is_named)
}

/// `3.11.2`, `3.13.0rc1`, `1.22.1`.
fn is_version(text: &str) -> bool {
    let mut parts = text.split('.');
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    let is_number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u16>().is_ok());
    let last = third.is_some_and(|part| {
        part.starts_with(|letter: char| letter.is_ascii_digit())
            && part.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '+')
    });
    is_number(first) && is_number(second) && last && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn marked(text: &str) -> Vec<u8> {
        [&[0xff; 16][..], text.as_bytes(), &[0xfe; 16]].concat()
    }

    #[test]
    fn modules_are_those_that_were_linked_under_the_name_they_are_imported_by() {
        let text = "path\tshop\nmod\tshop\t(devel)\t\ndep\tgo.opentelemetry.io/otel\tv1.30.0\th1:x=\ndep\tgithub.com/a/b\tv1.0.0\n\
                    =>\t../b\t\t\nbuild\t-ldflags=\"-s\"\n";
        let expected = [("github.com/a/b", None), ("go.opentelemetry.io/otel", Some("v1.30.0"))];
        let expected = expected.map(|(name, version)| (name.to_owned(), version.map(str::to_owned)));
        assert_eq!(modules(&marked(text)), Some(BTreeMap::from(expected)));
        assert_eq!(modules(&marked("path\tshop\nmod\tshop\t(devel)\t\n")), Some(BTreeMap::new()));
        assert_eq!(
            modules(&marked("path\tcommand-line-arguments\nbuild\t-compiler=gc\n")),
            None,
            "built outside of modules"
        );
        for broken in [&b""[..], b"short", &marked(""), &marked("dep"), &marked("nonsense"), &[0xff; 64]] {
            assert_eq!(modules(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn crates_are_listed_but_those_that_only_build() {
        let packed = |text: &str| {
            let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            packer.write_all(text.as_bytes()).unwrap();
            packer.finish().unwrap()
        };
        let text = r#"{"packages":[{"name":"cc","version":"1.0.0","source":"registry","kind":"build"},
            {"name":"hyper","version":"1.4.1","source":"registry","dependencies":[0]},{"name":"shop","version":"0.1.0","root":true}]}"#;
        let crates = unpacked_crates(&packed(text)).unwrap();
        assert_eq!(crates.keys().map(String::as_str).collect::<Vec<_>>(), ["hyper", "shop"]);
        let whole = packed(text);
        for broken in [&whole[..whole.len() / 2], b"", b"text", &packed("{}"), &packed(r#"{"packages":[{"name":1}]}"#)]
        {
            assert_eq!(unpacked_crates(broken), None);
        }
    }

    #[test]
    fn a_crate_is_known_by_the_path_of_its_files() {
        for (rest, expected) in [
            ("index.crates.io-1949cf8c6b5b557f/hyper-1.4.1/src/lib.rs", Some(("hyper", "1.4.1"))),
            ("github.com-1ecc6299db9ec823/h2-0.3.26/src/x", Some(("h2", "0.3.26"))),
            (
                "x/opentelemetry-semantic-conventions-0.31.0/src/x",
                Some(("opentelemetry-semantic-conventions", "0.31.0")),
            ),
            ("x/ring-0.17.8-rc.1+x/src", Some(("ring", "0.17.8-rc.1+x"))),
            ("x/hyper-1.4.1", None),
            ("x/hyper/src/lib.rs", None),
            ("x/-1.4.1/src", None),
            ("x/hy per-1.4.1/src", None),
            ("", None),
        ] {
            let found = crate_of(rest.as_bytes());
            let expected = expected.map(|(name, version)| (name.to_owned(), version.to_owned()));
            assert_eq!(found, expected, "{rest}");
        }
    }

    #[test]
    fn versions_have_three_numbers() {
        for (text, expected) in [
            ("3.11.2", true),
            ("3.13.0rc1", true),
            ("3.11.2+", true),
            ("3.11", false),
            ("3.x.1", false),
            ("3.1.1.1", false),
            ("3.1.", false),
            ("", false),
        ] {
            assert_eq!(is_version(text), expected, "{text}");
        }
    }
}
