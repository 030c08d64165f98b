//! Which request a goroutine works for: functions of Go's net/http and runtime come in (observer/src/tls/goroutines.rs tells where they
//! are from); what calls a peer over HTTP/1 goes out, with the connection that its work came by and since when that was served.
//!
//! net/http serves a connection by one goroutine, which reads a request, works for it, answers and reads the next: a *turn*. Its children
//! belong to the turn in which they were born, and theirs to the same, however long they live. Goroutines are known by their address,
//! which the runtime gives to others once they have ended; every birth is seen here and says anew whose they are.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::ProbeContext;
use observer_ebpf::loss::Loss;
use observer_ebpf::record::{Kind, Record};
use observer_ebpf::{BIRTHS_MAX, GOROUTINES_MAX};

use crate::connection;
use crate::ring::{RECORDS, is_pressed, lose, submit_flags};
use crate::tls::{ends, hit, of_process, use_own_stack};

/// Where a `net/http.conn` and a `net/http.persistConn` have their `net.Conn` (Go 1.18 to 1.26).
const SERVED: u64 = 16;
const CALLED: u64 = 80;

/// The goroutines that work for a request, by process and address.
#[map]
static GOROUTINES: LruHashMap<[u64; 2], Work> = LruHashMap::with_max_entries(GOROUTINES_MAX, 0);
/// What the goroutines work for that give birth now, by process and thread.
#[map]
static BIRTHS: LruHashMap<u64, Work> = LruHashMap::with_max_entries(BIRTHS_MAX, 0);

/// What a goroutine works for.
#[derive(Clone, Copy)]
#[repr(C)]
struct Work {
    /// The `net/http.conn` that is served.
    served: u64,
    /// Its socket.
    socket: u64,
    /// When the turn began: nanoseconds of CLOCK_MONOTONIC.
    turn_ns: u64,
    /// How many births lie between the goroutine that serves and this one.
    births: u32,
    /// Where there are any: how often it, or one between the two, has called anybody.
    calls: u32,
}

/// `net/http.(*conn).readRequest` has its stack (Go's internal ABI, cmd/compile/abi-internal.md: the receiver is in AX; R14 is the
/// goroutine).
#[inline(always)]
pub(crate) fn reads_request(ctx: &ProbeContext) {
    hit();
    use_own_stack(ctx);
    // SAFETY: fields of the context.
    let (served, goroutine) = unsafe { ((*ctx.regs).rax, (*ctx.regs).r14) };
    let key = of_process(process(), goroutine);
    // SAFETY: copied at once.
    let before = unsafe { GOROUTINES.get(key) }.copied().filter(|work| work.births == 0 && work.served == served);
    let socket = match before {
        Some(before) => before.socket,
        None => connection::of_interface(served + SERVED).unwrap_or_default(),
    };
    if socket == 0 {
        let _ = GOROUTINES.remove(key);
        return;
    }
    // SAFETY: a helper that all these programs may call.
    let turn_ns = unsafe { bpf_ktime_get_ns() };
    let _ = GOROUTINES.insert(key, Work { served, socket, turn_ns, births: 0, calls: 0 }, 0);
}

/// `runtime.newproc1` begins: BX is the goroutine that asks for another. It runs on the stack of the thread, which does nothing else
/// until it returns.
#[inline(always)]
pub(crate) fn bears(ctx: &ProbeContext) {
    hit();
    use_own_stack(ctx);
    // SAFETY: a field of the context.
    let parent = unsafe { (*ctx.regs).rbx };
    // SAFETY: copied at once.
    let Some(work) = (unsafe { GOROUTINES.get(of_process(process(), parent)) }).copied() else { return };
    let _ = BIRTHS.insert(bpf_get_current_pid_tgid(), Work { births: work.births + 1, ..work }, 0);
}

/// It is about to return: AX is the new goroutine.
#[inline(always)]
pub(crate) fn born(ctx: &ProbeContext) {
    hit();
    use_own_stack(ctx);
    // SAFETY: a field of the context.
    let child = unsafe { (*ctx.regs).rax };
    let (key, thread) = (of_process(process(), child), bpf_get_current_pid_tgid());
    // SAFETY: copied at once.
    let work = unsafe { BIRTHS.get(thread) }.copied();
    match work {
        Some(work) => {
            let _ = BIRTHS.remove(thread);
            if GOROUTINES.insert(key, work, 0).is_err() {
                let _ = GOROUTINES.remove(key);
            }
        }
        None => {
            let _ = GOROUTINES.remove(key);
        }
    }
}

/// `net/http.(*persistConn).roundTrip` has its stack: the goroutine is about to send a request through this connection, which takes no
/// other before it is answered. One that works for nobody is told, too: whoever was told before it did not send this.
#[inline(always)]
pub(crate) fn calls(ctx: &ProbeContext) {
    hit();
    use_own_stack(ctx);
    // SAFETY: fields of the context.
    let (called, goroutine) = unsafe { ((*ctx.regs).rax, (*ctx.regs).r14) };
    let Some(socket) = connection::of_interface(called + CALLED).filter(|socket| *socket != 0) else { return };
    let mut work = Work { served: 0, socket: 0, turn_ns: 0, births: 0, calls: 0 };
    if let Some(known) = GOROUTINES.get_ptr_mut(of_process(process(), goroutine)) {
        // SAFETY: this goroutine alone writes its entry.
        let known = unsafe { &mut *known };
        work = *known;
        known.calls = if work.births == 0 { 0 } else { work.calls.saturating_add(1) };
    }
    if is_pressed() {
        lose(Loss::SocketEventRingFull);
        return;
    }
    let Some(mut entry) = RECORDS.reserve::<Record>(0) else {
        lose(Loss::SocketEventRingFull);
        return;
    };
    entry.write(Record {
        // SAFETY: a helper that all these programs may call.
        at_ns: unsafe { bpf_ktime_get_ns() },
        socket,
        cgroup: 0,
        token: process(),
        source: ends([work.socket, work.turn_ns]),
        destination: [0; 16],
        source_port: 0,
        destination_port: 0,
        seq: work.births,
        wire_len: work.calls,
        captured: 0,
        kind: Kind::GoCalls as u8,
        flags: 0,
        ack: 0,
        link: 0,
    });
    entry.submit(submit_flags());
}

#[inline(always)]
fn process() -> u64 {
    bpf_get_current_pid_tgid() >> 32
}
