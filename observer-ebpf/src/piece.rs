//! Copying: a stretch of payload goes into the ring as one record, and the end of a head is looked for in what was copied.
//!
//! The bytes are copied straight into memory reserved in the ring. A buffer of the CPU would not do: with the kernel
//! preemptible another program may run on this CPU between its filling and its sending.

use core::hint::black_box;
use core::mem::MaybeUninit;
use core::ptr::addr_of_mut;
use observer_ebpf::flow::forget;
use observer_ebpf::loss::Loss;
use observer_ebpf::opening::{Opening, opening};
use observer_ebpf::record::{FLAG_CLOSES, Record};

use crate::payload::Payload;
use crate::ring::{RECORDS, lose, submit_flags};

/// The last three bytes of a finished head, the newest in the lowest byte.
pub(crate) const HEAD_TAIL: u32 = 0x000a_0d0a;
/// Bytes of the records that follow the first of a long head.
pub(crate) const BLIND_BYTES: u32 = 4096;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// A record with room for `WORDS` words of payload. One word more may be read, never written.
#[repr(C)]
struct Piece<const WORDS: usize> {
    record: Record,
    words: [u64; WORDS],
    _slack: u64,
}

/// The rest of a payload that is still to be copied.
#[derive(Clone, Copy)]
pub(crate) struct Stretch {
    /// Where it begins in the packet.
    pub(crate) at: u32,
    /// Its length; not zero.
    pub(crate) len: u32,
    /// The three bytes before it, or zero.
    pub(crate) tail: u32,
}

/// What a copy found.
#[derive(Clone, Copy)]
pub(crate) struct Copied {
    /// Bytes copied.
    pub(crate) len: u32,
    /// The last three of them.
    pub(crate) tail: u32,
    /// Where a head ends, from the first byte of the stretch; zero: nowhere in it.
    pub(crate) end: u32,
    /// Whether another head begins where this one ends.
    pub(crate) pipelined: bool,
    /// Whether more of the stretch is to be copied.
    pub(crate) more: bool,
}

/// Copies as much of a stretch as fits into `WORDS` words (a power of two) behind a record like `template`, and looks for the
/// end of a head in it. `None`: lost.
#[inline(always)]
pub(crate) fn copy<const WORDS: usize>(
    ctx: &impl Payload,
    template: &Record,
    stretch: Stretch,
    zero: u32,
) -> Option<Copied> {
    let room = WORDS as u32 * 8;
    let Some(mut entry) = RECORDS.reserve::<Piece<WORDS>>(0) else {
        lose(Loss::RingFull);
        return None;
    };
    let piece = entry.as_mut_ptr();
    // SAFETY: `piece` is reserved memory of this size; nothing refers to it before it is written.
    let words = unsafe { addr_of_mut!((*piece).words) }.cast::<u64>();
    let wanted = min(forget(stretch.len, zero), room);
    // SAFETY: as for `words`.
    unsafe { claim_lines::<WORDS>(words, wanted) };
    // The mask tells every verifier from 5.10 on that the length is 1 to `room`; it must stand directly before the call.
    let len = (forget(wanted - 1, zero) & (room - 1)) + 1;
    // SAFETY: `len` is at most the size of `words`.
    if !unsafe { ctx.load(stretch.at, words.cast(), len) } {
        entry.discard(0);
        lose(Loss::Unreadable);
        return None;
    }
    // SAFETY: `words` holds `len` initialised bytes; up to eight more may be read and mean nothing.
    let (tail, mut end) = unsafe {
        let tail = last_three::<WORDS>(words, len, stretch.tail);
        (
            tail,
            if tail == HEAD_TAIL && len == stretch.len {
                len
            } else {
                scan::<WORDS>(words, forget(len, zero), stretch.tail, zero)
            },
        )
    };
    end = forget(end, zero);
    let pipelined = end != 0 && end < stretch.len && opens_head(ctx, stretch.at + end, stretch.len - end);
    let pipelined = forget(u32::from(pipelined), zero) != 0;
    let more = len < stretch.len && (end == 0 || pipelined);
    // SAFETY: as for `words`.
    unsafe {
        let record = addr_of_mut!((*piece).record);
        record.write(*template);
        (*record).captured = len as u16;
        (*record).wire_len = if more { len } else { stretch.len };
        if more {
            (*record).flags = template.flags & !FLAG_CLOSES;
        }
    }
    entry.submit(submit_flags());
    let more = forget(u32::from(more), zero) != 0;
    Some(Copied { len: forget(len, zero), tail: forget(tail, zero), end, pipelined, more })
}

