//! Records of perf events (perf_event_open(2), "MMAP layout") come in as bytes, what happened to processes goes out.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::proc::{Device, Mapping, Place};

/// Kinds of records (include/uapi/linux/perf_event.h, `enum perf_event_type`).
const LOST: u32 = 2;
const COMM: u32 = 3;
const EXIT: u32 = 4;
const FORK: u32 = 7;
const MMAP2: u32 = 10;
/// The command name changed by exec (`PERF_RECORD_MISC_COMM_EXEC`).
const MISC_COMM_EXEC: u16 = 1 << 13;
/// What every record ends with: its time, as asked for (`PERF_SAMPLE_TIME` with `sample_id_all`).
const TRAILER_BYTES: usize = 8;

/// What happened to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It mapped a file as code.
    Maps {
        /// The process.
        pid: u32,
        /// The file, and where.
        mapping: Mapping,
    },
    /// It runs another program.
    Execs {
        /// The process.
        pid: u32,
        /// The command name.
        command: String,
    },
    /// It calls itself otherwise.
    Renames {
        /// The process.
        pid: u32,
        /// The command name.
        command: String,
    },
    /// Another process made it.
    Forks {
        /// The new one.
        pid: u32,
        /// The other.
        parent: u32,
    },
    /// One of its threads ended.
    ThreadExits {
        /// The process.
        pid: u32,
        /// The thread.
        thread: u32,
    },
    /// So many records found no room.
    Lost(u64),
}

/// What a record tells and when (nanoseconds of the monotonic clock). None: nothing that matters, or nothing that can be read.
pub(super) fn read(kind: u32, misc: u16, bytes: &[u8]) -> Option<(u64, News)> {
    let (body, trailer) = bytes.split_at_checked(bytes.len().checked_sub(TRAILER_BYTES)?)?;
    let at_ns = u64::from_ne_bytes(*trailer.first_chunk()?);
    let mut fields = Fields(body);
    let news = match kind {
        MMAP2 => {
            let (pid, _) = (fields.u32()?, fields.u32()?);
            let (start, len, _) = (fields.u64()?, fields.u64()?, fields.u64()?);
            let device = Device { major: fields.u32()?, minor: fields.u32()? };
            let (inode, generation) = (fields.u64()?, fields.u64()?);
            let _protection_and_flags = fields.u64()?;
            // What has no file, as the kernel's own pages have not.
            if inode == 0 {
                return None;
            }
            let path = OsString::from_vec(fields.text().to_vec());
            let place = Place { device, inode };
            News::Maps {
                pid,
                mapping: Mapping { place, generation: Some(generation), range: start..start.checked_add(len)?, path },
            }
        }
        COMM => {
            let (pid, thread) = (fields.u32()?, fields.u32()?);
            let command = OsStr::from_bytes(fields.text()).to_string_lossy().into_owned();
            if misc & MISC_COMM_EXEC != 0 {
                News::Execs { pid, command }
            } else if pid == thread {
                News::Renames { pid, command }
            } else {
                return None;
            }
        }
        FORK => {
            let (pid, parent) = (fields.u32()?, fields.u32()?);
            // A thread, which shares everything.
            if pid == parent {
                return None;
            }
            News::Forks { pid, parent }
        }
        EXIT => {
            let (pid, _, thread) = (fields.u32()?, fields.u32()?, fields.u32()?);
            News::ThreadExits { pid, thread }
        }
        LOST => {
            let (_, lost) = (fields.u64()?, fields.u64()?);
            News::Lost(lost)
        }
        _ => return None,
    };
    Some((at_ns, news))
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn u32(&mut self) -> Option<u32> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_ne_bytes(*field))
    }

    fn u64(&mut self) -> Option<u64> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_ne_bytes(*field))
    }

    /// The rest up to the zero bytes that fill it.
    fn text(&mut self) -> &'a [u8] {
        let end = memchr::memchr(0, self.0).unwrap_or(self.0.len());
        self.0.get(..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> Vec<u8> {
        let mut bytes: Vec<u8> = [77u32, 78].iter().flat_map(|field| field.to_ne_bytes()).collect();
        bytes.extend([0x7f00_0000_0000u64, 0x5000, 0x1000].iter().flat_map(|field| field.to_ne_bytes()));
        bytes.extend([254u32, 1].iter().flat_map(|field| field.to_ne_bytes()));
        bytes.extend([4711u64, 9].iter().flat_map(|field| field.to_ne_bytes()));
        bytes.extend([5u32, 2].iter().flat_map(|field| field.to_ne_bytes()));
        bytes.extend(b"/usr/lib/libssl.so.3\0\0\0\0");
        bytes.extend(1_000u64.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_mapping_tells_its_file_and_its_place() {
        let place = Place { device: Device { major: 254, minor: 1 }, inode: 4711 };
        let range = 0x7f00_0000_0000..0x7f00_0000_5000;
        let mapping_read = Mapping { place, generation: Some(9), range, path: "/usr/lib/libssl.so.3".into() };
        assert_eq!(read(MMAP2, 2, &mapping()), Some((1_000, News::Maps { pid: 77, mapping: mapping_read })));
    }

    #[test]
    fn what_is_cut_off_is_nothing_and_never_a_panic() {
        for kind in 0..20 {
            for len in 0..mapping().len() {
                let _ = read(kind, u16::MAX, &mapping()[..len]);
            }
        }
        assert_eq!(read(MMAP2, 0, &mapping()[..60]), None);
    }

    #[test]
    fn threads_are_no_processes_and_a_new_name_is_no_new_program() {
        let of = |fields: &[u32]| {
            let mut bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_ne_bytes()).collect();
            bytes.extend(5u64.to_ne_bytes());
            bytes
        };
        let time = [0, 0];
        let task = |fields: [u32; 4]| of(&[&fields[..], &time].concat());
        assert_eq!(read(FORK, 0, &task([8, 7, 8, 7])), Some((5, News::Forks { pid: 8, parent: 7 })));
        assert_eq!(read(FORK, 0, &task([7, 7, 9, 7])), None);
        assert_eq!(read(EXIT, 0, &task([7, 1, 9, 1])), Some((5, News::ThreadExits { pid: 7, thread: 9 })));
        let name = u32::from_ne_bytes(*b"curl");
        let command = "curl".to_owned();
        let execs = News::Execs { pid: 7, command: command.clone() };
        assert_eq!(read(COMM, MISC_COMM_EXEC, &of(&[7, 7, name, 0])), Some((5, execs)));
        assert_eq!(read(COMM, 0, &of(&[7, 7, name, 0])), Some((5, News::Renames { pid: 7, command })));
        assert_eq!(read(COMM, 0, &of(&[7, 8, name, 0])), None);
        assert_eq!(read(LOST, 0, &of(&[1, 0, 12, 0])), Some((5, News::Lost(12))));
    }
}
