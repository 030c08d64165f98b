//! The first line of a head: bytes come in, a request line or a status line goes out, or what it may still become.

use std::borrow::Cow;

use memchr::{memchr, memrchr};

use crate::message::Protocol;

/// Which of the two directions of a connection bytes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// From the client.
    Requests,
    /// From the server.
    Responses,
}

/// Whether bytes can be the beginning of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looks {
    /// A whole first line, or enough of one to tell it from any other protocol.
    Yes,
    /// A prefix of one; more bytes will tell.
    Perhaps,
    /// No head begins like this.
    No,
}

/// A first line (RFC 9112 sections 3 and 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartLine<'a> {
    Request { method: &'a str, target: &'a [u8], protocol: Protocol },
    Status { status: u16, protocol: Protocol },
}

/// The longest method of the IANA registry is UPDATEREDIRECTREF, 17 letters.
const METHOD_BYTES_MAX: usize = 17;
/// `HTTP/1.`: RFC 9112 section 2.3; the minor version follows.
const VERSION: &[u8] = b"HTTP/1.";

/// The methods of the IANA registry (HTTP Method Registry) and PURGE, the usual ones first; without those that another one
/// ends with (BIND, CHECKOUT, LINK, LOCK) and PRI, which is no request.
const METHODS: [&str; 36] = [
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "HEAD",
    "PATCH",
    "OPTIONS",
    "CONNECT",
    "TRACE",
    "ACL",
    "BASELINE-CONTROL",
    "CHECKIN",
    "COPY",
    "LABEL",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

impl<'a> StartLine<'a> {
    /// Reads a first line without its line end.
    pub(super) fn parse(role: Role, line: &'a [u8]) -> Option<Self> {
        match role {
            Role::Requests => Self::request(line),
            Role::Responses => Self::status(line),
        }
    }

    fn request(line: &'a [u8]) -> Option<Self> {
        let (method, rest) = split_method(line)?;
        let last_space = memrchr(b' ', rest)?;
        let protocol = protocol(rest.get(last_space.checked_add(1)?..)?)?;
        let target = rest.get(..last_space)?.trim_ascii();
        let known = target_looks(method, target) == Looks::Yes && method != b"PRI";
        let method = std::str::from_utf8(method).ok()?;
        known.then_some(Self::Request { method, target, protocol })
    }

    fn status(line: &'a [u8]) -> Option<Self> {
        let protocol = protocol(line.get(..8)?)?;
        let [b' ', hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] = line.get(8..)? else {
            return None;
        };
        if !matches!(rest.first(), None | Some(b' ')) {
            return None;
        }
        let status = [hundreds, tens, ones]
            .iter()
            .fold(0_u16, |sum, &&digit| sum.wrapping_mul(10).wrapping_add(u16::from(digit & 15)));
        Some(Self::Status { status, protocol })
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Request { protocol, .. } | Self::Status { protocol, .. } => *protocol,
        }
    }
}

/// Whether `bytes`, which stand where a head may begin, look like one.
pub(crate) fn looks(role: Role, bytes: &[u8]) -> Looks {
    if let Some(end) = memchr(b'\n', bytes) {
        let line = without_cr(bytes.get(..end).unwrap_or_default());
        return if StartLine::parse(role, line).is_some() { Looks::Yes } else { Looks::No };
    }
    match role {
        Role::Requests => {
            if let Some((method, rest)) = split_method(bytes) {
                return target_looks(method, rest);
            }
            let method_so_far = bytes.len() <= METHOD_BYTES_MAX && bytes.iter().all(|&byte| is_method_byte(byte));
            if method_so_far { Looks::Perhaps } else { Looks::No }
        }
        Role::Responses => match bytes.get(..VERSION.len()) {
            Some(start) if start == VERSION => Looks::Yes,
            None if VERSION.starts_with(bytes) => Looks::Perhaps,
            _ => Looks::No,
        },
    }
}

/// Whether `bytes`, before which others may be missing, look like a head. The end of a request line can look like one with
/// another method (`ET /`), so the method must be a registered one.
pub(crate) fn looks_anywhere(role: Role, bytes: &[u8]) -> Looks {
    let looks = looks(role, bytes);
    if role == Role::Responses || looks == Looks::No {
        return looks;
    }
    let known = match split_method(bytes) {
        Some((method, _)) => METHODS.iter().any(|known| known.as_bytes() == method),
        None => METHODS.iter().any(|known| known.as_bytes().starts_with(bytes)),
    };
    if known { looks } else { Looks::No }
}

/// The target without scheme, authority and query: `/cart/7` of `http://shop/cart/7?key=1` (RFC 9112 section 3.2). Bytes that
/// are not UTF-8 are replaced.
pub(super) fn path<'a>(method: &str, target: &'a [u8]) -> Cow<'a, str> {
    let target = memchr(b'?', target).and_then(|query| target.get(..query)).unwrap_or(target);
    if target.first() == Some(&b'/') || method == "CONNECT" {
        return String::from_utf8_lossy(target);
    }
    let Some(authority) = memchr::memmem::find(target, b"://").and_then(|colon| target.get(colon.saturating_add(3)..))
    else {
        return String::from_utf8_lossy(target);
    };
    match memchr(b'/', authority).and_then(|slash| authority.get(slash..)) {
        Some(path) => String::from_utf8_lossy(path),
        None => Cow::Borrowed("/"),
    }
}

