//! What the kernel programs let through: the pieces of a connection go in, the records of them come out. The same steps as
//! `observer-ebpf/src/{packet,tell,piece}.rs`, and the same rule for how a payload opens.

use observer_ebpf::HEAD_BYTES_MAX;
use observer_ebpf::opening::{Opening, opening};

use observer_core::message::End;

use crate::tap::Owned;

const SHORT_BYTES: usize = 512;
const BLIND_BYTES: usize = 4096;
const HEAD_END: &[u8] = b"\n\r\n";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    Fresh,
    Open,
    Ended,
    Opaque,
}

#[derive(Debug, Default)]
struct Slot {
    state: State,
    start_seq: u32,
    end_seq: u32,
    next_seq: u32,
    tail: Vec<u8>,
    opening: Vec<u8>,
}

/// What the kernel tells of pieces.
pub(crate) fn thin(pieces: &[Owned]) -> Vec<Owned> {
    let mut slots = [Slot::default(), Slot::default()];
    let mut told = Vec::new();
    for piece in pieces {
        slots[usize::from(piece.from == End::Second)].observe(piece, &mut told);
    }
    told
}

fn opens(bytes: &[u8]) -> Opening {
    let mut first = [0; 16];
    let len = bytes.len().min(16);
    first[..len].copy_from_slice(&bytes[..len]);
    let word = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("eight bytes"));
    opening(word(&first[..8]), word(&first[8..]), u32::try_from(bytes.len()).expect("a packet"))
}

impl Slot {
    fn observe(&mut self, piece: &Owned, told: &mut Vec<Owned>) {
        if self.state == State::Opaque {
            return;
        }
        match self.goes_on(piece).or_else(|| self.begins(piece, told)) {
            Some(Part::Newest { tail }) => self.tell(piece, &tail, true, told),
            Some(Part::Repeat) => self.tell(piece, &[], false, told),
            None => {}
        }
    }

    fn goes_on(&mut self, piece: &Owned) -> Option<Part> {
        let from_start = piece.seq.wrapping_sub(self.start_seq);
        match self.state {
            State::Ended => (from_start < self.end_seq.wrapping_sub(self.start_seq)).then_some(Part::Repeat),
            State::Open if from_start >= HEAD_BYTES_MAX => None,
            State::Open if piece.seq != self.next_seq => Some(Part::Newest { tail: Vec::new() }),
            State::Open => {
                if (1..8).contains(&self.opening.len()) {
                    self.opening.extend(piece.bytes.iter().take(8));
                    self.opening.truncate(8);
                    if opens(&self.opening) != Opening::Head {
                        self.state = if self.end_seq == 0 { State::Fresh } else { State::Ended };
                        self.start_seq = self.end_seq;
                        return None;
                    }
                }
                Some(Part::Newest { tail: self.tail.clone() })
            }
            _ => None,
        }
    }

    fn begins(&mut self, piece: &Owned, told: &mut Vec<Owned>) -> Option<Part> {
        match opens(&piece.bytes) {
            Opening::Head => {
                self.start_seq = piece.seq;
                self.opening = piece.bytes.iter().copied().take(8).collect();
                self.state = State::Open;
                return Some(Part::Newest { tail: Vec::new() });
            }
            Opening::Tls | Opening::Http2 if self.state != State::Ended => self.state = State::Opaque,
            _ if self.state == State::Ended => tell_end(piece, told),
            _ => {}
        }
        None
    }

    fn tell(&mut self, piece: &Owned, tail: &[u8], is_newest: bool, told: &mut Vec<Owned>) {
        let payload = &piece.bytes[..];
        let room = match payload.len() {
            len if len <= SHORT_BYTES => SHORT_BYTES,
            len if len <= 1024 => 1024,
            _ if self.opening.starts_with(b"HTTP") => 512,
            _ => BLIND_BYTES,
        };
        let copied = &payload[..payload.len().min(room)];
        let whole = copied.len() == payload.len();
        let end = if whole && last_three(tail, copied) == HEAD_END { copied.len() } else { scan(tail, copied) };
        let pipelined = end != 0 && end < payload.len() && opens(&payload[end..]) == Opening::Head;
        let more = !whole && (end == 0 || pipelined);
        let wire_len = if more { copied.len() } else { payload.len() };
        told.push(record(piece, 0, wire_len, copied));
        let mut len = copied.len();
        let mut last = last_three(tail, copied);
        if more {
            for blind in payload[len..].chunks(BLIND_BYTES).take(HEAD_BYTES_MAX as usize / BLIND_BYTES) {
                told.push(record(piece, len, blind.len(), blind));
                len += blind.len();
            }
            last = payload[payload.len() - 3..].to_vec();
        }
        if is_newest {
            self.next_seq = piece.end();
            if last == HEAD_END && len >= payload.len() {
                self.state = State::Ended;
                self.end_seq = self.next_seq;
            } else if end != 0 && pipelined {
                self.start_seq = at(piece, end);
                self.opening.clear();
            } else if end != 0 {
                self.state = State::Ended;
                self.end_seq = at(piece, end);
            }
            self.tail = last;
        }
        if len < payload.len() {
            tell_end(piece, told);
        }
    }
}

enum Part {
    Newest { tail: Vec<u8> },
    Repeat,
}

fn at(piece: &Owned, offset: usize) -> u32 {
    piece.seq.wrapping_add(u32::try_from(offset).expect("within a packet"))
}

fn record(piece: &Owned, offset: usize, wire_len: usize, bytes: &[u8]) -> Owned {
    let wire_len = u32::try_from(wire_len).expect("within a packet");
    Owned { seq: at(piece, offset), wire_len, bytes: bytes.to_vec(), ..piece.clone() }
}

fn tell_end(piece: &Owned, told: &mut Vec<Owned>) {
    let len = piece.bytes.len().min(5);
    let last = &piece.bytes[piece.bytes.len() - len..];
    if if len == 5 { last.ends_with(b"\r\n\r\n") } else { last.ends_with(b"\n") } {
        told.push(record(piece, piece.bytes.len() - len, len, last));
    }
}

fn last_three(tail: &[u8], bytes: &[u8]) -> Vec<u8> {
    let joined = [tail, bytes].concat();
    joined[joined.len().saturating_sub(3)..].to_vec()
}

/// Where the head ends: past an empty line of which the beginning may be in `tail`. Only the first LF CR counts.
fn scan(tail: &[u8], bytes: &[u8]) -> usize {
    let joined = [tail, bytes].concat();
    for end in 1..=bytes.len().min(3) {
        if joined[..tail.len() + end].ends_with(b"\r\n\r\n") {
            return end;
        }
    }
    let Some(place) = bytes.windows(2).position(|window| window == b"\n\r") else { return 0 };
    if bytes.get(place + 2) == Some(&b'\n') { place + 3 } else { 0 }
}
