//! How a payload opens: the first sixteen bytes come in, what they can be the beginning of goes out. Whether it really is a
//! head the decoder finds out; here a wrong yes costs a copy and a wrong no costs a message.

use crate::frame::{HEADER_BYTES, frame};

/// What a payload can be the beginning of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Neither of the others.
    Other,
    /// The head of an HTTP/1 request or response, or the first bytes of one.
    Head,
    /// A TLS record.
    Tls,
    /// The preface of HTTP/2.
    Http2,
    /// A frame of HTTP/2, if others follow it.
    Frame,
    /// The record that begins a FastCGI request.
    FastCgi,
    /// A PROXY header: what the connection carries comes behind it.
    Proxy,
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Tells how a payload opens by its first sixteen bytes (`low` the first eight, `high` the next, both little-endian; what lies
/// past `len` is zero). `len` bytes are valid; more than sixteen count as sixteen.
#[inline(always)]
pub const fn opening(low: u64, high: u64, len: u32) -> Opening {
    let first = low as u8;
    if first.wrapping_sub(b'A') < 26 {
        return if is_response(low, len) || is_request(low, high, len) {
            if len >= 8 && low == u64::from_le_bytes(*b"PRI * HT") {
                // RFC 9113 sections 3.4 and 11.6: the method is for nothing else.
                return Opening::Http2;
            }
            Opening::Head
        } else if len >= 6 && low << 16 == u64::from_le_bytes(*b"\0\0PROXY ") {
            // The PROXY protocol section 2.1.
            Opening::Proxy
        } else {
            Opening::Other
        };
    }
    if first == 0 {
        return if len >= HEADER_BYTES && frame(low, high as u8).plausible { Opening::Frame } else { Opening::Other };
    }
    // RFC 8446 section 5.1: content type 20 to 23, version 0x0300 to 0x0304, at most 2^14 + 256 bytes.
    if len >= 5 && first.wrapping_sub(0x14) < 4 && (low >> 8) as u8 == 3 && (low >> 16) as u8 <= 4 {
        let record_len = ((low >> 24) as u8 as u32) << 8 | (low >> 32) as u8 as u32;
        if record_len != 0 && record_len <= (1 << 14) + 256 {
            return Opening::Tls;
        }
    }
    if len >= 16 && is_fastcgi(low, high) {
        return Opening::FastCgi;
    }
    // The PROXY protocol section 2.2.
    if len >= 12 && low == u64::from_le_bytes(*b"\r\n\r\n\0\r\nQ") && high as u32 == u32::from_le_bytes(*b"UIT\n") {
        return Opening::Proxy;
    }
    Opening::Other
}

/// FastCGI 1.0 section 5.1: version 1, FCGI_BEGIN_REQUEST, any request id, a content of 8 bytes, any padding; a role of 1 to 3,
/// flags that know one bit, and zeros where it reserves bytes.
#[inline(always)]
const fn is_fastcgi(low: u64, high: u64) -> bool {
    let role = high as u32 >> 8 & 0xff;
    low & 0xff00_ffff_0000_ffff == u64::from_le_bytes([1, 1, 0, 0, 0, 8, 0, 0])
        && high & 0xffff_ffff_fffe_00ff == 0
        && role.wrapping_sub(1) < 3
}

/// `HTTP/1.`, or as much of it as there is (RFC 9112 section 4).
#[inline(always)]
const fn is_response(low: u64, len: u32) -> bool {
    let shift = if len >= 7 { 8 } else { 64 - 8 * len };
    (low ^ u64::from_le_bytes(*b"HTTP/1.\0")) << shift == 0
}

/// A method, one space and the beginning of a target (RFC 9112 section 3), or as much of it as there is. A method is one to
/// fifteen capital letters and hyphens, which every method of the IANA registry is but UPDATEREDIRECTREF.
#[inline(always)]
const fn is_request(low: u64, high: u64, len: u32) -> bool {
    let spaces = zero_bytes(low ^ (0x20 * LOW_BITS));
    if spaces != 0 {
        // All bytes below the first space.
        let method = lowest(spaces).wrapping_sub(0x80);
        if other_than_method(low) & method != 0 {
            return false;
        }
        let shift = lowest(spaces).trailing_zeros() + 1;
        let target = if shift >= 64 { high } else { low >> shift | high << (64 - shift) };
        let space_at = shift / 8;
        // NATS greets with `CONNECT {`; a host and port never begin with a brace (RFC 9112 section 3.2.3).
        return is_target(target, len.saturating_sub(space_at))
            || (low == u64::from_le_bytes(*b"CONNECT ") && high as u8 != b'{');
    }
    if len < 8 {
        // Nothing but the beginning of a method, so far.
        return other_than_method(low) << (64 - 8 * len) == 0;
    }
    if other_than_method(low) != 0 {
        return false;
    }
    let spaces = zero_bytes(high ^ (0x20 * LOW_BITS));
    if spaces != 0 {
        return other_than_method(high) & lowest(spaces).wrapping_sub(0x80) == 0;
    }
    len < 16 && (len == 8 || other_than_method(high) << (128 - 8 * len) == 0)
}

/// `/`, `*` or `http` in any case (RFC 9112 section 3.2), or as much of it as there is.
#[inline(always)]
const fn is_target(target: u64, len: u32) -> bool {
    if len == 0 {
        return true;
    }
    let first = target as u8;
    if first == b'/' || first == b'*' {
        return true;
    }
    let shift = if len >= 4 { 0 } else { 32 - 8 * len };
    ((target as u32 | 0x2020_2020) ^ u32::from_le_bytes(*b"http")) << shift == 0
}

/// Marks (0x80) the bytes that are neither capital letters nor hyphens; only the marks are set.
#[inline(always)]
const fn other_than_method(word: u64) -> u64 {
    // Seven bits a byte, so that no sum carries into its neighbour.
    let seven = word & !HIGH_BITS;
    let from_a = seven + (0x80 - b'A' as u64) * LOW_BITS;
    let past_z = seven + (0x7f - b'Z' as u64) * LOW_BITS;
    let capital = from_a & !past_z & !word & HIGH_BITS;
    !(capital | zero_bytes(word ^ (b'-' as u64 * LOW_BITS))) & HIGH_BITS
}

/// Marks (0x80) the bytes that are zero, exactly (no carry from a lower byte).
#[inline(always)]
const fn zero_bytes(word: u64) -> u64 {
    !(((word & !HIGH_BITS) + !HIGH_BITS) | word) & HIGH_BITS
}

/// The lowest bit that is set.
#[inline(always)]
const fn lowest(bits: u64) -> u64 {
    bits & bits.wrapping_neg()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;
    use std::string::String;

    fn of(bytes: &[u8]) -> Opening {
        let mut first = [0; 16];
        let len = bytes.len().min(16);
        first[..len].copy_from_slice(&bytes[..len]);
        let words = u128::from_le_bytes(first);
        opening(words as u64, (words >> 64) as u64, bytes.len() as u32)
    }

    #[test]
    fn every_registered_method_opens_a_head_and_so_does_every_prefix_of_it() {
        let methods = "ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE \
                       MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PROPFIND \
                       PROPPATCH PUT REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE VERSION-CONTROL";
        for method in methods.split_whitespace().filter(|method| method.len() < 16) {
            for target in ["/", "/a?b HTTP/1.1\r\n", "*", "http://a/", "HTTP://a/"] {
                let whole = format!("{method} {target}");
                for len in 1..=whole.len() {
                    assert_eq!(of(&whole.as_bytes()[..len]), Opening::Head, "{}", &whole[..len]);
                }
            }
        }
        assert_eq!(of(b"CONNECT example.org:443 HTTP/1.1\r\n"), Opening::Head);
    }

    #[test]
    fn responses_open_a_head() {
        for whole in ["HTTP/1.1 200 OK\r\n", "HTTP/1.0 404 Not Found\r\n"] {
            for len in 1..=whole.len() {
                assert_eq!(of(&whole.as_bytes()[..len]), Opening::Head, "{}", &whole[..len]);
            }
        }
    }

    #[test]
    fn other_protocols_open_none() {
        let others: &[&[u8]] = &[
            b"get / HTTP/1.1",
            b"Get /",
            b"GET  /",
            b" GET /",
            b"MAIL FROM:<a@b>",
            b"PING\r\n",
            b"PUB orders 5\r\n",
            b"CONNECT {\"verbose\":false}\r\n",
            b"*3\r\n$3\r\nSET\r\n",
            b"+OK\r\n",
            b"QUIT\r\n",
            b"HTTP X",
            b"Q\0\0\0\x1dselect 1",
            b"<html>",
            b"{\"a\":1}",
            b"\0\0\0\x04",
            b"GET\0/",
            b"G\xc5T /",
            b"SSH-2.0-OpenSSH_9.2",
        ];
        for bytes in others {
            assert_eq!(of(bytes), Opening::Other, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn tls_records_and_the_http2_preface_are_recognised() {
        assert_eq!(of(b"\x16\x03\x01\x02\x00\x01\x00"), Opening::Tls);
        assert_eq!(of(b"\x17\x03\x03\x00\x20aaaaaaa"), Opening::Tls);
        assert_eq!(of(b"\x16\x03\x01\xff\xff\x01\x00"), Opening::Other);
        assert_eq!(of(b"\x18\x03\x03\x00\x20aaaaaaa"), Opening::Other);
        assert_eq!(of(b"\x16\x03"), Opening::Other);
        assert_eq!(of(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Opening::Http2);
        assert_eq!(of(b"PRI * HT"), Opening::Http2);
        assert_eq!(of(b"PRI * H"), Opening::Head);
        assert_eq!(of(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"), Opening::Frame);
        assert_eq!(of(b"\0\0\x06\x04\0\0\0\0"), Opening::Other);
    }

    #[test]
    fn proxy_headers_are_recognised_in_both_versions() {
        assert_eq!(of(b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 80\r\n"), Opening::Proxy);
        assert_eq!(of(b"PROXY UNKNOWN\r\n"), Opening::Proxy);
        assert_eq!(of(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"), Opening::Proxy);
        assert_eq!(of(b"\r\n\r\n\0\r\nQUIT\t\x21\x11\x00\x0c"), Opening::Other);
        assert_eq!(of(b"PROXY"), Opening::Head, "it may still become a method");
        assert_eq!(of(b"PROXY /a HTTP/1.1"), Opening::Head, "and this has a target");
    }

    #[test]
    fn a_fastcgi_request_is_recognised_by_its_first_record() {
        // Responder, kept alive, as web servers open it; then what differs in one place.
        assert_eq!(of(b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x01\x00\x00\x00\x00\x00\x01\x04"), Opening::FastCgi);
        assert_eq!(of(b"\x01\x01\xab\xcd\x00\x08\x07\x00\x00\x03\x00\x00\x00\x00\x00\x00"), Opening::FastCgi);
        for others in [
            &b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x01\x00\x00\x00\x00"[..],
            b"\x02\x01\x00\x01\x00\x08\x00\x00\x00\x01\x01\x00\x00\x00\x00\x00",
            b"\x01\x04\x00\x01\x00\x08\x00\x00\x00\x01\x01\x00\x00\x00\x00\x00",
            b"\x01\x01\x00\x01\x00\x09\x00\x00\x00\x01\x01\x00\x00\x00\x00\x00",
            b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00",
            b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x04\x01\x00\x00\x00\x00\x00",
            b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x02\x00\x00\x00\x00\x00",
            b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x01\x00\x00\x00\x00\x01",
        ] {
            assert_eq!(of(others), Opening::Other, "{others:02x?}");
        }
    }
}
