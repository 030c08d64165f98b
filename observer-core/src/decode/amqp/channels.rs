//! Messages that were announced on a channel, each by its method, and of which the header is still to come.

use crate::message::Way;
use crate::time::Timestamp;

/// Channels of one direction with a message that was announced. Clients send method and header in one go, so there are seldom two.
pub const ANNOUNCED_MAX: usize = 64;

/// A message of which the header is to come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Announced {
    channel: u16,
    /// When its method was seen.
    pub(super) at: Timestamp,
    pub(super) way: Way,
    /// What it is addressed to; `None` where it is not told.
    pub(super) topic: Option<Box<str>>,
    /// Whether no byte is missing since.
    pub(super) is_certain: bool,
}

impl Announced {
    pub(super) fn new(channel: u16, at: Timestamp, way: Way, topic: Option<&[u8]>) -> Self {
        let topic = topic.map(|topic| String::from_utf8_lossy(topic).into());
        Self { channel, at, way, topic, is_certain: true }
    }
}

/// What was announced in one direction, the oldest first.
#[derive(Debug, Default)]
pub(in crate::decode) struct Channels {
    announced: Vec<Announced>,
}

impl Channels {
    /// Keeps what was announced; what was announced before on this channel and never came is returned. Where there is no room the
    /// oldest is forgotten: it comes as a message of which the method was not seen.
    pub(super) fn announce(&mut self, announced: Announced) -> Option<Announced> {
        let earlier = self.take(announced.channel);
        if self.announced.len() >= ANNOUNCED_MAX {
            self.announced.remove(0);
        }
        self.announced.push(announced);
        earlier
    }

    /// What was announced on a channel comes.
    pub(super) fn take(&mut self, channel: u16) -> Option<Announced> {
        let at = self.announced.iter().position(|announced| announced.channel == channel)?;
        Some(self.announced.remove(at))
    }

    /// Whether what was announced on a channel is nothing that is told.
    pub(super) fn is_untold(&self, channel: u16) -> bool {
        self.announced
            .iter()
            .any(|announced| announced.channel == channel && announced.topic.is_none() && announced.is_certain)
    }

    /// Bytes are missing: what was announced may have come.
    pub(super) fn doubt(&mut self) {
        for announced in &mut self.announced {
            announced.is_certain = false;
        }
    }

    /// Everything that was announced and did not come.
    pub(super) fn drain(&mut self) -> Vec<Announced> {
        std::mem::take(&mut self.announced)
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        let topics = self.announced.iter().filter_map(|announced| announced.topic.as_ref()).map(|topic| topic.len());
        let entries = self.announced.capacity().saturating_mul(size_of::<Announced>());
        topics.fold(entries, usize::saturating_add)
    }
}
