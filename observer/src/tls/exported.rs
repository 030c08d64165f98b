//! Libraries with a C interface: OpenSSL, BoringSSL, GnuTLS, as shared libraries or linked into a program.

use super::code::{INSTRUCTION_MAX, begins_soundly};
use super::elf::Elf;
use super::openssl;
use super::symbols::{Function, Symbols};
use super::texts::Texts;
use super::{Examined, Fault, Found, Library, Point, Reason, Unfit};

/// What the names below have in common.
pub(super) const TEXTS: &[&str] = &["SSL_", "gnutls_"];

/// Functions that read or write, and the program for their return. `SSL_write_ex` may call `SSL_write_ex2` (from OpenSSL 3.3 on).
const OPENSSL: [(&str, &str); 6] = [
    ("SSL_read", "tls_reads"),
    ("SSL_write", "tls_writes"),
    ("SSL_read_ex", "tls_reads_ex"),
    ("SSL_write_ex", "tls_writes_ex"),
    (WRITE_EX2, "tls_writes_ex"),
    ("SSL_sendfile", "tls_sends_file"),
];
const WRITE_EX2: &str = "SSL_write_ex2";
/// `SSL_clear` makes a session fit for another connection. The functions for early data call those above for it.
const OPENSSL_CLOSES: &[&str] = &["SSL_free", "SSL_clear"];
/// Of a version that is not known and of all but OpenSSL.
const BEGINS: &str = "tls_begins";
/// Of a function that takes one argument more, in releases whose sessions are laid out as in 3.2 (later ones fail its checks).
const BEGINS_EX2: &str = "tls_begins_ex2";
/// `gnutls_record_send` calls `gnutls_record_send2` where there is one (GnuTLS 3.6.3, lib/record.c).
const GNUTLS: [(&str, &str); 4] = [
    ("gnutls_record_recv", "tls_reads"),
    ("gnutls_record_uncork", UNCORKED),
    ("gnutls_record_send2", "tls_writes"),
    ("gnutls_record_send", "tls_writes"),
];
/// While a session is corked its bytes are taken by `gnutls_record_send2`, and go through it again when it is uncorked.
const UNCORKS: &str = "tls_uncorks";
const UNCORKED: &str = "tls_uncorked";
const GNUTLS_CLOSES: &[&str] = &["gnutls_deinit"];
/// A function that BoringSSL alone has.
const BORINGSSL: &str = "SSL_CTX_set_grease_enabled";
/// What the names of OpenSSL's symbol versions begin with.
const VERSION_PREFIX: &str = "OPENSSL_";

/// Whether a symbol matters here.
pub(super) fn wants(name: &str) -> bool {
    OPENSSL.iter().chain(&GNUTLS).any(|(function, _)| *function == name)
        || OPENSSL_CLOSES.iter().chain(GNUTLS_CLOSES).chain([&BORINGSSL]).any(|function| *function == name)
        || symbol_version(name).is_some()
}

/// Tells what there is of these libraries.
pub(super) fn examine(elf: &Elf, symbols: &Symbols, texts: &Texts, examined: &mut Examined) -> Result<(), Fault> {
    let boringssl = texts.boringssl || symbols.functions.iter().any(|function| function.name == BORINGSSL);
    let library = if boringssl { Library::BoringSsl } else { Library::OpenSsl };
    let version = if boringssl { None } else { texts.openssl_version.clone().or_else(|| asked_for(symbols)) };
    let begins = version.as_deref().map_or(BEGINS, openssl::begins);
    match points(elf, symbols, begins, &OPENSSL, OPENSSL_CLOSES)? {
        Ok(points) if !points.is_empty() => examined.found.push(Found { library, version, points }),
        Ok(_) if texts.openssl || texts.boringssl => {
            let reason = if symbols.stripped { Reason::Stripped } else { Reason::Inlined(OPENSSL[0].0) };
            examined.unfit.push(Unfit { library, version, reason });
        }
        Ok(_) => {}
        Err(reason) => examined.unfit.push(Unfit { library, version, reason }),
    }
    let has_send2 = symbols.functions.iter().any(|function| function.name == GNUTLS[2].0);
    let functions = if has_send2 { &GNUTLS[..3] } else { &GNUTLS[..] };
    match points(elf, symbols, BEGINS, functions, GNUTLS_CLOSES)? {
        Ok(points) if points.is_empty() => {}
        Ok(points) => examined.found.push(Found { library: Library::GnuTls, version: None, points }),
        Err(reason) => examined.unfit.push(Unfit { library: Library::GnuTls, version: None, reason }),
    }
    Ok(())
}

/// The places of these functions: none where none of them reads or writes.
fn points(
    elf: &Elf,
    symbols: &Symbols,
    begins: &'static str,
    functions: &[(&str, &'static str)],
    closes: &[&str],
) -> Result<Result<Vec<Point>, Reason>, Fault> {
    let mut points: Vec<Point> = Vec::new();
    let mut add = |program: &'static str, offset: u64| {
        let point = Point { program, offset };
        if !points.contains(&point) {
            points.push(point);
        }
    };
    let named = |name: &str| symbols.functions.iter().filter(move |function| function.name == name).collect::<Vec<_>>();
    let mut reads_or_writes = false;
    for (name, program) in functions {
        for function in named(name) {
            match place(elf, function)? {
                Some(offset) => {
                    reads_or_writes = true;
                    let begins = match (*name, *program) {
                        (WRITE_EX2, _) => BEGINS_EX2,
                        (_, UNCORKED) => UNCORKS,
                        _ => begins,
                    };
                    add(begins, offset);
                    add(program, offset);
                }
                None => return Ok(Err(Reason::UnknownCode((*name).to_owned()))),
            }
        }
    }
    if reads_or_writes {
        for name in closes {
            for function in named(name) {
                match place(elf, function)? {
                    Some(offset) => add("tls_closes", offset),
                    None => return Ok(Err(Reason::UnknownCode((*name).to_owned()))),
                }
            }
        }
    }
    Ok(Ok(points))
}

/// Where the function is in the file, if a probe can stand there.
pub(super) fn place(elf: &Elf, function: &Function) -> Result<Option<u64>, Fault> {
    let Some(offset) = elf.code_offset(function.address) else { return Ok(None) };
    match elf.source.window().array::<INSTRUCTION_MAX>(offset) {
        Ok(code) => Ok(begins_soundly(elf.machine, &code).then_some(offset)),
        Err(Fault::Read(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// The newest version of OpenSSL that the symbols of a library ask for or offer.
fn asked_for(symbols: &Symbols) -> Option<String> {
    let newest = symbols.names.iter().filter_map(|name| symbol_version(name)).max()?;
    Some(newest.map(|number| number.to_string()).join("."))
}

/// `OPENSSL_3.0.0`, of OpenSSL 1.1 `OPENSSL_1_1_1a`.
fn symbol_version(name: &str) -> Option<[u32; 3]> {
    let numbers = name.strip_prefix(VERSION_PREFIX)?;
    let mut numbers = numbers
        .split(['.', '_'])
        .map(|number| number.trim_end_matches(|letter: char| letter.is_ascii_lowercase()).parse::<u32>().ok());
    let version = [numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(version)
}
