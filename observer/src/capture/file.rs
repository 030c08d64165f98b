//! A pcap or pcapng file comes in, its TCP packets and opaque connections go out, in the order of the file and however large
//! it is. Frames are taken apart in `frame`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use observer_core::connection::{Address, Flow, Opaque, Packet, Tap};
use observer_core::time::Timestamp;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
use rustc_hash::FxHashSet;

use super::frame::{self, Link, Skip};
use super::{Event, Source, SourceCounters};

/// Holds any block of a usual capture at once: frames of 256 KiB (tcpdump's largest snapshot length) and their neighbours.
const BUFFER_BYTES: usize = 1 << 20;
/// The longest block that is read; a longer one is damage, not data.
const BUFFER_BYTES_MAX: usize = 16 << 20;
/// Frames of one `poll`: some milliseconds, so that whoever calls can stop.
const FRAMES_A_POLL: usize = 4096;
/// Opaque connections remembered; past it all are forgotten, and each is told once more.
const OPAQUE_MAX: usize = 1 << 16;
/// Interfaces of one section; a file with more is damaged.
const INTERFACES_MAX: usize = 4096;

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
    interfaces: Vec<Interface>,
    newest: Timestamp,
    opaque: FxHashSet<(Address, Address)>,
    ended: bool,
    tally: Tally,
}

/// What a pcapng section says of an interface; of a pcap file the only one.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Option<Link>,
    resolution: Resolution,
    offset_seconds: i64,
}

/// Units of a second in timestamps.
#[derive(Clone, Copy, Debug)]
enum Resolution {
    Decimal(u32),
    Binary(u32),
}

#[derive(Debug, Default)]
struct Tally {
    events: u64,
    truncated: u64,
    damaged: u64,
    cut: u64,
    fragments: u64,
    link_type: u64,
    opaque_forgotten: u64,
}

impl std::fmt::Debug for FileCapture {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FileCapture")
            .field("file", &self.file)
            .field("tally", &self.tally)
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
        let mut capture = Self {
            reader,
            file,
            total_bytes,
            interfaces: Vec::new(),
            newest: Timestamp::default(),
            opaque: FxHashSet::default(),
            ended: false,
            tally: Tally::default(),
        };
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
        self.newest
    }

    /// Connections that were forgotten to be opaque, for want of room.
    pub fn opaque_forgotten(&self) -> u64 {
        self.tally.opaque_forgotten
    }

    /// Reads the next block; whether there was one.
    fn block(&mut self, tell: &mut dyn FnMut(Event<'_>)) -> bool {
        let held = self.reader.data().len();
        let trouble = match self.reader.next() {
            Ok((length, block)) => {
                let mut view = View {
                    interfaces: &mut self.interfaces,
                    newest: &mut self.newest,
                    opaque: &mut self.opaque,
                    tally: &mut self.tally,
                };
                let sound = view.block(&block, tell);
                if sound {
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
                    return self.end(Some("cannot be read further"));
                }
                // A full buffer that still does not hold the block must grow.
                if self.reader.data().len() == held && !self.reader.reader_exhausted() { self.grow() } else { true }
            }
            Trouble::Larger => self.grow(),
            Trouble::Truncated => {
                self.tally.truncated += 1;
                self.end(Some("ends inside a packet"))
            }
            Trouble::Unreadable => {
                self.tally.truncated += 1;
                self.end(Some("cannot be read further"))
            }
            Trouble::Damaged => {
                self.tally.damaged += 1;
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
        self.tally.damaged += 1;
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
        let Tally { truncated, damaged, cut, fragments, link_type, .. } = self.tally;
        let lost = [
            ("truncated", truncated),
            ("damaged", damaged),
            ("header_cut", cut),
            ("fragment", fragments),
            ("link_type", link_type),
        ];
        vec![SourceCounters { source: "file", events: self.tally.events, lost: lost.to_vec(), programs: Vec::new() }]
    }
}

/// The parts of a [`FileCapture`] that a block changes, apart from the reader that owns the block.
struct View<'c> {
    interfaces: &'c mut Vec<Interface>,
    newest: &'c mut Timestamp,
    opaque: &'c mut FxHashSet<(Address, Address)>,
    tally: &'c mut Tally,
}

impl View<'_> {
    /// Takes a block; false where the file makes no sense from here on.
    fn block(&mut self, block: &PcapBlockOwned<'_>, tell: &mut dyn FnMut(Event<'_>)) -> bool {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let resolution = Resolution::Decimal(if header.is_nanosecond_precision() { 9 } else { 6 });
                let link = Link::of(header.network.0 & 0xffff);
                self.interfaces.push(Interface { link, resolution, offset_seconds: 0 });
            }
            PcapBlockOwned::Legacy(packet) => {
                let Some(interface) = self.interfaces.first().copied() else { return false };
                let fraction = interface.resolution.nanoseconds(u64::from(packet.ts_usec));
                let at = Timestamp(u64::from(packet.ts_sec).saturating_mul(1_000_000_000).saturating_add(fraction));
                self.frame(interface, at, packet.data, packet.origlen, tell);
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(description)) => {
                if self.interfaces.len() >= INTERFACES_MAX {
                    return false;
                }
                self.interfaces.push(Interface {
                    link: Link::of(description.linktype.0),
                    resolution: Resolution::of(description.if_tsresol),
                    offset_seconds: description.if_tsoffset,
                });
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let interface =
                    usize::try_from(packet.if_id).ok().and_then(|index| self.interfaces.get(index)).copied();
                let Some(interface) = interface else { return false };
                let units = (u64::from(packet.ts_high) << 32) | u64::from(packet.ts_low);
                let at = interface.time(units);
                let captured = usize::try_from(packet.caplen).ok().and_then(|length| packet.data.get(..length));
                self.frame(interface, at, captured.unwrap_or(packet.data), packet.origlen, tell);
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let Some(interface) = self.interfaces.first().copied() else { return false };
                // The data is padded to four bytes; it has no time of its own.
                let captured = usize::try_from(packet.origlen).ok().and_then(|length| packet.data.get(..length));
                self.frame(interface, *self.newest, captured.unwrap_or(packet.data), packet.origlen, tell);
            }
            PcapBlockOwned::NG(_) => {}
        }
        true
    }

    fn frame(
        &mut self,
        interface: Interface,
        at: Timestamp,
        bytes: &[u8],
        wire_len: u32,
        tell: &mut dyn FnMut(Event<'_>),
    ) {
        *self.newest = (*self.newest).max(at);
        let Some(link) = interface.link else {
            self.tally.link_type += 1;
            return;
        };
        let segment = match frame::segment(link, bytes, wire_len) {
            Ok(segment) => segment,
            Err(Skip::NotTcp) => return,
            Err(Skip::Cut) => {
                self.tally.cut += 1;
                return;
            }
            Err(Skip::Fragment) => {
                self.tally.fragments += 1;
                return;
            }
            Err(Skip::Damaged) => {
                self.tally.damaged += 1;
                return;
            }
        };
        let connection = connection(segment.flow);
        if segment.opens {
            self.opaque.remove(&connection);
        }
        let carries = segment.wire_len > 0;
        let known_opaque = carries && self.opaque.contains(&connection);
        if known_opaque && !segment.closes {
            return;
        }
        if let Some(kind) = opaque(segment.payload).filter(|_| !known_opaque) {
            if self.opaque.len() >= OPAQUE_MAX {
                self.tally.opaque_forgotten += self.opaque.len() as u64;
                self.opaque.clear();
            }
            self.opaque.insert(connection);
            self.tally.events += 1;
            tell(Event::Opaque { at, flow: segment.flow, tap: Tap::Wire, cgroup: 0, kind });
            if !segment.closes {
                return;
            }
        }
        if carries || segment.closes {
            self.tally.events += 1;
            let packet = Packet {
                at,
                flow: segment.flow,
                // A SYN takes up one number before its data (RFC 9293 section 3.4).
                seq: segment.seq.wrapping_add(u32::from(segment.opens)),
                wire_len: segment.wire_len,
                bytes: if self.opaque.contains(&connection) { &[] } else { segment.payload },
                tap: Tap::Wire,
                closes: segment.closes,
                token: 0,
            };
            tell(Event::Packet { packet, cgroup: 0 });
        }
    }
}

