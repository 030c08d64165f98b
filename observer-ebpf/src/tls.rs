//! What programs hand to a TLS library and take from it, in clear: calls and their returns come in, the same records go out as of
//! packets. A session is one such connection of a process; what it sends and what it receives are counted in bytes, which takes
//! the place of TCP's sequence numbers.
//!
//! A call is looked at when it returns: only then is it known how much of it was done. Go has no such moment for probes (its
//! stacks move), so its Read is probed where it returns itself. Its Write is looked at where it begins: it sends all or breaks the
//! session for good, and another goroutine may have read the answer before it returns. A session is told of before the first bytes
//! that it carried, not before: a call that began may fail, or make the connection first.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_ktime_get_ns, bpf_probe_read_user};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{LruHashMap, LruPerCpuHashMap, ProgramArray};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use core::ffi::c_void;
use core::mem::MaybeUninit;
use observer_ebpf::flow::{ADRIFT, CLOSED, FRAMES, fingerprint};
use observer_ebpf::layout::Layout;
use observer_ebpf::loss::Loss;
use observer_ebpf::opening::{Opening, opening};
use observer_ebpf::record::{Kind, Record, TAP_TLS};
use observer_ebpf::{TLS_CALLS, TLS_PROCESSES, TLS_SESSIONS};

use crate::connection::{self, Connection};
use crate::flows::slot;
use crate::headers::{ACK, Headers};
use crate::packet;
use crate::payload::Payload;
use crate::ring::{RECORDS, lose, submit_flags};

/// The calls that have not returned, by process and thread, of Go by process and goroutine.
#[map]
static CALLS: LruHashMap<[u64; 2], Call> = LruHashMap::with_max_entries(TLS_CALLS, 0);
/// The sessions, by process, memory of the process and address of what stands for one in the library.
#[map]
static SESSIONS: LruHashMap<[u64; 2], Session> = LruHashMap::with_max_entries(TLS_SESSIONS, 0);
/// How often probes were hit, by process.
#[map]
static HITS: LruPerCpuHashMap<u32, u64> = LruPerCpuHashMap::with_max_entries(TLS_PROCESSES, 0);
/// The program that tells of a session and then looks at its first bytes.
#[map]
static SESSION_TLS: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// No program: see [`use_own_stack`].
#[map]
static NOTHING: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// What a call did, for the program that it leaves for, by process and thread.
#[map]
static DONE: LruHashMap<u64, Done> = LruHashMap::with_max_entries(TLS_CALLS, 0);

/// The arguments of a call.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Call {
    /// What stands for the session in the library; zero once the call has returned.
    pub(crate) session: u64,
    /// Where the bytes are.
    pub(crate) buffer: u64,
    /// Where the library writes how many they are, if it does; of rustls, how many there are.
    pub(crate) count: u64,
    /// The [`Layout`] of the session.
    pub(crate) layout: u32,
    /// [`NESTED`], [`UNCORKS`].
    pub(crate) marks: u32,
}

/// Another session's call of this thread has not returned: it is kept aside.
const NESTED: u32 = 1;
/// `gnutls_record_uncork`, which sends through a probed function what was told when it was taken.
const UNCORKS: u32 = 2;

impl Call {
    #[inline(always)]
    pub(crate) fn new(session: u64, buffer: u64, count: u64, layout: Layout) -> Self {
        Self { session, buffer, count, layout: layout as u32, marks: 0 }
    }
}

/// A session.
#[derive(Clone, Copy)]
#[repr(C)]
struct Session {
    /// Its number: no other has it while the programs run.
    number: u64,
    sent: u32,
    received: u32,
}

/// Bytes in the memory of a process that were sent or received.
#[derive(Clone, Copy)]
#[repr(C)]
struct Done {
    process: u64,
    number: u64,
    cgroup: u64,
    /// What stands for the session in the library.
    session: u64,
    buffer: u64,
    len: u32,
    seq: u32,
    ack: u32,
    /// Zero: they were received.
    sent: u16,
    /// The [`Layout`] of the session.
    layout: u16,
}

/// The same with the context of the program that looks at them.
pub(crate) struct Plain<'c, C> {
    ctx: &'c C,
    done: Done,
}

