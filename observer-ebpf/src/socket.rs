//! Socket hooks: whose a socket is, in the context of the process; and when a connection is established.

use aya_ebpf::bindings::{
    BPF_RB_FORCE_WAKEUP, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_socket_cookie, bpf_ktime_get_ns,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use aya_ebpf::programs::{SockAddrContext, SockContext, SockOpsContext};
use aya_log_ebpf::debug;
use core::ffi::c_void;
use core::ptr::addr_of_mut;
use observer_ebpf::loss::Loss;
use observer_ebpf::record::{COMMAND_BYTES, Kind, Record};

use crate::ring::{RECORDS, is_pressed, lose, submit_flags};

/// The newest process at each place, by its id.
#[map]
static PROCESSES: Array<u32> = Array::with_max_entries(PROCESS_PLACES, 0);
const PROCESS_PLACES: u32 = 1024;

/// A record that names the program of its process.
#[repr(C)]
struct Event {
    record: Record,
    command: [u8; COMMAND_BYTES],
}

const TCP: u32 = 6;
const STREAM: u32 = 1;
const INET: u32 = 2;

/// `connect()` to an address of this version.
#[inline(always)]
pub(crate) fn connects<const VERSION: u8>(ctx: &SockAddrContext) {
    let address = ctx.sock_addr;
    // SAFETY: fields of the context, which the verifier checks.
    unsafe {
        if (*address).protocol != TCP || (*address).type_ != STREAM {
            return;
        }
        let to = if VERSION == 4 { mapped((*address).user_ip4) } else { words(&(*address).user_ip6) };
        let port = u16::from_be((*address).user_port as u16);
        tell(Kind::Connects, address.cast(), process_id(), Ends { remote: to, remote_port: port, ..Ends::UNKNOWN });
    }
}

/// `bind()` to an address of this version, or, with version 0, the release of a socket.
#[inline(always)]
pub(crate) fn process<const VERSION: u8>(ctx: &SockContext, kind: Kind) {
    let socket = ctx.sock;
    // SAFETY: as above.
    unsafe {
        if (*socket).protocol != TCP {
            return;
        }
        let (local, port) = match VERSION {
            4 => (mapped((*socket).src_ip4), (*socket).src_port as u16),
            6 => (words(&(*socket).src_ip6), (*socket).src_port as u16),
            _ => ([0; 16], 0),
        };
        tell(kind, socket.cast(), process_id(), Ends { local, local_port: port, ..Ends::UNKNOWN });
    }
}

/// A connection is established, from here or to here.
#[inline(always)]
pub(crate) fn established(ctx: &SockOpsContext) {
    let kind = match ctx.op() {
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => Kind::Connected,
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => Kind::Accepted,
        _ => return,
    };
    let (local, remote) = if ctx.family() == INET {
        (mapped(ctx.local_ip4()), mapped(ctx.remote_ip4()))
    } else {
        // SAFETY: as above.
        unsafe { (words(&(*ctx.ops).local_ip6), words(&(*ctx.ops).remote_ip6)) }
    };
    // `local_port` is in host order, `remote_port` in network order.
    let (local_port, remote_port) = (ctx.local_port() as u16, u32::from_be(ctx.remote_port()) as u16);
    // SAFETY: as above.
    let (sends, receives) = unsafe { ((*ctx.ops).snd_nxt, (*ctx.ops).rcv_nxt) };
    tell(kind, ctx.ops.cast(), 0, Ends { local, remote, local_port, remote_port, sends, receives });
}

/// What an event tells of the ends of a socket; zero where it tells nothing.
struct Ends {
    local: [u8; 16],
    remote: [u8; 16],
    local_port: u16,
    remote_port: u16,
    /// Sequence numbers of the first byte that the local end sends, and of the first that it receives.
    sends: u32,
    receives: u32,
}

impl Ends {
    const UNKNOWN: Self =
        Self { local: [0; 16], remote: [0; 16], local_port: 0, remote_port: 0, sends: 0, receives: 0 };
}

#[inline(always)]
fn process_id() -> u64 {
    bpf_get_current_pid_tgid() >> 32
}

#[inline(always)]
fn tell(kind: Kind, ctx: *mut c_void, process: u64, ends: Ends) {
    if is_pressed() {
        lose(Loss::SocketEventRingFull);
        return;
    }
    let Some(mut entry) = RECORDS.reserve::<Event>(0) else {
        lose(Loss::SocketEventRingFull);
        return;
    };
    let event = entry.as_mut_ptr();
    let in_process = !matches!(kind, Kind::Connected | Kind::Accepted);
    let names = matches!(kind, Kind::Connects);
    // SAFETY: helpers that these program types may call; `event` is reserved memory of this size.
    let (at_ns, socket, cgroup) = unsafe {
        let command = addr_of_mut!((*event).command);
        command.cast::<[u64; 2]>().write([0; 2]);
        if names {
            // It fails for no process; then the name stays empty.
            let _ = bpf_get_current_comm(command.cast(), COMMAND_BYTES as u32);
        }
        (bpf_ktime_get_ns(), bpf_get_socket_cookie(ctx), if in_process { bpf_get_current_cgroup_id() } else { 0 })
    };
    debug!((), "socket {}: event {} of process {}", socket, kind as u8, process);
    let record = Record {
        at_ns,
        socket,
        cgroup,
        token: process,
        source: ends.local,
        destination: ends.remote,
        source_port: ends.local_port,
        destination_port: ends.remote_port,
        seq: ends.sends,
        wire_len: ends.receives,
        captured: if names { COMMAND_BYTES as u16 } else { 0 },
        kind: kind as u8,
        flags: 0,
        ack: 0,
        link: 0,
    };
    // SAFETY: as above.
    unsafe { addr_of_mut!((*event).record).write(record) };
    entry.submit(if names && is_new(process as u32) { BPF_RB_FORCE_WAKEUP as u64 } else { submit_flags() });
}

/// Whether a process has told nothing lately. User space is woken for it: it may end in a moment, and what `/proc` knows of
/// it goes with it.
#[inline(always)]
fn is_new(process: u32) -> bool {
    let Some(newest) = PROCESSES.get_ptr_mut(process & (PROCESS_PLACES - 1)) else { return false };
    // SAFETY: the pointer is into the map. What two CPUs write at once costs a wakeup.
    unsafe {
        let is_new = *newest != process;
        *newest = process;
        is_new
    }
}

/// An IPv4 address in wire order, mapped into IPv6.
#[inline(always)]
fn mapped(address: u32) -> [u8; 16] {
    (u128::from(address) << 96 | 0xffff << 80).to_le_bytes()
}

/// Four words of a context: each is read by itself, because the verifier allows nothing wider.
#[inline(always)]
unsafe fn words(address: *const [u32; 4]) -> [u8; 16] {
    let word = address.cast::<u32>();
    // SAFETY: the caller's pointer is to four words of its context.
    let all = unsafe {
        [word.read_volatile(), word.add(1).read_volatile(), word.add(2).read_volatile(), word.add(3).read_volatile()]
    };
    (u128::from(all[0]) | u128::from(all[1]) << 32 | u128::from(all[2]) << 64 | u128::from(all[3]) << 96).to_le_bytes()
}
