//! A pcap or pcapng file comes in, its TCP packets and opaque connections go out, in the order of the file and however large
//! it is. Frames are taken apart in `frame`.

mod blocks;
mod frame;
mod interface;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use observer_core::time::Timestamp;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{PcapBlockOwned, PcapError, create_reader};

use super::{Event, Source, SourceCounters};
use blocks::{Blocks, Tally};
use frame::Link;

/// Holds many frames of a usual capture; it grows for larger ones.
const BUFFER_BYTES: usize = 1 << 16;
/// The longest block that is read; a longer one is damage, not data.
const BUFFER_BYTES_MAX: usize = 16 << 20;
/// Frames of one `poll`: some milliseconds, so that whoever calls can stop.
const FRAMES_A_POLL: usize = 4096;

/// Why a file cannot be read at all: one line for a person.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct NotACapture {
    file: String,
    problem: String,
}

/// A capture file as a source of events.
pub struct FileCapture {
    reader: Box<dyn PcapReaderIterator + Send>,
    file: String,
    total_bytes: Option<u64>,
    blocks: Blocks,
    ended: bool,
}

impl std::fmt::Debug for FileCapture {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FileCapture")
            .field("file", &self.file)
            .field("tally", &self.blocks.tally)
            .finish_non_exhaustive()
    }
}

