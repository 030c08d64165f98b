//! Where a Go program takes requests, gives birth to goroutines and calls others over HTTP/1 (net/http, runtime): a file comes in, the
//! places to probe go out, or why there are none. No symbol is needed for that, nor anything that changes with the release but how
//! arguments are passed: goroutines are known by the register that has theirs.

use std::fs::File;

use super::code::returns;
use super::elf::Elf;
use super::go::{beginning, code, minor, version};
use super::pclntab::Pclntab;
use super::source::Source;
use super::{Fault, Machine, Point};

const READS_REQUEST: &str = "net/http.(*conn).readRequest";
const BEARS: &str = "runtime.newproc1";
const CALLS: &str = "net/http.(*persistConn).roundTrip";
/// The first release in which the second argument of `runtime.newproc1` is who asks.
const FIRST: u32 = 18;

/// Why the goroutines of a program cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfollowed {
    /// Another language made it.
    #[error("it is no Go program")]
    NotGo,
    /// It takes no requests by net/http, or calls nobody by it.
    #[error("it does not both serve and call through net/http")]
    NoHttp,
    /// Of these the arguments are not known.
    #[error("{0} passes arguments in another way: goroutines of Go 1.18 and later can be followed")]
    OldRelease(String),
    /// No registers of it are read.
    #[error("its code is for 64-bit Arm, of which no registers are read")]
    Arm,
    /// The tables that the runtime keeps of its functions.
    #[error("its table of functions cannot be read: {0}")]
    FunctionTable(&'static str),
    /// What is in the place of a function.
    #[error("{0} has code that cannot be probed safely")]
    UnknownCode(&'static str),
    /// The file breaks the rules of one.
    #[error("{0}")]
    Unreadable(String),
}

impl From<Fault> for Unfollowed {
    fn from(fault: Fault) -> Self {
        Self::Unreadable(fault.to_string())
    }
}

/// Where to probe a program so that its goroutines can be followed, in the order in which to attach: nobody works for a request before
/// births are seen.
///
/// # Errors
///
/// Why they cannot be followed.
pub fn goroutines(file: &File) -> Result<Vec<Point>, Unfollowed> {
    let elf = Elf::new(Source::new(file)?)?;
    let Some(version) = version(&elf)? else { return Err(Unfollowed::NotGo) };
    if elf.machine != Machine::X86_64 {
        return Err(Unfollowed::Arm);
    }
    let table = Pclntab::find(&elf)?.map_err(Unfollowed::FunctionTable)?;
    let bodies = table.functions(&elf, &[READS_REQUEST, BEARS, CALLS])?.map_err(Unfollowed::FunctionTable)?;
    let [Some(reads_request), Some(bears), Some(calls)] = &bodies[..] else { return Err(Unfollowed::NoHttp) };
    // A development version is newer.
    if minor(&version).is_some_and(|minor| minor < FIRST) {
        return Err(Unfollowed::OldRelease(version));
    }
    let begins = |body, name, program| -> Result<(Point, u64, Vec<u8>), Unfollowed> {
        let (at, code) = code(&elf, body)?.ok_or(Unfollowed::UnknownCode(name))?;
        let begins = beginning(elf.machine, &code).ok_or(Unfollowed::UnknownCode(name))?;
        Ok((Point { program, offset: at + begins }, at, code))
    };
    let (bears, at, code) = begins(bears, BEARS, "go_bears")?;
    let born = returns(elf.machine, &code).filter(|born| !born.is_empty());
    let born = born.ok_or(Unfollowed::UnknownCode(BEARS))?;
    let mut points: Vec<_> =
        born.into_iter().map(|returns| Point { program: "go_born", offset: at + returns }).collect();
    points.push(bears);
    points.push(begins(calls, CALLS, "go_calls")?.0);
    points.push(begins(reads_request, READS_REQUEST, "go_reads_request")?.0);
    Ok(points)
}