/// The two ends of a flow, whoever sends.
fn connection(flow: Flow) -> (Address, Address) {
    (flow.source.min(flow.destination), flow.source.max(flow.destination))
}

/// What a payload begins that is not decoded.
fn opaque(payload: &[u8]) -> Option<Opaque> {
    // RFC 9113 section 3.4.
    if payload.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") {
        return Some(Opaque::Http2);
    }
    // A handshake record with a client's or server's hello (RFC 8446 sections 4 and 5.1): type, version, length of the record,
    // type and length of the message, version.
    match payload {
        [22, 3, 0..=4, _, _, 1 | 2, 0, _, _, 3, 0..=4, ..] => Some(Opaque::Tls),
        _ => None,
    }
}

impl Interface {
    fn time(&self, units: u64) -> Timestamp {
        let offset = i128::from(self.offset_seconds) * 1_000_000_000;
        let at = i128::from(self.resolution.nanoseconds(units)) + offset;
        Timestamp(u64::try_from(at.max(0)).unwrap_or(u64::MAX))
    }
}

impl Resolution {
    /// `if_tsresol` of a pcapng interface: a negative power of ten, or of two where the top bit is set.
    fn of(option: u8) -> Self {
        let exponent = u32::from(option & 0x7f);
        if option & 0x80 == 0 { Self::Decimal(exponent) } else { Self::Binary(exponent) }
    }

    fn nanoseconds(self, units: u64) -> u64 {
        let units = u128::from(units);
        let nanoseconds = match self {
            Self::Decimal(exponent @ 0..=9) => units * 10_u128.pow(9 - exponent),
            Self::Decimal(exponent) => 10_u128.checked_pow(exponent - 9).map_or(0, |divisor| units / divisor),
            Self::Binary(exponent) => (units * 1_000_000_000).checked_shr(exponent).unwrap_or(0),
        };
        u64::try_from(nanoseconds).unwrap_or(u64::MAX)
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