impl<C: EbpfContext> Payload for Plain<'_, C> {
    #[inline(always)]
    fn headers<const TAP: u8>(&self) -> Option<Headers> {
        let Done { process, number, len, seq, ack, sent, .. } = self.done;
        let (here, there) = of_session(number, process);
        let (source, destination) = if sent != 0 { (here, there) } else { (there, here) };
        Some(Headers { source, destination, ports: 0, seq, ack, flags: ACK, payload_at: 0, payload_len: len })
    }

    #[inline(always)]
    unsafe fn load(&self, at: u32, to: *mut c_void, len: u32) -> bool {
        // SAFETY: the caller's; memory of the process that is not there is an error.
        unsafe { bpf_probe_read_user(to, len, (self.done.buffer + u64::from(at)) as *const c_void) == 0 }
    }

    #[inline(always)]
    fn hash(&self) -> u32 {
        self.done.number as u32
    }

    #[inline(always)]
    fn identity<const TAP: u8>(&self) -> (u64, u64) {
        (self.done.number, self.done.cgroup)
    }

    #[inline(always)]
    fn is_looped<const TAP: u8>(&self) -> bool {
        false
    }

    #[inline(always)]
    fn is_first_received(&self) -> bool {
        false
    }

    #[inline(always)]
    fn now<const TAP: u8>(&self) -> u64 {
        // SAFETY: a helper that all programs may call.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn leave_for(&self, programs: &ProgramArray) {
        if DONE.insert(thread(), self.done, 0).is_err() {
            lose(Loss::TlsCall);
            return;
        }
        // SAFETY: the program is of the same type; nothing is held here that it would leave behind.
        let _ = unsafe { programs.tail_call(self.ctx, 0) };
    }
}

/// A function of a library begins: the session and the bytes are its first and second argument; the place of their number is, where
/// it has it, that of this number, counted from zero.
#[inline(always)]
pub(crate) fn begins<const COUNT_AT: usize>(ctx: &ProbeContext, layout: Layout) {
    hit();
    let (Some(session), Some(buffer), Some(count)) = (ctx.arg(0), ctx.arg(1), ctx.arg(COUNT_AT)) else { return };
    keep(ctx, of_thread(), Call::new(session, buffer, count, layout));
}

/// `gnutls_record_uncork` begins.
#[inline(always)]
pub(crate) fn uncorks(ctx: &ProbeContext) {
    hit();
    let Some(session) = ctx.arg(0) else { return };
    keep(ctx, of_thread(), Call { marks: UNCORKS, ..Call::new(session, 0, 0, Layout::Unknown) });
}

/// It returns.
#[inline(always)]
pub(crate) fn uncorked(ctx: &RetProbeContext) {
    hit();
    use_own_stack(ctx);
    let key = of_thread();
    if let Some(kept) = CALLS.get_ptr_mut(key) {
        // SAFETY: as in `ended`.
        let kept = unsafe { &mut *kept };
        if kept.marks & UNCORKS != 0 {
            give_back(key, kept);
        }
    }
}

/// It returns how many bytes it sent (`SENDS`) or received.
#[inline(always)]
pub(crate) fn returns<const SENDS: bool>(ctx: &RetProbeContext) {
    // The functions return an int or a ssize_t: what is negative as one is negative as the other.
    let count: i32 = ctx.ret();
    if !ended::<SENDS, _>(ctx, of_thread(), |_| Some(Count::all(count.into()))) {
        lose(Loss::TlsCall);
    }
}

/// `SSL_sendfile` returns how many bytes of a file the kernel sent, which nobody read.
#[inline(always)]
pub(crate) fn sends_file(ctx: &RetProbeContext) {
    let all: i64 = ctx.ret();
    if !ended::<true, _>(ctx, of_thread(), |_| Some(Count { all, told: 0 })) {
        lose(Loss::TlsCall);
    }
}

/// It returns whether it did, and how many bytes in the place that was told (`SSL_read_ex`, `SSL_write_ex`).
#[inline(always)]
pub(crate) fn returns_by_place<const SENDS: bool>(ctx: &RetProbeContext) {
    let done: i32 = ctx.ret();
    let is_known = ended::<SENDS, _>(ctx, of_thread(), |call| {
        if done != 1 {
            return None;
        }
        let mut count = MaybeUninit::<u64>::uninit();
        // SAFETY: eight bytes of the stack.
        let read = unsafe { bpf_probe_read_user(count.as_mut_ptr().cast(), 8, call.count as *const c_void) };
        if read != 0 {
            lose(Loss::Unreadable);
            return None;
        }
        // SAFETY: it was written.
        Some(Count::all(unsafe { count.assume_init() } as i64))
    });
    if !is_known {
        lose(Loss::TlsCall);
    }
}

/// `crypto/tls.(*Conn).Read` begins (Go's internal ABI, cmd/compile/abi-internal.md: the receiver and the slice are in AX, BX and
/// CX; R14 is the goroutine).
#[inline(always)]
pub(crate) fn begins_in_go(ctx: &ProbeContext) {
    hit();
    // SAFETY: fields of the context.
    let (session, buffer, goroutine) = unsafe { ((*ctx.regs).rax, (*ctx.regs).rbx, (*ctx.regs).r14) };
    keep(ctx, [thread() >> 32, goroutine], Call::new(session, buffer, 0, Layout::Go));
}

