//! What is remembered of one direction of a connection at one tap: a slot of 64 bytes, one cache line, found by fingerprint in a set of
//! four. A flow that finds its set occupied takes the slot that is missed least, and the other flow is merely recognised anew.

/// A slot. All zero: free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct FlowSlot {
    /// The flow's fingerprint, sealed with the identity below ([`seal`]): half-written identities of two CPUs do not match.
    pub key: u64,
    /// Socket cookie; zero where it is not (yet) known.
    pub socket: u64,
    /// Cgroup v2 id.
    pub cgroup: u64,
    /// The first eight bytes of the head, as far as they have come: until then it may turn out to be no head at all. Of HTTP/2
    /// those of a frame header that is cut.
    pub opening: u64,
    /// Sequence number of the first byte of the newest head. Of HTTP/2 that of the next frame header.
    pub start_seq: u32,
    /// Sequence number after the last byte of the newest finished head; zero: none of this flow was seen. Of HTTP/2 the end of
    /// what was told last, up to and from which every frame is known; zero where one was missed.
    pub end_seq: u32,
    /// Sequence number of the next byte in order. Of HTTP/2 that of the next byte that is looked at.
    pub next_seq: u32,
    /// The last three bytes before `next_seq`, the newest in the lowest byte. Of HTTP/2 the sequence number of bytes that are
    /// missing before it: should they come late, they are told as they are.
    pub tail: u32,
    /// [`FRESH`], [`OPEN`], [`ENDED`], [`OPAQUE`], [`FRAMES`], [`ADRIFT`], [`STREAM`].
    pub state: u8,
    /// [`SWITCHES`], [`PROVEN`], [`WANTED`], [`CLOSED`].
    pub marks: u8,
    /// How many bytes of `opening` have come, up to 8.
    pub opening_len: u16,
    /// Always zero, which no verifier knows: see [`forget`].
    pub zero: u32,
}

const _: () = assert!(core::mem::size_of::<FlowSlot>() == 64, "a slot is one cache line");

/// What is lost with a slot that another flow takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Worth {
    /// A head or frames that are under way: messages.
    Live,
    /// What is recognised anew: its pair of ends still tells that it was a broker's.
    Known,
    /// Nothing: it is free, or what it was is over.
    Nothing,
}

impl FlowSlot {
    /// Whether the slot holds this flow.
    #[inline(always)]
    pub const fn holds(&self, fingerprint: u64) -> bool {
        self.key ^ seal(self.socket, self.cgroup) == fingerprint
    }

    /// What another flow would cost it.
    #[inline(always)]
    pub const fn worth(&self) -> Worth {
        // What has begun with a few capital letters, and no more, is seldom a head.
        let is_head = self.state == OPEN && self.opening_len.wrapping_sub(1) >= 7;
        if self.key == 0 || self.state == FRESH || self.marks & CLOSED != 0 {
            Worth::Nothing
        } else if is_head || self.state == FRAMES {
            Worth::Live
        } else {
            Worth::Known
        }
    }
}

/// What user space wants left out of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Everything.
    All,
    /// Of a stream, the packets that end before this sequence number.
    Until(u32),
    /// It is no stream: it is to be recognised anew.
    Stream,
}

/// The bits of a fingerprint, above those of a sequence number, by which a wish is known to be for this flow.
const MATCH_BITS: u64 = 0x3fff_ffff << 32;
/// Beside them: the flow is no stream.
const NO_STREAM: u64 = 1 << 62;

impl LeftOut {
    /// The wish as it stands in the word of a flow.
    pub const fn of(self, fingerprint: u64) -> u64 {
        match self {
            Self::All => fingerprint,
            Self::Until(seq) => fingerprint & MATCH_BITS | seq as u64,
            Self::Stream => fingerprint & MATCH_BITS | NO_STREAM,
        }
    }
}

/// The wish to leave out everything once the kernel has freed the flow's slot: fingerprints have the highest bit set.
#[inline(always)]
pub const fn heeded(fingerprint: u64) -> u64 {
    fingerprint & !(1 << 63)
}

/// What a flow that carries a stream is to do with a packet that ends at `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Tell it.
    Told,
    /// Leave it out.
    LeftOut,
    /// Leave it out, and every later one: it is no stream.
    Ended,
}

/// What becomes of a packet of a stream, by the wish in the word of its flow.
#[inline(always)]
pub const fn passage(left_out: u64, fingerprint: u64, end: u32) -> Passage {
    if left_out == 0 || (left_out ^ fingerprint) & MATCH_BITS != 0 {
        Passage::Told
    } else if left_out & NO_STREAM != 0 {
        Passage::Ended
    } else if reaches(left_out as u32, end) {
        Passage::LeftOut
    } else {
        Passage::Told
    }
}

/// No head was seen.
pub const FRESH: u8 = 0;
/// A head is unfinished.
pub const OPEN: u8 = 1;
/// The head is finished; what follows is body, or the next head.
pub const ENDED: u8 = 2;
/// The flow carries something that is not decoded.
pub const OPAQUE: u8 = 3;
/// The flow carries frames of HTTP/2, and where the next one begins is known.
pub const FRAMES: u8 = 4;
/// The flow carries frames of HTTP/2; one was missed, so where the next one begins is not known.
pub const ADRIFT: u8 = 5;
/// The flow carries the protocol of a broker: all of it is told but for what user space wants left out.
pub const STREAM: u8 = 6;

