//! Bytes that are read together, from however many runs they come: runs go in, a slice comes out.

/// What was collected; copied only where one run does not hold it all.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    bytes: Vec<u8>,
    /// Whether they were returned.
    is_told: bool,
}

/// Room that is kept for the next bytes.
const KEPT_BYTES_MAX: usize = 1024;

impl Gathering {
    /// Takes bytes off `input` until `wanted` are there; then these are returned, and collecting begins anew with the next call.
    /// The caller bounds `wanted`, and asks for the same until it has it.
    pub(super) fn take<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8], wanted: usize) -> Option<&'a [u8]> {
        if self.is_told {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES_MAX);
            self.is_told = false;
        }
        if self.bytes.is_empty()
            && let Some((whole, rest)) = input.split_at_checked(wanted)
        {
            *input = rest;
            return Some(whole);
        }
        let missing = wanted.saturating_sub(self.bytes.len());
        let (taken, rest) = input.split_at_checked(missing).unwrap_or((input, &[]));
        let len = self.bytes.len().saturating_add(taken.len());
        if self.bytes.capacity() < len {
            // Room grows with what came, not with what is wanted.
            let room = len.saturating_mul(2).min(wanted);
            self.bytes.reserve_exact(room.saturating_sub(self.bytes.len()));
        }
        self.bytes.extend_from_slice(taken);
        *input = rest;
        self.is_told = self.bytes.len() >= wanted;
        self.is_told.then_some(&self.bytes)
    }

    /// How many bytes were collected and are not enough yet.
    pub(super) fn count(&self) -> usize {
        if self.is_told { 0 } else { self.bytes.len() }
    }

    /// Begins anew and keeps no room.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes held.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_in_any_number_of_runs() {
        let mut gathering = Gathering::default();
        let mut input: &[u8] = b"abcdef";
        assert_eq!(gathering.take(&mut input, 4), Some(&b"abcd"[..]));
        assert_eq!((input, gathering.buffered_bytes()), (&b"ef"[..], 0));
        assert_eq!(gathering.take(&mut input, 4), None);
        assert_eq!((input, gathering.count()), (&b""[..], 2));
        input = b"ghi";
        assert_eq!(gathering.take(&mut input, 4), Some(&b"efgh"[..]));
        assert_eq!((input, gathering.count()), (&b"i"[..], 0));
        assert_eq!(gathering.take(&mut input, 6), None);
        input = b"jklmno";
        assert_eq!(gathering.take(&mut input, 6), Some(&b"ijklmn"[..]));
    }
}