/// It is about to return: AX says how many bytes. A call that is not known may have begun before it was probed.
#[inline(always)]
pub(crate) fn returns_in_go(ctx: &ProbeContext) {
    // SAFETY: as above.
    let (count, goroutine) = unsafe { ((*ctx.regs).rax, (*ctx.regs).r14) };
    ended::<false, _>(ctx, [thread() >> 32, goroutine], |_| Some(Count::all(count as i64)));
}

/// `crypto/tls.(*Conn).Write` has its stack (a function that asks for more begins anew); it never calls itself for the same session.
/// What it then fails to send was told all the same: an error stays with the session (`out.setErrorLocked`, `handshakeErr`), so
/// nothing follows that would have to be counted from there. Bytes of a file that nobody read yet cannot be looked at here.
#[inline(always)]
pub(crate) fn sends_in_go(ctx: &ProbeContext) {
    hit();
    // SAFETY: as above.
    let (session, buffer, count) = unsafe { ((*ctx.regs).rax, (*ctx.regs).rbx, (*ctx.regs).rcx) };
    let call = Call::new(session, buffer, count, Layout::Go);
    carried::<true, _>(ctx, of_thread()[0], &call, Count::all(count as i64));
}

/// `SSL_free` and the like begin: the session is the first argument.
#[inline(always)]
pub(crate) fn closes(ctx: &ProbeContext) {
    hit();
    use_own_stack(ctx);
    if let Some(session) = ctx.arg(0) {
        end(session);
    }
}

/// `crypto/tls.(*Conn).Close` begins: the receiver is in AX.
#[inline(always)]
pub(crate) fn closes_in_go(ctx: &ProbeContext) {
    hit();
    use_own_stack(ctx);
    // SAFETY: a field of the context.
    end(unsafe { (*ctx.regs).rax });
}

/// A session is given up: its address may come to stand for another.
#[inline(always)]
pub(crate) fn end(session: u64) {
    let process = thread() >> 32;
    let key = of_process(process, session);
    // SAFETY: copied at once.
    let Some(known) = (unsafe { SESSIONS.get(key) }).copied() else { return };
    let _ = SESSIONS.remove(key);
    let (here, there) = of_session(known.number, process);
    for (source, destination) in [(here, there), (there, here)] {
        let flow = fingerprint(source, destination, 0, known.number as u32, TAP_TLS);
        if let Some(slot) = slot(flow).filter(|slot| slot.holds(flow)) {
            // Whoever needs the slot now costs nobody anything.
            slot.marks |= CLOSED;
        }
    }
    tell(Record {
        socket: known.number,
        token: process,
        source: ends(here),
        destination: ends(there),
        seq: known.sent,
        ack: known.received,
        ..empty(Kind::SessionEnds)
    });
}

/// Ends the session of a library that tells no end where `len` bytes of a call can only be the first of another one, at the same
/// address: the preface of HTTP/2, or a head where a frame of HTTP/2 should be.
#[inline(always)]
pub(crate) fn end_where_another_begins<const SENDS: bool>(call: &Call, len: i64) {
    let process = thread() >> 32;
    // SAFETY: copied at once.
    let known = unsafe { SESSIONS.get(of_process(process, call.session)) }.copied();
    let Some(Session { number, sent, received }) = known else { return };
    let seq = if SENDS { sent } else { received };
    let mut first = MaybeUninit::<[u64; 2]>::uninit();
    if len < 16 || seq == 1 {
        return;
    }
    // SAFETY: sixteen bytes of the stack.
    if unsafe { bpf_probe_read_user(first.as_mut_ptr().cast(), 16, call.buffer as *const c_void) } != 0 {
        return;
    }
    // SAFETY: it was written.
    let [low, high] = unsafe { first.assume_init() };
    let is_another = match opening(low, high, 16) {
        Opening::Http2 => true,
        Opening::Head => {
            let (here, there) = of_session(number, process);
            let (source, destination) = if SENDS { (here, there) } else { (there, here) };
            let flow = fingerprint(source, destination, 0, number as u32, TAP_TLS);
            slot(flow).is_some_and(|slot| {
                slot.holds(flow) && (slot.state == ADRIFT || slot.state == FRAMES && slot.start_seq == seq)
            })
        }
        _ => false,
    };
    if is_another {
        end(call.session);
    }
}

