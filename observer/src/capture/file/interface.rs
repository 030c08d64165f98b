//! An interface of a capture file and a packet's time stamp in its units come in, the time goes out.

use observer_core::time::Timestamp;

use super::frame::Link;

/// What a pcapng section says of an interface; of a pcap file the only one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interface {
    pub(super) link: Option<Link>,
    pub(super) resolution: Resolution,
    pub(super) offset_seconds: i64,
}

/// Units of a second in timestamps.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resolution {
    Decimal(u32),
    Binary(u32),
}

impl Interface {
    pub(super) fn time(&self, units: u64) -> Timestamp {
        let offset = i128::from(self.offset_seconds) * 1_000_000_000;
        let at = i128::from(self.resolution.nanoseconds(units)) + offset;
        Timestamp(u64::try_from(at.max(0)).unwrap_or(u64::MAX))
    }
}

impl Resolution {
    /// `if_tsresol` of a pcapng interface: a negative power of ten, or of two where the top bit is set.
    pub(super) fn of(option: u8) -> Self {
        let exponent = u32::from(option & 0x7f);
        if option & 0x80 == 0 { Self::Decimal(exponent) } else { Self::Binary(exponent) }
    }

    pub(super) fn nanoseconds(self, units: u64) -> u64 {
        let units = u128::from(units);
        let nanoseconds = match self {
            Self::Decimal(exponent @ 0..=9) => units * 10_u128.pow(9 - exponent),
            Self::Decimal(exponent) => 10_u128.checked_pow(exponent - 9).map_or(0, |divisor| units / divisor),
            Self::Binary(exponent) => (units * 1_000_000_000).checked_shr(exponent).unwrap_or(0),
        };
        u64::try_from(nanoseconds).unwrap_or(u64::MAX)
    }
}