/// The line without a carriage return at its end: a bare line feed ends a line too (RFC 9112 section 2.2).
pub(super) fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn split_method(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = line.iter().take(METHOD_BYTES_MAX.saturating_add(1)).position(|&byte| !is_method_byte(byte))?;
    let (method, rest) = line.split_at_checked(space)?;
    let rest = rest.strip_prefix(b" ")?;
    (!method.is_empty()).then_some((method, rest))
}

/// Every registered method is made of these.
fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'-'
}

/// A path, `*`, an absolute URI or, of CONNECT, an authority (RFC 9112 section 3.2).
fn target_looks(method: &[u8], target: &[u8]) -> Looks {
    match target.first() {
        None => Looks::Perhaps,
        Some(b'/' | b'*') => Looks::Yes,
        Some(first) if method == b"CONNECT" => {
            // NATS begins with a JSON object.
            if first.is_ascii_graphic() && *first != b'{' { Looks::Yes } else { Looks::No }
        }
        Some(_) => {
            let scheme = target.get(..4).unwrap_or(target);
            match b"http".get(..scheme.len()) {
                Some(wanted) if scheme.eq_ignore_ascii_case(wanted) => {
                    if scheme.len() == 4 {
                        Looks::Yes
                    } else {
                        Looks::Perhaps
                    }
                }
                _ => Looks::No,
            }
        }
    }
}

fn protocol(version: &[u8]) -> Option<Protocol> {
    match version.strip_prefix(VERSION)? {
        [b'0'] => Some(Protocol::Http10),
        [b'1'..=b'9'] => Some(Protocol::Http11),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_of_a_head_looks_like_one() {
        for (role, head) in [
            (Role::Requests, &b"GET / HTTP/1.1\r\n"[..]),
            (Role::Requests, b"UPDATEREDIRECTREF /a HTTP/1.0\n"),
            (Role::Requests, b"POST http://a/b HTTP/1.1\r\n"),
            (Role::Requests, b"CONNECT a.example:443 HTTP/1.1\r\n"),
            (Role::Requests, b"OPTIONS * HTTP/1.1\r\n"),
            (Role::Responses, b"HTTP/1.1 200 OK\r\n"),
            (Role::Responses, b"HTTP/1.0 404 \r\n"),
            (Role::Responses, b"HTTP/1.1 204\r\n"),
        ] {
            for len in 1..head.len() {
                assert_ne!(looks(role, &head[..len]), Looks::No, "{}", String::from_utf8_lossy(&head[..len]));
            }
            assert_eq!(looks(role, head), Looks::Yes);
        }
    }

    #[test]
    fn other_protocols_and_text_do_not() {
        for text in [
            "PRI * HTTP/2.0\r\n",
            "GET /\r\n",
            "get / HTTP/1.1\r\n",
            "QUIT\r\n",
            "GET  HTTP/1.1\r\n",
            "MAIL FROM:<a>\r\n",
            "GET / HTTP/1.1 and more\r\n",
            "PRI * HTTP/1.1\r\n",
            "CONNECT {\"verbose\":false}\r\n",
            "CONNECT {\"verbose",
        ] {
            assert_eq!(looks(Role::Requests, text.as_bytes()), Looks::No, "{text}");
        }
        for text in ["HTTP/2 200\r\n", "HTTP/1.1 20\r\n", "HTTP/1.1 2000\r\n", "HTTP/1.1 abc\r\n", "HTTPS\r\n"] {
            assert_eq!(looks(Role::Responses, text.as_bytes()), Looks::No, "{text}");
        }
    }

    #[test]
    fn where_bytes_may_be_missing_no_method_is_the_end_of_another() {
        for (number, method) in METHODS.iter().enumerate() {
            let longer = METHODS.iter().filter(|other| *other != method && other.ends_with(method));
            // ORDERPATCH ends with PATCH, which cannot be done without.
            assert!(longer.count() == 0 || *method == "PATCH", "{method}");
            assert!(!METHODS[..number].contains(method));
        }
        assert_eq!(looks_anywhere(Role::Requests, b"ET / HTTP/1.1\r\n"), Looks::No);
        assert_eq!(looks_anywhere(Role::Requests, b"ET"), Looks::No);
        assert_eq!(looks_anywhere(Role::Requests, b"PROPF"), Looks::Perhaps);
        assert_eq!(looks_anywhere(Role::Requests, b"GET / HTTP/1.1\r\n"), Looks::Yes);
    }

    #[test]
    fn the_path_is_the_target_without_scheme_authority_and_query() {
        for (method, target, expected) in [
            ("GET", &b"/cart/7?token=secret"[..], "/cart/7"),
            ("GET", b"http://shop.example:80/a/b?c=http://d/e", "/a/b"),
            ("GET", b"http://shop.example", "/"),
            ("GET", b"http://shop.example?q=1", "/"),
            ("OPTIONS", b"*", "*"),
            ("CONNECT", b"shop.example:443", "shop.example:443"),
            ("GET", b"/caf\xe9", "/caf\u{fffd}"),
        ] {
            assert_eq!(path(method, target), expected);
        }
    }
}
