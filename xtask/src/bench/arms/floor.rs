//! Two cgroup_skb programs that let every packet pass and do nothing else: a cgroup comes in, the attached pair goes out.
//! Put together here, since a program of two instructions needs no compiler. All unsafe code of the bench is in this file.

use super::{Finished, Tool};
use anyhow::{Context, Result};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Numbers of include/uapi/linux/bpf.h.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_CGROUP_SKB: u32 = 8;
const BPF_CGROUP_INET_INGRESS: u32 = 0;
const BPF_CGROUP_INET_EGRESS: u32 = 1;

/// `r0 = 1; exit`: 1 lets the packet pass. One instruction is opcode, registers, offset (16 bits) and immediate (32 bits).
const PASS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// The head of the kernel's `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

/// The same for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkAttributes {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// The attached pair; closing a link detaches its program.
pub(super) struct Floor {
    _links: [OwnedFd; 2],
}

impl Floor {
    /// Attaches both to `cgroup` and all below it.
    pub(super) fn attach(cgroup: &Path) -> Result<Self> {
        let cgroup = File::open(cgroup).with_context(|| cgroup.display().to_string())?;
        let attach = |direction| {
            let program = load(direction)?;
            let attributes = LinkAttributes {
                program: program.as_raw_fd().unsigned_abs(),
                target: cgroup.as_raw_fd().unsigned_abs(),
                attach_type: direction,
                flags: 0,
            };
            bpf(BPF_LINK_CREATE, &attributes)
        };
        let ingress = attach(BPF_CGROUP_INET_INGRESS).context("attaching an empty program")?;
        let egress = attach(BPF_CGROUP_INET_EGRESS).context("attaching an empty program")?;
        Ok(Self { _links: [ingress, egress] })
    }
}

impl Tool for Floor {
    fn finish(self: Box<Self>, _served: u64) -> Result<Finished> {
        Ok(Finished::default())
    }
}

fn load(direction: u32) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_CGROUP_SKB,
        instruction_count: 2,
        instructions: PASS.as_ptr().addr() as u64,
        license: license.as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"bench_floor\0\0\0\0\0",
        interface: 0,
        expected_attach_type: direction,
    };
    bpf(BPF_PROG_LOAD, &attributes)
}

/// A command of bpf(2) that returns a descriptor.
fn bpf<Attributes>(command: libc::c_int, attributes: &Attributes) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<Attributes>()` bytes of a live, initialised `repr(C)` structure without padding, and
    // what the addresses in it point at: constants. It writes nothing for these commands.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<Attributes>()) };
    let descriptor = RawFd::try_from(result).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned this descriptor just now, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