/// Tells of the session of these bytes and of its connection.
#[inline(always)]
pub(crate) fn tell_session<C>(plain: &Plain<'_, C>) {
    let Done { process, number, session, layout, .. } = plain.done;
    let Connection { cookie, local, remote, local_port, remote_port } =
        connection::of_session(session, layout).unwrap_or_default();
    tell(Record {
        socket: cookie,
        token: number,
        source: local,
        destination: remote,
        source_port: local_port,
        destination_port: remote_port,
        seq: process as u32,
        ..empty(Kind::SessionBegins)
    });
}

/// A record that tells nothing but when.
#[inline(always)]
fn empty(kind: Kind) -> Record {
    // SAFETY: helpers that all these programs may call.
    let (at_ns, cgroup) = unsafe { (bpf_ktime_get_ns(), bpf_get_current_cgroup_id()) };
    Record {
        at_ns,
        socket: 0,
        cgroup,
        token: 0,
        source: [0; 16],
        destination: [0; 16],
        source_port: 0,
        destination_port: 0,
        seq: 0,
        wire_len: 0,
        captured: 0,
        kind: kind as u8,
        flags: TAP_TLS,
        ack: 0,
        link: 0,
    }
}

#[inline(always)]
fn tell(record: Record) {
    let Some(mut entry) = RECORDS.reserve::<Record>(0) else {
        lose(Loss::RingFull);
        return;
    };
    entry.write(record);
    entry.submit(submit_flags());
}

pub(crate) fn ends(words: [u64; 2]) -> [u8; 16] {
    (u128::from(words[0]) | u128::from(words[1]) << 64).to_ne_bytes()
}

/// What stands for the addresses of the near and the far end of a session.
#[inline(always)]
fn of_session(number: u64, process: u64) -> ([u64; 2], [u64; 2]) {
    ([number, process], [number, 0])
}

/// The payload that another program left to this one.
#[inline(always)]
pub(crate) fn left<C: EbpfContext>(ctx: &C) -> Option<Plain<'_, C>> {
    // SAFETY: copied at once; this thread alone writes it.
    let done = unsafe { DONE.get(thread()) }.copied()?;
    Some(Plain { ctx, done })
}

/// Process and thread.
#[inline(always)]
fn thread() -> u64 {
    bpf_get_current_pid_tgid()
}

/// The key of a call of this thread.
#[inline(always)]
pub(crate) fn of_thread() -> [u64; 2] {
    [thread() >> 32, thread()]
}

/// Counts what a probe costs its process.
#[inline(always)]
pub(crate) fn hit() {
    let process = (thread() >> 32) as u32;
    match HITS.get_ptr_mut(process) {
        // SAFETY: this CPU's value; what interrupts the addition costs a count.
        Some(hits) => unsafe { *hits += 1 },
        None => {
            let _ = HITS.insert(process, 1, 0);
        }
    }
}

/// Makes the program run on the stack of its thread: from 6.13 on one without tail calls may get a stack of the CPU
/// (kernel/bpf/verifier.c, `bpf_enable_priv_stack`), which is shared with whatever probe is hit there while this one is preempted.
#[inline(always)]
pub(crate) fn use_own_stack(ctx: &impl EbpfContext) {
    // SAFETY: there is no program in it.
    unsafe { NOTHING.tail_call(ctx, 0) };
}

/// Keeps a call until it returns. One of another session goes on below this one where TLS is carried by TLS; one of the same session
/// began anew, or is a function of the library that is called by another.
#[inline(always)]
pub(crate) fn keep(ctx: &impl EbpfContext, key: [u64; 2], mut call: Call) {
    use_own_stack(ctx);
    let Some(kept) = CALLS.get_ptr_mut(key) else {
        if CALLS.insert(key, call, 0).is_err() {
            lose(Loss::TlsCall);
        }
        return;
    };
    // SAFETY: this thread or goroutine alone writes its entry.
    let kept = unsafe { &mut *kept };
    if kept.session == call.session && kept.marks & UNCORKS != 0 {
        return;
    }
    if kept.session == call.session {
        call.marks |= kept.marks & NESTED;
    } else if kept.session != 0 {
        if CALLS.insert(aside(key), &*kept, 0).is_err() {
            lose(Loss::TlsCall);
        }
        call.marks |= NESTED;
    }
    *kept = call;
}

/// A call has returned: the one that it was called from goes on.
#[inline(always)]
fn give_back(key: [u64; 2], kept: &mut Call) {
    kept.session = 0;
    if kept.marks & NESTED == 0 {
        return;
    }
    if let Some(outer) = CALLS.get_ptr_mut(aside(key)) {
        // SAFETY: as in `keep`.
        unsafe {
            *kept = *outer;
            (*outer).session = 0;
        }
    }
}

