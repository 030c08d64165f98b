//! rustls, where the program has symbols: what is sent goes through one function, what is received through another, whatever
//! stands above them (`Stream`, tokio-rustls, vectored or not).
//!
//! Both are functions of `CommonState`, the session, which is in RDI. What they take is an enum behind the pointer in RSI, of whose
//! layout Rust promises nothing: seen in the code that rustc makes of rustls 0.23. What tells one kind from another is the word that
//! has the capacity of a vector since rustc 1.77, which knows of values that it cannot have; before it was another.
//! - `take_received_plaintext(&mut self, Payload)`: a word (the capacity of a vector, or that it is a slice), the address of the
//!   bytes, their number. It takes them all.
//! - `buffer_plaintext(&mut self, OutboundChunks, _) -> usize`: a word; if it is zero, the address of the bytes and their number
//!   follow, else it is the address of slices (each an address and a number), and their number follows, then the first byte in
//!   all of them that is meant and the first one behind it. It returns in RAX how many bytes it took, which may be fewer.

use super::elf::Elf;
use super::exported::place;
use super::symbols::Symbols;
use super::texts::Texts;
use super::{Examined, Fault, Found, Library, Point, Reason, Unfit};

/// What the names of the functions have in common.
pub(super) const TEXTS: &[&str] = &[SENDS, RECEIVES];

/// Parts of mangled names, the same in both manglings.
const SENDS: &str = "11CommonState16buffer_plaintext";
const RECEIVES: &str = "11CommonState23take_received_plaintext";
/// The releases whose code was looked at.
const KNOWN: &str = "0.23.";
/// The first compiler that lays out what they take as said above: 1 and this.
const COMPILER_MIN: u32 = 77;
/// Bytes of what compilers say of themselves that are looked at.
const COMMENT_MAX: u64 = 1 << 14;

/// Whether a symbol matters here.
pub(super) fn wants(name: &str) -> bool {
    name.starts_with("_R") && name.contains("6rustls") || name.starts_with("_ZN6rustls")
}

/// Tells whether the program has rustls in it, and where.
pub(super) fn examine(elf: &Elf, symbols: &Symbols, texts: &Texts, examined: &mut Examined) -> Result<(), Fault> {
    let points = points(elf, symbols)?;
    let versions = &texts.rustls;
    if points.is_err() && versions.is_empty() {
        return Ok(());
    }
    let library = Library::Rustls;
    // Where there are several, functions of the same name differ in what they take.
    let known = !versions.is_empty() && versions.iter().all(|version| version.starts_with(KNOWN));
    let version = Some(versions.join(", ")).filter(|versions| !versions.is_empty());
    let reason = match (points, old_compiler(elf)?) {
        (Ok(points), None) if known => {
            examined.found.push(Found { library, version, points });
            return Ok(());
        }
        (Ok(_), Some(compiler)) if known => Reason::OldCompiler(compiler),
        (Ok(_), _) => Reason::UnknownRelease,
        (Err(reason), _) => reason,
    };
    examined.unfit.push(Unfit { library, version, reason });
    Ok(())
}

/// The compiler, if it says that it is too old.
fn old_compiler(elf: &Elf) -> Result<Option<String>, Fault> {
    const RUSTC: &str = "rustc version ";
    let Some(section) = elf.section(b".comment") else { return Ok(None) };
    let len = usize::try_from(section.len.min(COMMENT_MAX)).map_err(|_| Fault::TooLarge)?;
    let bytes = elf.source.read(section.offset, len)?;
    let versions = bytes.split(|byte| *byte == 0).filter_map(|text| {
        let version = std::str::from_utf8(text).ok()?.strip_prefix(RUSTC)?.split(' ').next()?;
        let minor: u32 = version.strip_prefix("1.")?.split('.').next()?.parse().ok()?;
        (minor < COMPILER_MIN).then(|| version.to_owned())
    });
    Ok(versions.min())
}

fn points(elf: &Elf, symbols: &Symbols) -> Result<Result<Vec<Point>, Reason>, Fault> {
    let mut points = Vec::new();
    for (name, what, programs) in [
        (SENDS, "CommonState::buffer_plaintext", &["rustls_begins", "rustls_sends"][..]),
        (RECEIVES, "CommonState::take_received_plaintext", &["rustls_receives"]),
    ] {
        let mut functions = symbols.functions.iter().filter(|function| function.name.contains(name)).peekable();
        if functions.peek().is_none() {
            let reason = if symbols.stripped { Reason::Stripped } else { Reason::Inlined(what) };
            return Ok(Err(reason));
        }
        for function in functions {
            let unknown = || Reason::UnknownCode(what.to_owned());
            let Some(offset) = place(elf, function)? else { return Ok(Err(unknown())) };
            points.extend(programs.iter().map(|program| Point { program, offset }));
        }
    }
    Ok(Ok(points))
}
