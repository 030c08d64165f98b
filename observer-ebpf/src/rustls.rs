//! What programs send and receive through rustls: the two functions of its session that all of it goes through, and what they are
//! given, come in (observer/src/tls/rustls.rs tells where they and their arguments are from); calls and bytes go out. No end of a
//! session is told: it is known where another one begins that has its place.
//!
//! A session is a value, which moves: into a future, into the connection of HTTP that is made of it once its version is known. What
//! encrypts and what decrypts for it are boxes, which stay where they are, and of which a change of keys replaces one at a time.

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use observer_ebpf::TLS_SESSIONS;
use observer_ebpf::layout::Layout;
use observer_ebpf::loss::Loss;

use crate::ring::lose;
use crate::tls::{Call, Count, carried, end_where_another_begins, ended, hit, keep, number, of_process, of_thread};

/// Slices that are looked through for the first byte that is sent. Those before it are of a write that took only a part.
const SLICES_MAX: u64 = 8;
/// Words at the beginning of a session among which its boxes are looked for (in 0.23.46 they are the third to the sixth).
const WORDS_MAX: u64 = 24;
/// How far from its code a program may have its tables of methods.
const NEAR: u64 = 1 << 30;
/// More than what encrypts or decrypts has: ring's has 560 bytes.
const BOX_MAX: u64 = 1 << 14;
const ALIGN_MAX: u64 = 64;
/// Marks what is no address.
const NAMED: u64 = 1 << 63;

/// What stands for a session, by process and box.
#[map]
static NAMES: LruHashMap<[u64; 2], u64> = LruHashMap::with_max_entries(2 * TLS_SESSIONS, 0);

/// `CommonState::buffer_plaintext(&mut self, OutboundChunks, _)` begins.
#[inline(always)]
pub(crate) fn begins(ctx: &ProbeContext) {
    hit();
    let (Some(state), Some(chunks)) = (ctx.arg(0), ctx.arg::<u64>(1)) else { return };
    // Of what is not found the length is known once it returns.
    let [buffer, count] = first_slice(chunks).unwrap_or_default();
    keep(ctx, of_thread(), Call::new(session(ctx, state), buffer, count, Layout::Unknown));
}

/// It returns how many bytes it took. Of several slices the first is told, which has the head of a message; the rest is a hole of
/// known length.
#[inline(always)]
pub(crate) fn returns(ctx: &RetProbeContext) {
    let all: i64 = ctx.ret();
    let is_known = ended::<true, _>(ctx, of_thread(), |call| {
        let told = all.min(call.count as i64);
        end_where_another_begins::<true>(call, told);
        Some(Count { all, told })
    });
    if !is_known {
        lose(Loss::TlsCall);
    }
}

/// `CommonState::take_received_plaintext(&mut self, Payload)` begins: it takes all of it.
#[inline(always)]
pub(crate) fn receives(ctx: &ProbeContext) {
    hit();
    let (Some(state), Some(payload)) = (ctx.arg(0), ctx.arg::<u64>(1)) else { return };
    let Some([_, buffer, count]) = read::<[u64; 3]>(payload) else { return };
    let all = count as i64;
    let call = Call::new(session(ctx, state), buffer, count, Layout::Unknown);
    end_where_another_begins::<false>(&call, all);
    carried::<false, _>(ctx, of_thread()[0], &call, Count { all, told: all });
}

/// What stands for the session whose state is there; the address itself where its boxes are not found.
#[inline(always)]
fn session(ctx: &ProbeContext, state: u64) -> u64 {
    // SAFETY: a field of the context.
    let code = unsafe { (*ctx.regs).rip };
    let Some(boxes) = boxes(state, code) else { return state };
    let process = of_thread()[0];
    let keys = boxes.map(|at| of_process(process, at));
    // SAFETY: copied at once.
    let names = unsafe { [NAMES.get(keys[0]).copied(), NAMES.get(keys[1]).copied()] };
    let name = match names {
        [Some(first), Some(second)] if first == second => return first,
        [Some(name), None] | [None, Some(name)] => name,
        // Two boxes of two sessions that are gone.
        _ => NAMED | number(),
    };
    for key in keys {
        if NAMES.insert(key, name, 0).is_err() {
            lose(Loss::TlsCall);
        }
    }
    name
}

/// Where the two boxes of a session are: two pointers in turn, each with a table of methods behind it, are nowhere else in it before
/// them. `code` is an address in the program's code.
#[inline(always)]
fn boxes(state: u64, code: u64) -> Option<[u64; 2]> {
    for index in 0..WORDS_MAX {
        let [first, first_table, second, second_table] = try_read::<[u64; 4]>(state + 8 * index)?;
        if is_table(first_table, code) && is_table(second_table, code) {
            return Some([first, second]).filter(|_| first != 0 && second != 0 && first != second);
        }
    }
    None
}

/// Whether there is a table of methods of a type that is not empty: how to drop it, its size, its alignment, a method (rustc).
#[inline(always)]
fn is_table(at: u64, code: u64) -> bool {
    if at % 8 != 0 || at.abs_diff(code) > NEAR {
        return false;
    }
    let Some([drop, size, align, method]) = try_read::<[u64; 4]>(at) else { return false };
    (drop == 0 || drop.abs_diff(code) <= NEAR)
        && (1..=BOX_MAX).contains(&size)
        && (1..=ALIGN_MAX).contains(&align)
        && method.abs_diff(code) <= NEAR
}

/// Address and length of the first slice that is not empty; none where there is none, or not among the first.
#[inline(always)]
fn first_slice(chunks: u64) -> Option<[u64; 2]> {
    let [slices, count, mut start, mut end] = read::<[u64; 4]>(chunks)?;
    if slices == 0 {
        return Some([count, start]);
    }
    for index in 0..SLICES_MAX {
        if index >= count {
            return None;
        }
        let [address, len] = read::<[u64; 2]>(slices + 16 * index)?;
        if start < len {
            return Some([address + start, len.min(end) - start]);
        }
        start -= len;
        end -= len;
    }
    None
}

#[inline(always)]
fn read<T>(at: u64) -> Option<T> {
    let read = try_read(at);
    if read.is_none() {
        lose(Loss::Unreadable);
    }
    read
}

#[inline(always)]
fn try_read<T>(at: u64) -> Option<T> {
    // SAFETY: what is not there is an error; every value of the types that are read is valid.
    unsafe { bpf_probe_read_user(at as *const T) }.ok()
}
