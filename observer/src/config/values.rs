//! Texts of the configuration come in, typed values go out: durations, sizes, addresses. Errors say what to write.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

/// Reads `500ms`, `60s`, `5m`, `1h`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let wanted = || format!("\"{text}\" is no duration; write for example 500ms, 60s, 5m, 1h or 7d");
    let (number, unit) = split_unit(text).ok_or_else(wanted)?;
    let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wanted)?;
    number.checked_mul(*milliseconds).map(Duration::from_millis).ok_or_else(wanted)
}

/// Reads `128MiB`, `64KiB`, `1GiB`, `100MB`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, u64); 7] = [
        ("B", 1),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ];
    let wanted = || format!("\"{text}\" is no size; write for example 64MiB or 1GiB");
    let (number, unit) = split_unit(text).ok_or_else(wanted)?;
    let (_, bytes) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wanted)?;
    number.checked_mul(*bytes).and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(wanted)
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// Reads `127.0.0.1:9435` or `[::1]:9435`; a lone `:9435` is every address.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    let spelled = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    spelled.parse().map_err(|_| format!("\"{text}\" is no address and port; write for example 127.0.0.1:9435"))
}

/// Reads an address or a network: `10.0.3.7`, `203.0.113.0/24`, `2001:db8::/32`.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(network) = text.parse::<IpNet>() {
        return Ok(network.trunc());
    }
    text.parse::<IpAddr>()
        .map(IpNet::from)
        .map_err(|_| format!("\"{text}\" is no address; write for example 10.0.3.7 or 10.0.3.0/24"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_a_unit() {
        assert_eq!(duration("60s"), Ok(Duration::from_mins(1)));
        assert_eq!(duration("7d"), Ok(Duration::from_hours(168)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(size("128MiB"), Ok(128 << 20));
        assert_eq!(size("1 gib"), Ok(1 << 30));
        for wrong in ["", "60", "s", "-1s", "1.5s", "99999999999999999999d", "213503982334602d", "5 parsecs"] {
            assert!(duration(wrong).is_err(), "{wrong}");
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_network_is_an_address_or_a_prefix() {
        assert_eq!(network("10.0.3.7").map(|network| network.to_string()), Ok("10.0.3.7/32".into()));
        assert_eq!(network("203.0.113.9/24").map(|network| network.to_string()), Ok("203.0.113.0/24".into()));
        assert!(network("10.0.3").is_err());
    }
}