/// Writes to each cache line that a copy will fill. User space has read these lines on another CPU and they must come back from
/// there: of plain stores all at a time, of a copy in turn.
#[inline(always)]
unsafe fn claim_lines<const WORDS: usize>(words: *mut u64, len: u32) {
    let mut at = 0;
    while at < WORDS && (at as u32) * 8 < len {
        // SAFETY: below `WORDS`.
        unsafe { words.add(at).write_volatile(0) };
        at += 8;
    }
}

/// Copies as much of a stretch as fits into `WORDS` words (a power of two), without a look at it. Returns how many bytes;
/// `None`: lost.
#[inline(always)]
pub(crate) fn copy_blindly<const WORDS: usize>(
    ctx: &impl Payload,
    template: &Record,
    stretch: Stretch,
    zero: u32,
) -> Option<u32> {
    let room = WORDS as u32 * 8;
    let Some(mut entry) = RECORDS.reserve::<Piece<WORDS>>(0) else {
        lose(Loss::RingFull);
        return None;
    };
    let piece = entry.as_mut_ptr();
    let wanted = min(forget(stretch.len, zero), room);
    let len = (forget(wanted - 1, zero) & (room - 1)) + 1;
    // SAFETY: as in `copy`.
    unsafe {
        if !ctx.load(stretch.at, addr_of_mut!((*piece).words).cast(), len) {
            entry.discard(0);
            lose(Loss::Unreadable);
            return None;
        }
        let record = addr_of_mut!((*piece).record);
        record.write(*template);
        (*record).captured = len as u16;
        (*record).wire_len = len;
    }
    entry.submit(submit_flags());
    Some(forget(len, zero))
}

/// Sends a record without payload, or with its last bytes (at most 8).
#[inline(always)]
pub(crate) fn bare(ctx: &impl Payload, template: &Record, stretch: Option<Stretch>) {
    let Some(mut entry) = RECORDS.reserve::<Piece<1>>(0) else {
        lose(Loss::RingFull);
        return;
    };
    let piece = entry.as_mut_ptr();
    // SAFETY: as in `copy`.
    unsafe {
        addr_of_mut!((*piece).record).write(*template);
        if let Some(stretch) = stretch {
            let len = (black_box(stretch.len - 1) & 7) + 1;
            if !ctx.load(stretch.at, addr_of_mut!((*piece).words).cast(), len) {
                entry.discard(0);
                lose(Loss::Unreadable);
                return;
            }
            (*addr_of_mut!((*piece).record)).captured = len as u16;
        }
    }
    entry.submit(submit_flags());
}

/// Sends a record with the first bytes (at most 8) of a word.
#[inline(always)]
pub(crate) fn kept(template: &Record, bytes: u64) {
    let Some(mut entry) = RECORDS.reserve::<Piece<1>>(0) else {
        lose(Loss::RingFull);
        return;
    };
    let piece = entry.as_mut_ptr();
    // SAFETY: as in `copy`.
    unsafe {
        addr_of_mut!((*piece).record).write(*template);
        addr_of_mut!((*piece).words).cast::<u64>().write(bytes);
    }
    entry.submit(submit_flags());
}

