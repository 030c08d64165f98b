//! What the kernel is to show of HTTP/2: pieces go in, those come out of which DATA is left out.

use observer_core::message::End;

use crate::tap::Owned;

/// One direction.
#[derive(Default)]
struct Walk {
    preface_left: usize,
    header: Vec<u8>,
    payload_left: usize,
    is_kept: bool,
}

impl Walk {
    /// Whether the next byte is kept.
    fn keeps(&mut self, byte: u8) -> bool {
        if self.preface_left > 0 {
            self.preface_left -= 1;
            return true;
        }
        if self.payload_left > 0 {
            self.payload_left -= 1;
            return self.is_kept;
        }
        self.header.push(byte);
        if let [a, b, c, kind, _, _, _, _, _] = self.header[..] {
            self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.is_kept = matches!(kind, 1 | 5 | 7 | 9);
            self.header.clear();
        }
        true
    }
}

/// Leaves out the payload of every frame but header blocks and GOAWAY. Pieces are cut where what is kept begins and ends.
pub(crate) fn thin(pieces: &[Owned]) -> Vec<Owned> {
    let mut walks = [Walk { preface_left: 24, ..Walk::default() }, Walk::default()];
    let mut thinned: Vec<Owned> = Vec::new();
    for piece in pieces {
        let walk = &mut walks[usize::from(piece.from == End::Second)];
        let mut goes_on = false;
        for (offset, &byte) in (0..).zip(&piece.bytes) {
            let keeps = walk.keeps(byte);
            match thinned.last_mut().filter(|_| keeps && goes_on) {
                Some(last) => {
                    last.bytes.push(byte);
                    last.wire_len += 1;
                }
                None if keeps => {
                    let seq = piece.seq.wrapping_add(offset);
                    thinned.push(Owned { seq, wire_len: 1, bytes: vec![byte], ..piece.clone() });
                }
                None => {}
            }
            goes_on = keeps;
        }
    }
    thinned
}
