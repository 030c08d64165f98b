//! What the kernel shows of HTTP/2: pieces go in, those come out of which the frames that nobody needs are left out.

use observer_core::message::End;

use crate::tap::Owned;

/// A byte on the wire: its sequence number, the piece that brings it, and what it is.
type Byte = (u32, usize, u8);

/// One direction.
#[derive(Default)]
struct Walk {
    preface_left: usize,
    header: Vec<Byte>,
    payload_left: usize,
    is_kept: bool,
    /// The end of what was told last.
    end: Option<u32>,
    /// The piece of which that was a part.
    piece: usize,
}

impl Walk {
    /// The bytes that are known to be needed with this one.
    fn next(&mut self, byte: Byte) -> Vec<Byte> {
        if self.preface_left > 0 {
            self.preface_left -= 1;
            return vec![byte];
        }
        if self.payload_left > 0 {
            self.payload_left -= 1;
            return if self.is_kept { vec![byte] } else { Vec::new() };
        }
        self.header.push(byte);
        let header: Vec<u8> = self.header.iter().map(|(_, _, byte)| *byte).collect();
        let [a, b, c, kind, flags, ..] = header[..] else { return Vec::new() };
        if header.len() < 9 {
            return Vec::new();
        }
        self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.is_kept = matches!(kind, 1 | 3 | 5 | 7 | 9) || (kind == 4 && flags & 1 == 0);
        let header = std::mem::take(&mut self.header);
        if self.is_kept { header } else { Vec::new() }
    }
}

/// Leaves out every frame but those that tell something. Pieces are cut where what is kept begins and ends.
pub(crate) fn thin(pieces: &[Owned]) -> Vec<Owned> {
    let mut walks = [Walk { preface_left: 24, ..Walk::default() }, Walk::default()];
    let mut thinned: Vec<Owned> = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let walk = &mut walks[usize::from(piece.from == End::Second)];
        let mut told = false;
        for (offset, &byte) in (0..).zip(&piece.bytes) {
            for (seq, piece_number, byte) in walk.next((piece.seq.wrapping_add(offset), number, byte)) {
                let goes_on = walk.end == Some(seq) && walk.piece == piece_number;
                if let Some(last) = thinned.last_mut().filter(|_| told && goes_on) {
                    last.bytes.push(byte);
                    last.wire_len += 1;
                } else {
                    let link = walk.end;
                    thinned.push(Owned { seq, wire_len: 1, bytes: vec![byte], link, ..piece.clone() });
                }
                told = true;
                walk.end = Some(seq.wrapping_add(1));
                walk.piece = piece_number;
            }
        }
    }
    thinned
}