/// The newest head is a response that leaves HTTP/1 (101).
pub const SWITCHES: u8 = 1;
/// Frames were found where they were expected: this is HTTP/2.
pub const PROVEN: u8 = 2;
/// The frame before `start_seq` is told, from `next_seq` on as it comes.
pub const WANTED: u8 = 4;
/// The sender has closed its direction: an unfinished head stays so.
pub const CLOSED: u8 = 8;

/// Whether `seq` is not before `end` (RFC 9293 section 3.4).
#[inline(always)]
pub const fn reaches(seq: u32, end: u32) -> bool {
    seq.wrapping_sub(end) as i32 >= 0
}

/// The same value, of which a verifier knows nothing any more. It would otherwise follow every combination of what it does
/// know to the end of the program, and give up at a million instructions.
#[inline(always)]
pub fn forget(value: u32, zero: u32) -> u32 {
    // The compiler would compare `value` with `zero` instead of the result with zero.
    core::hint::black_box(value ^ zero)
}

/// Mixes an identity so that it can be folded into the key; odd constants of the golden ratio and of splitmix64.
#[inline(always)]
pub const fn seal(socket: u64, cgroup: u64) -> u64 {
    socket.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ cgroup.wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// The fingerprint of a flow direction at a tap; never zero. `hash` is the packet's: over loopback and leaving a socket it is a
/// random number of the connection, so a reused pair of ports is another flow.
#[inline(always)]
pub const fn fingerprint(source: [u64; 2], destination: [u64; 2], ports: u32, hash: u32, tap: u8) -> u64 {
    let mut mixed = (ports as u64) << 32 | hash as u64;
    mixed ^= source[1].wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= destination[1].wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    mixed ^= source[0].wrapping_mul(0x1656_67b1_9e37_79f9);
    mixed ^= destination[0].wrapping_mul(0x27d4_eb2f_1656_67c5);
    mixed ^= (tap as u64) << 61;
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed ^ (mixed >> 29)) | 1 << 63
}

/// The fingerprint of a connection, the same in both directions and at every tap; never zero.
#[inline(always)]
pub const fn pair(source: [u64; 2], destination: [u64; 2], ports: u32) -> u64 {
    let one = end(source, ports & 0xffff);
    let mixed = one.wrapping_add(end(destination, ports >> 16));
    (mixed ^ (mixed >> 29)) | 1 << 63
}

/// The fingerprint of a connection as the first of its two ends sees it, the same in both directions.
#[inline(always)]
pub const fn view(near: ([u64; 2], u32), far: ([u64; 2], u32)) -> u64 {
    end(near.0, near.1).rotate_left(1).wrapping_add(end(far.0, far.1))
}

#[inline(always)]
const fn end(address: [u64; 2], port: u32) -> u64 {
    let mixed = address[0].wrapping_mul(0x1656_67b1_9e37_79f9) ^ address[1] ^ (port as u64) << 16;
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    // Sums of what is merely multiplied would not tell which port is whose.
    (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_of_a_connection_are_one_pair_and_no_other_is() {
        let (a, b) = ([1, 2], [3, 4]);
        assert_eq!(pair(a, b, 0x0001_0002), pair(b, a, 0x0002_0001));
        for other in [pair(a, b, 0x0002_0001), pair(a, a, 0x0001_0002), pair(a, b, 0x0001_0003)] {
            assert_ne!(other, pair(a, b, 0x0001_0002));
        }
    }

    #[test]
    fn a_wish_holds_for_its_flow_and_as_far_as_it_says() {
        let (flow, other) = (fingerprint([1, 2], [3, 4], 5, 6, 0), fingerprint([1, 2], [3, 4], 5, 6, 1));
        let until = LeftOut::Until(100).of(flow);
        assert_eq!(passage(until, flow, 100), Passage::LeftOut);
        assert_eq!(passage(until, flow, 101), Passage::Told);
        assert_eq!(passage(until, flow, 100_u32.wrapping_sub(200)), Passage::LeftOut);
        assert_eq!(passage(until, other, 100), Passage::Told);
        assert_eq!(passage(LeftOut::Stream.of(flow), flow, 7), Passage::Ended);
        assert_eq!(passage(0, flow, 0), Passage::Told);
        assert_eq!(LeftOut::All.of(flow), flow);
    }

    #[test]
    fn direction_tap_hash_and_ports_make_different_fingerprints() {
        let (a, b) = ([1, 2], [3, 4]);
        let all = [
            fingerprint(a, b, 0x0001_0002, 7, 0),
            fingerprint(b, a, 0x0001_0002, 7, 0),
            fingerprint(a, b, 0x0002_0001, 7, 0),
            fingerprint(a, b, 0x0001_0002, 8, 0),
            fingerprint(a, b, 0x0001_0002, 7, 1),
            fingerprint(a, b, 0x0001_0002, 7, 2),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one));
        }
    }

    #[test]
    fn consecutive_ports_spread_over_the_slots() {
        let mut taken = [false; 4096];
        let mut collisions = 0;
        for port in 0..1024u32 {
            let at = (fingerprint([0, 1], [0, 1], 80 << 16 | port, 0, 0) & 4095) as usize;
            collisions += u32::from(core::mem::replace(&mut taken[at], true));
        }
        // 1024 balls in 4096 bins: 115 expected (n - m(1 - (1 - 1/m)^n)).
        assert!(collisions < 180, "{collisions}");
    }
}
