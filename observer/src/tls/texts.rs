//! What the constants of a file tell about the libraries that were linked into it: no symbol is needed for that.

use memchr::memmem::Finder;
use std::ops::{ControlFlow, Range};

use super::elf::Elf;
use super::{Fault, Library};

/// Bytes after a text that are looked at.
const REST_MAX: usize = 64;
/// Versions of one library that are kept of a file.
const VERSIONS_MAX: usize = 8;
/// Places that are looked at; behind them nothing more is told.
const PLACES_MAX: usize = 1 << 20;

/// What was found.
#[derive(Default, Debug)]
pub(super) struct Texts {
    /// The file of OpenSSL that defines `SSL_read` is named in its error messages.
    pub(super) openssl: bool,
    /// The same of BoringSSL.
    pub(super) boringssl: bool,
    /// The version of OpenSSL that it was linked or compiled with: `3.0.19` of `OpenSSL 3.0.19 27 Jan 2026`.
    pub(super) openssl_version: Option<String>,
    /// The versions of rustls as in the paths of its sources, empty where the path has none.
    pub(super) rustls: Vec<String>,
}

/// Looks through the constants.
pub(super) fn read(elf: &Elf) -> Result<Texts, Fault> {
    let mut texts = Texts::default();
    let finders =
        [Finder::new("ssl_lib.c"), Finder::new("OpenSSL "), Finder::new("/rustls-"), Finder::new("rustls/src/")];
    let mut places = 0;
    for range in constants(elf) {
        elf.source.scan(range, REST_MAX, |_, bytes| {
            for (text, finder) in finders.iter().enumerate() {
                for at in finder.find_iter(bytes).take(PLACES_MAX - places) {
                    places += 1;
                    let rest = &bytes[at + finder.needle().len()..];
                    texts.tell(text, &rest[..rest.len().min(REST_MAX)]);
                }
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(texts)
}

impl Texts {
    /// The libraries that were linked into the file.
    pub(super) fn libraries(&self) -> Vec<Library> {
        let told = [
            (Library::OpenSsl, self.openssl),
            (Library::BoringSsl, self.boringssl),
            (Library::Rustls, !self.rustls.is_empty()),
        ];
        told.into_iter().filter_map(|(library, told)| told.then_some(library)).collect()
    }

    fn tell_rustls(&mut self, version: Option<String>) {
        let Some(version) = version else { return };
        if self.rustls.len() < VERSIONS_MAX && !self.rustls.contains(&version) {
            self.rustls.push(version);
        }
    }

    fn tell(&mut self, text: usize, rest: &[u8]) {
        match text {
            0 if rest.starts_with(b"\0") => self.openssl = true,
            0 if rest.starts_with(b"c\0") => self.boringssl = true,
            1 if self.openssl_version.is_none() => self.openssl_version = version(rest, b" "),
            2 => self.tell_rustls(version(rest, b"/src/")),
            3 if is_source(rest) => self.tell_rustls(Some(String::new())),
            _ => {}
        }
    }
}

/// Whether a path of a source file of Rust goes on so.
fn is_source(rest: &[u8]) -> bool {
    let len =
        rest.iter().position(|byte| !(byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_/".contains(byte)));
    len.is_some_and(|len| rest[len..].starts_with(b".rs"))
}

/// A version of three numbers, with what OpenSSL appends to them, before `end`.
fn version(bytes: &[u8], end: &[u8]) -> Option<String> {
    let len = bytes.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b".-+".contains(byte))?;
    let (version, rest) = bytes.split_at(len);
    let mut parts = version.split(|byte| *byte == b'.');
    let numbers = parts.by_ref().take(3).filter(|part| part.first().is_some_and(u8::is_ascii_digit)).count();
    let sound = numbers == 3 && rest.starts_with(end);
    sound.then(|| String::from_utf8_lossy(version).into_owned())
}

/// The section of constants; where there are no sections, what is loaded and not written.
fn constants(elf: &Elf) -> Vec<Range<u64>> {
    match elf.section(b".rodata") {
        Some(section) => vec![section.range()],
        None => elf.segments.iter().filter(|segment| !segment.writable).map(super::elf::Segment::range).collect(),
    }
}
