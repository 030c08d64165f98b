//! What is made of a connection that the kernel tells whole, taking it for one to a broker: what of it need not be told comes
//! out.

use observer_core::connection::Packet;
use observer_core::decode::Conversation;
use observer_core::message::End;
use observer_ebpf::broker::is_of_redis;
use observer_ebpf::flow::LeftOut;

/// Bytes that a stretch which nobody needs must have left to be worth a word to the kernel: a packet at most comes meanwhile.
const LEFT_OUT_BYTES_MIN: u32 = 64 * 1024;
/// Packets without any sign of a protocol after which a connection is taken for none of a broker.
const UNKNOWN_PACKETS_MAX: u8 = 64;

/// What was made of a stream so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StreamUse {
    unknown: u8,
}

impl StreamUse {
    /// What the kernel is to leave out after a packet that was decoded.
    pub(super) fn leaves_out(
        &mut self,
        conversation: &Conversation,
        packet: &Packet<'_>,
        from: End,
    ) -> Option<LeftOut> {
        match conversation.protocol() {
            Some(protocol) if protocol.is_of_broker() => {
                self.unknown = 0;
                let until = conversation.unneeded(from)?;
                let left = until.wrapping_sub(packet.seq.wrapping_add(packet.wire_len));
                (LEFT_OUT_BYTES_MIN..1 << 31).contains(&left).then_some(LeftOut::Until(until))
            }
            // A looped flow at its receiver has a token, too, where its sender is not seen.
            Some(_) => (self.unknown > 0).then(|| self.gives_up()),
            None => {
                self.unknown += 1;
                (self.unknown >= UNKNOWN_PACKETS_MAX).then(|| self.gives_up())
            }
        }
    }

    fn gives_up(&mut self) -> LeftOut {
        self.unknown = 0;
        LeftOut::Stream
    }
}

/// Whether bytes begin like what the kernel takes for Redis.
pub(super) fn looks_like_redis(bytes: &[u8]) -> bool {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes.first_chunk().is_some_and(|low| is_of_redis(u64::from_le_bytes(*low), len))
}
