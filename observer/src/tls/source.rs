//! A file of unknown origin as bytes: pieces are read where they are asked for, at most [`READ_MAX`] of one file in all.

use std::cell::Cell;
use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt as _;

use super::Fault;

/// Bytes that are read of one file in all: more than the constants and symbols of any program, debug information not counted.
const READ_MAX: u64 = 1 << 30;
/// Bytes that are held of it at once.
const PIECE_MAX: usize = 16 << 20;
/// Bytes of a step through a long range.
const STEP: usize = 256 << 10;

/// A file that is read with bounds. The position of the open file is neither used nor moved.
pub(super) struct Source<'f> {
    file: &'f File,
    len: u64,
    left: Cell<u64>,
}

impl<'f> Source<'f> {
    /// Only what is a regular file: reading others may wait or have effects.
    pub(super) fn new(file: &'f File) -> Result<Self, Fault> {
        Self::within(file, READ_MAX)
    }

    /// The same, with at most so many bytes read in all.
    pub(super) fn within(file: &'f File, bytes_max: u64) -> Result<Self, Fault> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Fault::NotAFile);
        }
        Ok(Self { file, len: metadata.len(), left: Cell::new(bytes_max) })
    }

    /// These bytes; an error where the file ends before.
    pub(super) fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, Fault> {
        let end = at.checked_add(len as u64).ok_or(Fault::Malformed("a place behind the end of the file"))?;
        if end > self.len {
            return Err(Fault::Malformed("a place behind the end of the file"));
        }
        if len > PIECE_MAX {
            return Err(Fault::TooLarge);
        }
        self.left.set(self.left.get().checked_sub(len as u64).ok_or(Fault::TooLarge)?);
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// Goes through a range; each step begins with the last `overlap` bytes of the one before. What lies behind the end of the file
    /// is left out.
    pub(super) fn scan(
        &self,
        range: Range<u64>,
        overlap: usize,
        mut step: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Fault> {
        let end = range.end.min(self.len);
        let mut at = range.start;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(STEP);
            if step(at, &self.read(at, len)?).is_break() || at + len as u64 == end {
                break;
            }
            at += (len - overlap.min(len / 2)) as u64;
        }
        Ok(())
    }

    /// A range that is read in ascending order, little by little.
    pub(super) fn window(&self) -> Window<'_, 'f> {
        Window { source: self, at: 0, bytes: Vec::new() }
    }
}

/// The piece of a file around the last place that was read.
pub(super) struct Window<'s, 'f> {
    source: &'s Source<'f>,
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_, '_> {
    /// `N` bytes from there on.
    pub(super) fn array<const N: usize>(&mut self, at: u64) -> Result<[u8; N], Fault> {
        if let Some(found) = self.held(at) {
            return Ok(found);
        }
        let rest = usize::try_from(self.source.len.saturating_sub(at)).unwrap_or(usize::MAX);
        self.bytes = self.source.read(at, rest.clamp(N, STEP))?;
        self.at = at;
        self.held(at).ok_or(Fault::Malformed("a place behind the end of the file"))
    }

    fn held<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let from = usize::try_from(at.checked_sub(self.at)?).ok()?;
        self.bytes.get(from..)?.first_chunk().copied()
    }
}

/// A number of a table, least significant byte first.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// The same of four bytes.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}