/// Where a call is kept while another one goes on that was made from it.
#[inline(always)]
fn aside([process, thread]: [u64; 2]) -> [u64; 2] {
    [process | 1 << 63, thread]
}

/// How many bytes a call sent or received.
#[derive(Clone, Copy)]
pub(crate) struct Count {
    /// All of them.
    pub(crate) all: i64,
    /// The first of them, which are where the call's buffer is.
    pub(crate) told: i64,
}

impl Count {
    #[inline(always)]
    fn all(all: i64) -> Self {
        Self { all, told: all }
    }
}

/// A call ends; `count` tells how many bytes it sent or received. Returns whether anything is known of calls of this thread.
#[inline(always)]
pub(crate) fn ended<const SENDS: bool, C: EbpfContext>(
    ctx: &C,
    key: [u64; 2],
    count: impl FnOnce(&Call) -> Option<Count>,
) -> bool {
    hit();
    let Some(kept) = CALLS.get_ptr_mut(key) else { return false };
    // SAFETY: this thread or goroutine alone writes its entry.
    let (kept, call) = unsafe { (&mut *kept, *kept) };
    if call.session == 0 || call.marks & UNCORKS != 0 {
        return true;
    }
    give_back(key, kept);
    if let Some(count) = count(&call) {
        carried::<SENDS, C>(ctx, key[0], &call, count);
    }
    true
}

/// A session sent or received bytes.
#[inline(always)]
pub(crate) fn carried<const SENDS: bool, C: EbpfContext>(ctx: &C, process: u64, call: &Call, count: Count) {
    if count.all <= 0 {
        return;
    }
    if count.all > LEN_MAX {
        lose(Loss::TlsCall);
    }
    let all = count.all as u32;
    let len = if (0..=LEN_MAX).contains(&count.told) { count.told as u32 } else { 0 };
    let Some((known, is_new)) = known(of_process(process, call.session)) else { return };
    // SAFETY: the pointer is into the map, which outlives the program. Of two goroutines that write to one session at once (the
    // library sends one after the other, in an order that is not seen here) both may be told at one place: then one of the two is a
    // repeat to who reads them.
    let (number, seq, ack) = unsafe {
        let (seq, ack) = if SENDS { ((*known).sent, (*known).received) } else { ((*known).received, (*known).sent) };
        if SENDS {
            (*known).sent = seq.wrapping_add(all);
        } else {
            (*known).received = seq.wrapping_add(all);
        }
        ((*known).number, seq, ack)
    };
    // SAFETY: a helper that all these programs may call.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    let (session, buffer, layout) = (call.session, call.buffer, call.layout as u16);
    let done = Done { process, number, cgroup, session, buffer, len, seq, ack, sent: u16::from(SENDS), layout };
    let plain = Plain { ctx, done };
    if is_new {
        plain.leave_for(&SESSION_TLS);
    }
    packet::observe::<TAP_TLS>(&plain);
}

/// More than a library takes or gives at once (SSL_write takes an int): that much is passed over.
const LEN_MAX: i64 = i32::MAX as i64;

/// The session, which begins now if it is not known; and whether it does.
#[inline(always)]
fn known(key: [u64; 2]) -> Option<(*mut Session, bool)> {
    if let Some(known) = SESSIONS.get_ptr_mut(key) {
        return Some((known, false));
    }
    let session = Session { number: number(), sent: 1, received: 1 };
    // Another thread may begin it at the same time.
    let is_new = SESSIONS.insert(key, session, u64::from(BPF_NOEXIST)).is_ok();
    let known = SESSIONS.get_ptr_mut(key);
    if known.is_none() {
        lose(Loss::TlsCall);
    }
    Some((known?, is_new))
}

/// A number that no other session has: by thread (a number below 2^22, include/linux/threads.h) and time, in steps of 256 ns, which
/// begin anew after six days. A thread begins no two sessions in one step: a probe alone takes longer.
#[inline(always)]
pub(crate) fn number() -> u64 {
    // SAFETY: a helper that all these programs may call.
    let steps = unsafe { bpf_ktime_get_ns() } >> 8;
    (thread() & 0x3f_ffff) << 41 | steps & ((1 << 41) - 1)
}

/// The key of a session. A process that runs another program has other memory, and so has, but by chance, one that has the number of
/// one that is gone.
#[inline(always)]
pub(crate) fn of_process(process: u64, session: u64) -> [u64; 2] {
    // Memory is described at multiples of 64 in the upper half of addresses: the shift leaves room for the process.
    [connection::memory() << 16 ^ process, session]
}
