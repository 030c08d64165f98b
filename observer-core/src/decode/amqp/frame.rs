//! Frames (AMQP 0-9-1 specification, section 2.3.5): the first bytes come in, what begins there goes out.

use super::method::{Id, Sender};
use super::properties;
use crate::decode::http1::start_line::Role;

/// What a client sends first on a connection (section 4.2.2).
pub(super) const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\x00\x00\x09\x01";
/// Type, channel and size.
pub(super) const HEADER_BYTES: usize = 7;
/// What ends every frame (section 4.2.3).
pub(super) const END: u8 = 0xce;
/// Frames are at most as long as the peers agreed, 128 KiB where RabbitMQ is not told otherwise (frame_max); longer ones are
/// believed where it is certain that a frame begins, up to this.
const SIZE_MAX: u32 = 16 * 1024 * 1024;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Method,
    Content,
    Body,
    Heartbeat,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) channel: u16,
    size: u32,
}

impl Frame {
    /// The frame that begins with these bytes; `None` if they are too few, or none.
    pub(super) fn at(bytes: &[u8]) -> Option<Self> {
        let [kind, c0, c1, s0, s1, s2, s3, ..] = *bytes else { return None };
        let (channel, size) = (u16::from_be_bytes([c0, c1]), u32::from_be_bytes([s0, s1, s2, s3]));
        // Content goes over channels, heartbeats do not (section 4.2.7).
        let kind = match kind {
            1 if size >= 4 => Kind::Method,
            2 if channel > 0 && size >= 14 => Kind::Content,
            3 if channel > 0 => Kind::Body,
            8 if channel == 0 && size == 0 => Kind::Heartbeat,
            _ => return None,
        };
        (size <= SIZE_MAX).then_some(Self { kind, channel, size })
    }

    /// How many bytes follow the header, with the octet that ends the frame.
    pub(super) fn left(self) -> u64 {
        u64::from(self.size).saturating_add(1)
    }

    /// The payload, if all of it is there behind the header, and what follows the frame.
    fn split(self, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let payload = bytes.get(HEADER_BYTES..)?;
        let (payload, rest) = payload.split_at_checked(usize::try_from(self.size).ok()?)?;
        let (&END, rest) = rest.split_first()? else { return None };
        Some((payload, rest))
    }
}

/// Whether a piece of which nothing is known before it begins with a frame from an end that has this role, all but certainly: one
/// that is there from its first byte to its last, holds what such frames hold, and is followed by nothing else.
pub(super) fn begins(bytes: &[u8], role: Role) -> bool {
    let Some(frame) = Frame::at(bytes) else { return false };
    let Some((payload, rest)) = frame.split(bytes) else { return false };
    let is_sound = match frame.kind {
        Kind::Method => Id::at(payload)
            .is_some_and(|id| id.sender().is_some_and(|sender| sender.may_be(role)) && id.fits(frame.channel, payload)),
        Kind::Content => properties::are_sound(payload),
        Kind::Body | Kind::Heartbeat => true,
    };
    is_sound && may_follow(rest)
}

/// Whether a piece begins with a frame that tells by itself that this is AMQP, and from whom it comes: the start of a connection
/// or a message on its way.
pub(super) fn tells(bytes: &[u8]) -> Option<Role> {
    Frame::at(bytes).filter(|frame| frame.kind == Kind::Method)?;
    let id = Id::at(bytes.get(HEADER_BYTES..)?).filter(|id| id.is_telling())?;
    let Some(Sender::Only(role)) = id.sender() else { return None };
    begins(bytes, role).then_some(role)
}

/// Whether frames, of which the last may be cut, follow a frame, or nothing.
fn may_follow(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Some(frame) = Frame::at(bytes) else {
            return bytes.len() < HEADER_BYTES && matches!(bytes.first(), Some(1..=3 | 8));
        };
        match frame.split(bytes) {
            Some((_, rest)) => bytes = rest,
            // Its end is not there.
            None => return (bytes.len() as u64) < frame.left().saturating_add(HEADER_BYTES as u64),
        }
    }
    true
}