/// The first sixteen bytes at a place of the packet; zeros where it ends before. `None` where it cannot be read.
#[inline(always)]
pub(crate) fn first_bytes(ctx: &impl Payload, at: u32, len: u32) -> Option<[u64; 2]> {
    let mut first = MaybeUninit::<[u64; 2]>::uninit();
    let words = first.as_mut_ptr().cast::<u64>();
    // SAFETY: the two words of `first`. Volatile, or a call of memset comes out of it, and functions cost verifiers dearly.
    unsafe {
        words.write_volatile(0);
        words.add(1).write_volatile(0);
    }
    let wanted = if len > 16 { 16 } else { len };
    let wanted = (black_box(wanted - 1) & 15) + 1;
    // SAFETY: `wanted` is 1 to 16.
    if unsafe { ctx.load(at, words.cast(), wanted) } {
        // SAFETY: both words were written above.
        Some(unsafe { first.assume_init() })
    } else {
        lose(Loss::Unreadable);
        None
    }
}

#[inline(always)]
fn opens_head(ctx: &impl Payload, at: u32, len: u32) -> bool {
    first_bytes(ctx, at, len).is_some_and(|[low, high]| opening(low, high, len) == Opening::Head)
}

/// The last three bytes of the stream, of which `len` are at `words` and `before` are the three before these.
#[inline(always)]
unsafe fn last_three<const WORDS: usize>(words: *const u64, len: u32, before: u32) -> u32 {
    let bytes = words.cast::<u8>();
    // SAFETY: all reads are below `WORDS * 8 + 8`, by the mask or by constants.
    unsafe {
        if len >= 3 {
            let at = (black_box(len - 3) & (WORDS as u32 * 8 - 1)) as usize;
            return u32::from(*bytes.add(at)) << 16
                | u32::from(*bytes.add(at + 1)) << 8
                | u32::from(*bytes.add(at + 2));
        }
        let mut tail = before << 8 | u32::from(*bytes);
        if len == 2 {
            tail = tail << 8 | u32::from(*bytes.add(1));
        }
        tail & 0x00ff_ffff
    }
}

/// Where the first head ends among `len` bytes: past the first CR LF CR LF, of which the beginning may be in `tail`. `len` is a
/// copy made for this: each turn of the loop teaches the verifier another bound of it.
#[inline(always)]
unsafe fn scan<const WORDS: usize>(words: *const u64, len: u32, tail: u32, zero: u32) -> u32 {
    // SAFETY: all reads are below `WORDS + 1` words.
    unsafe {
        let mut word = *words;
        let joined = u64::from(tail) << 24 | (word & 0xff) << 16 | word & 0xff00 | word >> 16 & 0xff;
        if joined >> 16 & 0xffff_ffff == 0x0d0a_0d0a {
            return 1;
        }
        if joined >> 8 & 0xffff_ffff == 0x0d0a_0d0a && len >= 2 {
            return 2;
        }
        if joined & 0xffff_ffff == 0x0d0a_0d0a && len >= 3 {
            return 3;
        }
        // In a head LF CR stands in the middle of its end and nowhere else: eight places are tested at once.
        let (mut at, mut next, mut hit) = (0, 0, 0);
        while at < WORDS {
            if at as u32 * 8 >= len {
                break;
            }
            next = *words.add(at + 1);
            let differs = (word ^ 0x0a * LOW_BITS) | ((word >> 8 | next << 56) ^ 0x0d * LOW_BITS);
            hit = differs.wrapping_sub(LOW_BITS) & !differs & HIGH_BITS;
            if hit != 0 {
                break;
            }
            word = next;
            at += 1;
        }
        // One way out of the loop, with nothing known: see `forget`.
        let before = forget(at as u32 * 8, zero);
        if hit == 0 {
            return 0;
        }
        let place = (hit & hit.wrapping_neg()).trailing_zeros() / 8;
        let end = before + place + 3;
        // The byte after CR; it lies in this word or the next.
        let shift = (place + 2) * 8;
        let byte = if shift < 64 { word >> shift } else { next >> (shift & 63) };
        if end <= len && byte as u8 == b'\n' { end } else { 0 }
    }
}

#[inline(always)]
pub(crate) const fn min(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}
