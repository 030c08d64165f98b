//! A few bytes that are read together, from however many runs they come: runs go in, numbers come out.

/// Bytes that are collected until there are enough of them; at most `N`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gather<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

/// A number that takes more bytes than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// The most bytes of a number of 32 bits in base 128.
const VARINT_BYTES_MAX: usize = 5;

impl<const N: usize> Default for Gather<N> {
    fn default() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> Gather<N> {
    /// Takes bytes off `input` until `wanted` are there, at most `N`; then these are returned, and collecting begins anew.
    pub(super) fn take(&mut self, input: &mut &[u8], wanted: usize) -> Option<&[u8]> {
        if self.gather(input, wanted) {
            self.len = 0;
            return self.bytes.get(..wanted);
        }
        None
    }

    /// Takes bytes off `input` until `wanted` are there, at most `N`; whether they are.
    pub(super) fn gather(&mut self, input: &mut &[u8], wanted: usize) -> bool {
        let missing = wanted.min(N).saturating_sub(self.len);
        let (taken, rest) = input.split_at_checked(missing).unwrap_or((input, &[]));
        let end = self.len.saturating_add(taken.len());
        if let Some(free) = self.bytes.get_mut(self.len..end) {
            free.copy_from_slice(taken);
            self.len = end;
        }
        *input = rest;
        self.len >= wanted
    }

    /// What was collected so far.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes an unsigned number in base 128, the lowest digit first (KIP-482).
    pub(super) fn varint(&mut self, input: &mut &[u8]) -> Option<Result<u32, TooLong>> {
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            match self.bytes.get_mut(self.len) {
                Some(free) if self.len < VARINT_BYTES_MAX => *free = byte,
                _ => return Some(Err(TooLong)),
            }
            self.len = self.len.saturating_add(1);
            if byte & 0x80 == 0 {
                let value = self.bytes().iter().rev().fold(0_u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
                self.len = 0;
                return Some(u32::try_from(value).map_err(|_| TooLong));
            }
        }
        None
    }
}

/// The number that big-endian bytes are; of more than eight the last eight.
pub(super) fn big_endian(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |value: i64, byte| value << 8 | i64::from(*byte))
}

/// The number of 32 bits at `at`; zero where there is none.
pub(super) fn int(bytes: &[u8], at: usize) -> i32 {
    array(bytes, at).map_or(0, i32::from_be_bytes)
}

/// The number of 16 bits at `at`; zero where there is none.
pub(super) fn short(bytes: &[u8], at: usize) -> i16 {
    array(bytes, at).map_or(0, i16::from_be_bytes)
}

/// The number of 64 bits at `at`; zero where there is none.
pub(super) fn long(bytes: &[u8], at: usize) -> i64 {
    array(bytes, at).map_or(0, i64::from_be_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_any_number_of_runs() {
        let mut gather = Gather::<16>::default();
        let mut input: &[u8] = &[0xac];
        assert_eq!(gather.varint(&mut input), None);
        input = &[0x02, 7];
        assert_eq!(gather.varint(&mut input), Some(Ok(300)));
        assert_eq!(input, [7]);
        assert_eq!(gather.take(&mut input, 2), None);
        input = &[8, 9];
        assert_eq!(gather.take(&mut input, 2), Some(&[7, 8][..]));
        assert_eq!(input, [9]);
    }

    #[test]
    fn numbers_over_32_bits_are_none() {
        let mut gather = Gather::<16>::default();
        assert_eq!(gather.varint(&mut &[0xff, 0xff, 0xff, 0xff, 0x0f][..]), Some(Ok(u32::MAX)));
        assert_eq!(gather.varint(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), Some(Err(TooLong)));
        assert_eq!(Gather::<16>::default().varint(&mut &[0x80; 6][..]), Some(Err(TooLong)));
    }
}
