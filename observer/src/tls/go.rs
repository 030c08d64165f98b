//! Go's crypto/tls: its functions are found through the table that the runtime keeps of them, which is there without symbols too.
//! A Write is looked at once it has its stack, a Read where it ends: at the return instructions themselves, for Go moves its stacks, and a
//! uretprobe would break it.

use memchr::memmem::{find, find_iter};
use std::ops::{ControlFlow, Range};

use super::code::{begins_soundly, behind_stack_check, returns};
use super::elf::{Elf, Segment};
use super::pclntab::{Body, Pclntab};
use super::source::u64_at;
use super::{Examined, Fault, Found, Library, Machine, Point, Reason, Unfit};

/// Where every Go program since 1.13 tells its version (debug/buildinfo).
const BUILD_INFO: &[u8] = b"\xff Go buildinf:";
/// The header's size and alignment.
const BUILD_INFO_ALIGN: u64 = 16;
/// Bytes of written data in which it is looked for where no section has its name.
const BUILD_INFO_WITHIN: u64 = 16 << 20;
/// Bytes of a function of crypto/tls: 2 KiB in Go 1.27.
const FUNCTION_MAX: u64 = 256 << 10;
/// Bytes of a version.
const VERSION_MAX: usize = 128;

const WRITE: &str = "crypto/tls.(*Conn).Write";
const READ: &str = "crypto/tls.(*Conn).Read";
const CLOSE: &str = "crypto/tls.(*Conn).Close";

/// Tells whether the file is a Go program that can do TLS, and where.
pub(super) fn examine(elf: &Elf, examined: &mut Examined) -> Result<(), Fault> {
    let Some(version) = version(elf)? else { return Ok(()) };
    let found = match points(elf, &version) {
        Err(fault @ (Fault::Malformed(_) | Fault::TooLarge)) => {
            if names(elf, WRITE)? {
                Err(Reason::Broken(fault.to_string()))
            } else {
                Ok(Vec::new())
            }
        }
        found => found?,
    };
    let (library, version) = (Library::Go, Some(version));
    match found {
        Ok(points) if points.is_empty() => {}
        Ok(points) => examined.found.push(Found { library, version, points }),
        Err(reason) => examined.unfit.push(Unfit { library, version, reason }),
    }
    Ok(())
}

/// None where the program does no TLS.
fn points(elf: &Elf, version: &str) -> Result<Result<Vec<Point>, Reason>, Fault> {
    // A development version is newer than any that passes arguments on the stack.
    let first = if elf.machine == Machine::X86_64 { 17 } else { 18 };
    let by_stack = minor(version).is_some_and(|minor| minor < first);
    let bodies = match Pclntab::find(elf)? {
        Ok(table) => table.functions(elf, &[WRITE, READ, CLOSE])?,
        Err(why) => Err(why),
    };
    let bodies = match bodies {
        Ok(bodies) => bodies,
        Err(_) if !names(elf, WRITE)? => return Ok(Ok(Vec::new())),
        Err(_) if by_stack => return Ok(Err(Reason::StackArguments(version.to_owned()))),
        Err(why) => return Ok(Err(Reason::FunctionTable(why))),
    };
    let [write, read, close] = &bodies[..] else { return Ok(Ok(Vec::new())) };
    if write.is_none() && read.is_none() {
        return Ok(Ok(Vec::new()));
    }
    if by_stack {
        return Ok(Err(Reason::StackArguments(version.to_owned())));
    }
    let mut points = Vec::new();
    for (name, body) in [(WRITE, write), (READ, read)] {
        let Some(body) = body else { continue };
        let unknown = Reason::UnknownCode(name.to_owned());
        let Some((at, code)) = code(elf, body)? else { return Ok(Err(unknown)) };
        let Some(begins) = beginning(elf.machine, &code) else { return Ok(Err(unknown)) };
        if name == WRITE {
            points.push(Point { program: "go_sends", offset: at + begins });
            continue;
        }
        let Some(returns) = returns(elf.machine, &code).filter(|returns| !returns.is_empty()) else {
            return Ok(Err(unknown));
        };
        points.push(Point { program: "go_begins", offset: at + begins });
        points.extend(returns.into_iter().map(|returns| Point { program: "go_reads", offset: at + returns }));
    }
    if let Some(close) = close {
        let closes = code(elf, close)?.filter(|(_, code)| begins_soundly(elf.machine, code));
        let Some((offset, _)) = closes else { return Ok(Err(Reason::UnknownCode(CLOSE.to_owned()))) };
        points.push(Point { program: "go_closes", offset });
    }
    Ok(Ok(points))
}