impl FileCapture {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no pcap or pcapng file, or holds a link type that is not read.
    pub fn open(path: &Path) -> Result<Self, NotACapture> {
        let file = path.display().to_string();
        if file == "-" {
            return Self::read("standard input".to_owned(), None, io::stdin());
        }
        let refuse = |problem: String| NotACapture { file: file.clone(), problem };
        let opened = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refuse("no such file; give the path of a pcap or pcapng file".to_owned()),
            _ => refuse(format!("cannot be read: {error}")),
        })?;
        let metadata = opened.metadata().ok();
        if metadata.as_ref().is_some_and(std::fs::Metadata::is_dir) {
            return Err(refuse("is a directory; give the path of a pcap or pcapng file".to_owned()));
        }
        let total_bytes = metadata.filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
        Self::read(file, total_bytes, opened)
    }

    /// Reads a stream; `file` is what messages call it.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn read(
        file: String,
        total_bytes: Option<u64>,
        input: impl Read + Send + 'static,
    ) -> Result<Self, NotACapture> {
        let mut input = Whole(input);
        let mut magic = Vec::new();
        let refuse = |problem: &str| NotACapture { file: file.clone(), problem: problem.to_owned() };
        if let Err(error) = input.by_ref().take(4).read_to_end(&mut magic) {
            return Err(refuse(&format!("cannot be read: {error}")));
        }
        match magic.as_slice() {
            [] => return Err(refuse("is empty; a pcap or pcapng file was expected")),
            // RFC 1952 section 2.3.1 and RFC 8878 section 3.1.1.
            [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd] => {
                return Err(refuse("is compressed; unpack it first (gunzip or zstd -d)"));
            }
            _ => {}
        }
        let reader = create_reader(BUFFER_BYTES, Whole(io::Cursor::new(magic).chain(input))).map_err(|error| {
            refuse(match error {
                PcapError::Incomplete(_) | PcapError::Eof | PcapError::UnexpectedEof => {
                    "ends inside its header; the capture was cut off, take it again"
                }
                PcapError::ReadError => "cannot be read to the end of its header",
                _ => "is no pcap or pcapng file; make one with tcpdump -w or dumpcap -w",
            })
        })?;
        let mut capture = Self { reader, file, total_bytes, blocks: Blocks::default(), ended: false };
        capture.refuse_unknown_link()?;
        Ok(capture)
    }

    /// A pcap file has one link type: where it is unknown nothing of the file can be read.
    fn refuse_unknown_link(&mut self) -> Result<(), NotACapture> {
        let Ok((_, PcapBlockOwned::LegacyHeader(header))) = self.reader.next() else { return Ok(()) };
        // The upper bits say how long the frame check sequence is.
        let number = header.network.0 & 0xffff;
        if Link::of(number).is_some() {
            return Ok(());
        }
        let problem = format!(
            "link type {number} is not read; capture on an Ethernet, loopback or `any` interface, without monitor mode"
        );
        Err(NotACapture { file: self.file.clone(), problem })
    }

    /// Bytes read so far, and of how many where that is known.
    pub fn progress(&self) -> (u64, Option<u64>) {
        (self.reader.consumed() as u64, self.total_bytes)
    }

    /// The time of the newest packet so far.
    pub fn newest(&self) -> Timestamp {
        self.blocks.newest
    }

    /// Reads the next block; whether there was one.
    fn block(&mut self, tell: &mut dyn FnMut(Event<'_>)) -> bool {
        let held = self.reader.data().len();
        let trouble = match self.reader.next() {
            Ok((length, block)) => {
                if self.blocks.take(&block, tell) {
                    self.reader.consume(length);
                    return true;
                }
                Trouble::Damaged
            }
            Err(PcapError::Eof) => Trouble::End,
            Err(PcapError::Incomplete(_)) => Trouble::More,
            Err(PcapError::BufferTooSmall) => Trouble::Larger,
            Err(PcapError::UnexpectedEof) => Trouble::Truncated,
            Err(PcapError::ReadError) => Trouble::Unreadable,
            Err(_) => Trouble::Damaged,
        };
        match trouble {
            Trouble::End => self.end(None),
            Trouble::More => {
                if self.reader.refill().is_err() {
                    self.blocks.tally.truncated += 1;
                    return self.end(Some("cannot be read further"));
                }
                // A full buffer that still does not hold the block must grow.
                if self.reader.data().len() == held && !self.reader.reader_exhausted() { self.grow() } else { true }
            }
            Trouble::Larger => self.grow(),
            Trouble::Truncated => {
                self.blocks.tally.truncated += 1;
                self.end(Some("ends inside a packet"))
            }
            Trouble::Unreadable => {
                self.blocks.tally.truncated += 1;
                self.end(Some("cannot be read further"))
            }
            Trouble::Damaged => {
                self.blocks.tally.damaged += 1;
                self.end(Some("is damaged"))
            }
        }
    }

    fn grow(&mut self) -> bool {
        let size = (self.reader.data().len() * 2).max(BUFFER_BYTES * 2);
        if size <= BUFFER_BYTES_MAX && self.reader.grow(size) {
            let _ = self.reader.refill();
            return true;
        }
        self.blocks.tally.damaged += 1;
        self.end(Some("is damaged"))
    }

    fn end(&mut self, trouble: Option<&str>) -> bool {
        if let Some(trouble) = trouble {
            tracing::warn!(
                "{}: {trouble} after {} bytes; what comes before is used",
                self.file,
                self.reader.consumed()
            );
        }
        self.ended = true;
        false
    }
}

/// What the reader says instead of a block.
enum Trouble {
    End,
    More,
    Larger,
    Truncated,
    Unreadable,
    Damaged,
}

impl Source for FileCapture {
    fn poll(&mut self, _patience: Duration, tell: &mut dyn FnMut(Event<'_>)) -> anyhow::Result<bool> {
        for _ in 0..FRAMES_A_POLL {
            if self.ended || !self.block(tell) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn counters(&self) -> Vec<SourceCounters> {
        let Tally { truncated, damaged, cut, fragments, link_type, openings_forgotten, .. } = self.blocks.tally;
        let lost = [
            ("truncated", truncated),
            ("damaged", damaged),
            ("header_cut", cut),
            ("fragment", fragments),
            ("link_type", link_type),
            ("opening_forgotten", openings_forgotten),
        ];
        let (events, lost) = (self.blocks.tally.events, lost.to_vec());
        vec![SourceCounters { source: "file", events, lost, ..SourceCounters::default() }]
    }
}

/// Fills every buffer to the end of the stream: pipes hand out less than asked for, and the reader takes that for the end.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if filled == 0 => return Err(error),
                // What was read before is used; the next read meets the error again.
                Err(_) => break,
            }
        }
        Ok(filled)
    }
}
