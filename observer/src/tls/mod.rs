//! Where a program or a library has what its TLS carries in clear: a file comes in, the places to probe in it go out, or why there
//! are none. Files are only read; nothing is attached here.

mod code;
mod elf;
mod exported;
mod go;
mod goroutines;
mod java;
mod openssl;
pub(crate) mod origin;
mod pclntab;
mod rustls;
mod source;
mod symbols;
mod texts;
mod watch;

use std::fmt;
use std::fs::File;

pub use goroutines::{Unfollowed, goroutines};
pub use watch::{Bounds, Counters, Prober, Scope, TlsProcess, Watch, survey};
pub(crate) use watch::{cgroup_of, command, mappings};

/// A TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Library {
    /// OpenSSL.
    OpenSsl,
    /// BoringSSL.
    BoringSsl,
    /// GnuTLS.
    GnuTls,
    /// Go's crypto/tls.
    Go,
    /// rustls.
    Rustls,
    /// Java's own (JSSE).
    Java,
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenSsl => "OpenSSL",
            Self::BoringSsl => "BoringSSL",
            Self::GnuTls => "GnuTLS",
            Self::Go => "Go crypto/tls",
            Self::Rustls => "rustls",
            Self::Java => "Java",
        })
    }
}

/// What a file's code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64.
    X86_64,
    /// 64-bit Arm: the kernel programs of this version read no registers of it.
    Aarch64,
}

/// What there is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// What its code is for.
    pub machine: Machine,
    /// Libraries that can be observed.
    pub found: Vec<Found>,
    /// Libraries that are in it and cannot.
    pub unfit: Vec<Unfit>,
}

/// A library that can be observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The library.
    pub library: Library,
    /// Its version as far as the file tells: of Go the release, of a shared OpenSSL the newest that its symbols ask for.
    pub version: Option<String>,
    /// Where to probe, in the order in which to attach: whatever ends a call comes after what begins it.
    pub points: Vec<Point>,
}

/// A place to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The program of the kernel object that belongs there.
    pub program: &'static str,
    /// Bytes from the beginning of the file, as uprobes take it.
    pub offset: u64,
}

impl Point {
    /// Whether the program is for the return of the function that begins there (uretprobe), not for the instruction itself.
    pub fn at_return(&self) -> bool {
        matches!(
            self.program,
            "tls_reads"
                | "tls_writes"
                | "tls_reads_ex"
                | "tls_writes_ex"
                | "tls_sends_file"
                | "tls_uncorked"
                | "rustls_sends"
        )
    }
}

/// A library that cannot be observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The library.
    pub library: Library,
    /// Its version as far as the file tells.
    pub version: Option<String>,
    /// Why.
    pub reason: Reason,
}

/// Why a library cannot be observed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The library is part of the program, its symbols are not.
    #[error("it is linked into the program, whose symbols were stripped")]
    Stripped,
    /// Before its release 1.17 on x86-64, 1.18 on Arm.
    #[error("{0} passes arguments on the stack, which is not read: Go 1.17 and later can be observed")]
    StackArguments(String),
    /// The tables that the runtime keeps of its functions.
    #[error("its table of functions cannot be read: {0}")]
    FunctionTable(&'static str),
    /// What is in the place of a function.
    #[error("{0} has code that cannot be probed safely")]
    UnknownCode(String),
    /// The functions through which plaintext goes have no symbols of their own.
    #[error("{0} was inlined or left out by the compiler")]
    Inlined(&'static str),
    /// There is no file that has its code.
    #[error("its TLS is compiled at run time and cannot be probed")]
    CompiledAtRunTime,
    /// What this compiler made of the library's types is not known.
    #[error("rustc {0} lays out its data in a way that is not known: what 1.77 and later built can be observed")]
    OldCompiler(String),
    /// Where such a library keeps what is sent is not known of this release.
    #[error("this release lays out its data in a way that is not known")]
    UnknownRelease,
    /// The file breaks the rules where its functions are told, or its tables are beyond all measure.
    #[error("where its functions are cannot be read: {0}")]
    Broken(String),
}

/// A file that is no program or library, or that breaks the rules of one.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {fault}")]
pub struct Unreadable {
    name: String,
    fault: Fault,
}

impl Unreadable {
    /// Whether another try may go better: reading failed, nothing is wrong with what was read.
    pub fn may_pass(&self) -> bool {
        matches!(self.fault, Fault::Read(_))
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it is not an ELF file")]
    NotElf,
    #[error("it is for another kind of machine: 64-bit x86 and Arm are read")]
    Foreign,
    #[error("its tables are broken: {0}")]
    Malformed(&'static str),
    #[error("its tables are larger than those of any program")]
    TooLarge,
}

/// Looks for TLS libraries in an executable or a shared library; `name` is for messages. A file with none is not an error.
///
/// # Errors
///
/// When the file is no ELF file of a machine that is known, or its tables are broken or beyond all measure and nothing in it tells
/// of a TLS library.
pub fn examine(file: &File, name: &str) -> Result<Examined, Unreadable> {
    read(file).map_err(|fault| Unreadable { name: name.to_owned(), fault })
}

fn read(file: &File) -> Result<Examined, Fault> {
    let elf = elf::Elf::new(source::Source::new(file)?)?;
    let mut examined = Examined { machine: elf.machine, found: Vec::new(), unfit: Vec::new() };
    // Go has tables of its own, sound or not.
    for outcome in [by_symbols(&elf, &mut examined), go::examine(&elf, &mut examined)] {
        let told = !examined.found.is_empty() || !examined.unfit.is_empty();
        match outcome {
            Err(fault) if !told || matches!(fault, Fault::Read(_)) => return Err(fault),
            _ => {}
        }
    }
    Ok(examined)
}

/// The libraries whose functions have names.
fn by_symbols(elf: &elf::Elf, examined: &mut Examined) -> Result<(), Fault> {
    let symbols = symbols::read(elf, &[exported::TEXTS, rustls::TEXTS, java::TEXTS].concat(), |name| {
        exported::wants(name) || rustls::wants(name) || java::wants(name)
    });
    let texts = texts::read(elf)?;
    let symbols = match symbols {
        Err(fault @ (Fault::Malformed(_) | Fault::TooLarge)) => {
            let libraries = texts.libraries();
            let unfit = |library| Unfit { library, version: None, reason: Reason::Broken(fault.to_string()) };
            examined.unfit.extend(libraries.iter().copied().map(unfit));
            return if libraries.is_empty() { Err(fault) } else { Ok(()) };
        }
        symbols => symbols?,
    };
    exported::examine(elf, &symbols, &texts, examined)?;
    rustls::examine(elf, &symbols, &texts, examined)?;
    java::examine(&symbols, examined);
    Ok(())
}