/// Whether the program has this name in it, wherever.
fn names(elf: &Elf, name: &str) -> Result<bool, Fault> {
    let whole = [b"\0", name.as_bytes(), b"\0"].concat();
    let mut named = false;
    for segment in &elf.segments {
        elf.source.scan(segment.range(), whole.len(), |_, bytes| {
            named = named || find(bytes, &whole).is_some();
            if named { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    Ok(named)
}

/// Where the code of a function is in the file, and the code; none where that cannot be known for sure.
pub(super) fn code(elf: &Elf, body: &Body) -> Result<Option<(u64, Vec<u8>)>, Fault> {
    let Some(at) = elf.code_offset(body.address) else { return Ok(None) };
    let len = match body.len {
        0 => return Ok(None),
        len if len > FUNCTION_MAX => return Ok(None),
        len => usize::try_from(len).map_err(|_| Fault::TooLarge)?,
    };
    Ok(Some((at, elf.source.read(at, len)?)))
}

/// The first place that every call passes once, where the arguments are still where they were passed.
pub(super) fn beginning(machine: Machine, code: &[u8]) -> Option<u64> {
    let begins = behind_stack_check(machine, code)?;
    let first = code.get(usize::try_from(begins).ok()?..)?;
    (begins_soundly(machine, code) && begins_soundly(machine, first)).then_some(begins)
}

/// `go1.19.8` → 19. None of a development version.
pub(super) fn minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("go1.")?;
    let len = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..len)?.parse().ok()
}

/// The version of the Go that built the program; none of what is no Go program.
pub(super) fn version(elf: &Elf) -> Result<Option<String>, Fault> {
    build_info(elf)?.map(|at| version_at(elf, at)).transpose()
}

/// Where in the file the build information begins; none of what is no Go program.
pub(super) fn build_info(elf: &Elf) -> Result<Option<u64>, Fault> {
    let ranges: Vec<Range<u64>> = match elf.section(b".go.buildinfo") {
        Some(section) => vec![section.range()],
        None => elf.segments.iter().filter(|segment| segment.writable).map(Segment::range).collect(),
    };
    let mut at = None;
    for range in ranges {
        let within = range.start..range.end.min(range.start.saturating_add(BUILD_INFO_WITHIN));
        elf.source.scan(within, BUILD_INFO.len(), |from, bytes| {
            let places = find_iter(bytes, BUILD_INFO).map(|place| from + place as u64);
            at = at.or_else(|| places.into_iter().find(|at| (at - range.start).is_multiple_of(BUILD_INFO_ALIGN)));
            if at.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    Ok(at)
}

/// From Go 1.18 on the version stands right behind the header, before the header points to it (debug/buildinfo).
pub(super) fn version_at(elf: &Elf, at: u64) -> Result<String, Fault> {
    const IN_PLACE: u8 = 2;
    const HEADER: usize = 32;
    let header = elf.source.read(at, HEADER)?;
    let bytes = if header.get(15).is_some_and(|flags| flags & IN_PLACE != 0) {
        let len = usize::from(elf.source.window().array::<1>(at + HEADER as u64)?[0]);
        elf.source.read(at + HEADER as u64 + 1, len.min(VERSION_MAX))?
    } else {
        let unknown = Fault::Malformed("Go's build information");
        let string = u64_at(&header, 16).and_then(|address| elf.offset(address)).ok_or(unknown)?;
        let string = elf.source.read(string, 16)?;
        let (address, len) = (u64_at(&string, 0).unwrap_or(0), u64_at(&string, 8).unwrap_or(0));
        let Some(at) = elf.offset(address) else { return Ok(String::new()) };
        elf.source.read(at, usize::try_from(len).unwrap_or(VERSION_MAX).min(VERSION_MAX))?
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minor_version_is_read_of_releases_alone() {
        for (version, expected) in [
            ("go1.19.8", Some(19)),
            ("go1.27", Some(27)),
            ("go1.21rc2", Some(21)),
            ("devel go1.28-abc", None),
            ("", None),
        ] {
            assert_eq!(minor(version), expected, "{version}");
        }
    }
}
