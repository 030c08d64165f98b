//! Why something that should have been told was not: every reason is a counter in the kernel and a label in the metrics.

/// A reason of loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Loss {
    /// A packet's record found the ring full.
    RingFull = 0,
    /// A socket event was given up because packets had filled half of the ring.
    SocketEventRingFull = 1,
    /// A flow with an unfinished head lost its slot to another flow.
    FlowEvicted = 2,
    /// Headers that contradict each other or end before they should.
    Malformed = 3,
    /// An IP fragment of a TCP packet: only whole packets are read.
    Fragment = 4,
    /// The kernel refused to copy bytes that the headers promise.
    Unreadable = 5,
    /// IPv6 extension headers beyond those that are skipped.
    ExtensionHeaders = 6,
    /// A frame header of HTTP/2 did not pass, or what stands in its place is none: what follows is left out until frames are
    /// recognised again. Counted once each time.
    FrameMissed = 7,
    /// A call of a TLS library, or a session, for which there was no room; or a call of more bytes than any takes.
    TlsCall = 8,
}

impl Loss {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::RingFull,
        Self::SocketEventRingFull,
        Self::FlowEvicted,
        Self::Malformed,
        Self::Fragment,
        Self::Unreadable,
        Self::ExtensionHeaders,
        Self::FrameMissed,
        Self::TlsCall,
    ];

    /// The value of the `reason` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::SocketEventRingFull => "socket_event_ring_full",
            Self::FlowEvicted => "flow_evicted",
            Self::Malformed => "malformed",
            Self::Fragment => "fragment",
            Self::Unreadable => "unreadable",
            Self::ExtensionHeaders => "extension_headers",
            Self::FrameMissed => "frame_missed",
            Self::TlsCall => "tls_call",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_number() {
        for (number, loss) in Loss::ALL.into_iter().enumerate() {
            assert_eq!(loss as usize, number, "{}", loss.as_str());
        }
    }
}
