//! Lines (<https://docs.nats.io/reference/reference-protocols/nats-protocol>): a line comes in, what it says goes out.

use crate::decode::http1::start_line::Role;

/// The longest line with a message behind it: nats-server takes no longer one unless it is told otherwise (max_control_line).
pub(super) const LINE_BYTES_MAX: usize = 4096;
/// The largest message that nats-server can be told to take (MAX_PAYLOAD_MAX_SIZE, 64 MiB).
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What ends a message.
pub(super) const LINE_END: &[u8; 2] = b"\r\n";

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A message follows: `PUB`, `HPUB`, `MSG`, `HMSG`.
    Message(Announced<'a>),
    /// Nothing that anybody needs.
    Other,
    /// Servers speak to each other: routes and leaf nodes begin like clients.
    BetweenServers,
}

/// A message that follows a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced<'a> {
    pub(super) subject: &'a [u8],
    /// How long its headers are; `None` where it has none.
    pub(super) headers: Option<usize>,
    /// How long it is, headers included, without the line end behind it.
    pub(super) len: usize,
    /// Whether it is certain where nothing is known of what comes before: the subscription, if there is one, is a number, as all
    /// clients have it; and it cannot be the end of a line with headers, of which the `H` is missing.
    is_distinct: bool,
}

impl<'a> Line<'a> {
    /// What a line from an end with this role says, without its line end; `None` if it is none.
    pub(super) fn of(line: &'a [u8], role: Role) -> Option<Self> {
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        let verb = words.next()?;
        let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
        if is("PING") || is("PONG") {
            return words.next().is_none().then_some(Self::Other);
        }
        let is_other = match role {
            Role::Requests => is("CONNECT") || is("SUB") || is("UNSUB"),
            Role::Responses => is("INFO") || is("+OK") || is("-ERR"),
        };
        if is_other {
            return Some(Self::Other);
        }
        let (has_headers, is_delivered) = match role {
            Role::Requests if is("PUB") => (false, false),
            Role::Requests if is("HPUB") => (true, false),
            Role::Responses if is("MSG") => (false, true),
            Role::Responses if is("HMSG") => (true, true),
            // The server that connects to another one tells of itself as well.
            Role::Requests if is("INFO") => return Some(Self::BetweenServers),
            Role::Responses if is("CONNECT") => return Some(Self::BetweenServers),
            _ => {
                // Where subscriptions and messages of routes and leaf nodes come from.
                let foreign = ["RS+", "RS-", "LS+", "LS-", "RMSG", "LMSG", "A+", "A-"];
                return foreign.iter().any(|name| is(name)).then_some(Self::BetweenServers);
            }
        };
        Announced::of(words, has_headers, is_delivered).map(Self::Message)
    }
}

impl<'a> Announced<'a> {
    /// The words behind the verb: subject, of what is delivered the subscription, where answers go if anywhere, the length of the
    /// headers if there are any, and that of all.
    fn of(mut words: impl Iterator<Item = &'a [u8]>, has_headers: bool, is_delivered: bool) -> Option<Self> {
        let subject = words.next().filter(|subject| subject.iter().all(|byte| *byte > b' ' && *byte != 0x7f))?;
        let subscription = if is_delivered { Some(words.next()?) } else { None };
        let mut rest = [words.next(), words.next(), words.next()].into_iter().flatten();
        let (first, second, third) = (rest.next(), rest.next(), rest.next());
        let (headers, len) = match (has_headers, first, second, third, words.next()) {
            (false, Some(len), None, None, None) | (false, Some(_), Some(len), None, None) => (None, len),
            (true, Some(headers), Some(len), None, None) | (true, Some(_), Some(headers), Some(len), None) => {
                (Some(number(headers)?), len)
            }
            _ => return None,
        };
        let len =
            number(len).filter(|&len| len <= MESSAGE_BYTES_MAX && headers.is_none_or(|headers| headers <= len))?;
        if !subscription.unwrap_or(b"1").iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let is_number = |word: &[u8]| word.iter().all(u8::is_ascii_digit);
        let answers = first.filter(|_| second.is_some() && headers.is_none());
        let is_distinct = subscription.is_none_or(is_number) && !answers.is_some_and(is_number);
        Some(Self { subject, headers, len, is_distinct })
    }

    /// Whether it is work for somebody: not an answer (`_INBOX.`, and what servers make of answers between accounts and clusters,
    /// `_R_.` and `_GR_.`), nor anything of the server's own (`$`: JetStream, key-value and object stores, services, events).
    pub(super) fn is_told(&self) -> bool {
        let untold: [&[u8]; 4] = [b"_INBOX.", b"_R_.", b"_GR_.", b"$"];
        !untold.iter().any(|prefix| self.subject.starts_with(prefix))
    }
}

/// Whether a piece of which nothing is known before it begins with a line from an end that has this role, all but certainly: a
/// whole line, and behind it, and behind the message that it announces, others to the end of the piece.
pub(super) fn begins(bytes: &[u8], role: Role) -> bool {
    follow(bytes, role).is_some_and(|lines| lines > 0)
}

/// How lines begin that tell by themselves that this is NATS, and who sends them: what an end says first, and what announces a
/// message.
const TELLING: [(&[u8], Role, bool); 6] = [
    (b"INFO {", Role::Responses, false),
    (b"CONNECT {", Role::Requests, false),
    (b"PUB ", Role::Requests, true),
    (b"HPUB ", Role::Requests, true),
    (b"MSG ", Role::Responses, true),
    (b"HMSG ", Role::Responses, true),
];

/// Whether a piece begins with a line that tells by itself that this is NATS, and from whom it comes.
pub(super) fn tells(bytes: &[u8]) -> Option<Role> {
    let (_, role, announces) = TELLING.into_iter().find(|(start, ..)| bytes.starts_with(start))?;
    (!announces || begins(bytes, role)).then_some(role)
}

/// Whether bytes are too few to tell.
pub(super) fn may_tell(bytes: &[u8]) -> bool {
    let is_cut = memchr::memchr(b'\n', bytes).is_none();
    let may_be = |(start, _, announces): &(&[u8], Role, bool)| {
        start.starts_with(bytes) || (*announces && is_cut && bytes.starts_with(start))
    };
    !bytes.is_empty() && TELLING.iter().any(may_be)
}

/// How many whole lines bytes hold; `None` where anything else stands among them, but for what is cut at the end.
fn follow(mut bytes: &[u8], role: Role) -> Option<u32> {
    let mut lines = 0_u32;
    while !bytes.is_empty() {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            return may_begin(bytes, role).then_some(lines);
        };
        let (line, rest) = bytes.split_at_checked(end.checked_add(1)?)?;
        let line = line.strip_suffix(LINE_END)?;
        bytes = rest;
        lines = lines.saturating_add(1);
        match Line::of(line, role)? {
            Line::Message(message) if message.is_distinct => {
                if message.headers.is_some_and(|len| len > 0)
                    && !rest.starts_with(b"NATS/1.0".get(..rest.len().min(8))?)
                {
                    return None;
                }
                match rest.split_at_checked(message.len) {
                    Some((_, rest)) if rest.len() >= LINE_END.len() => bytes = rest.strip_prefix(LINE_END)?,
                    Some((_, rest)) => return LINE_END.starts_with(rest).then_some(lines),
                    None => return Some(lines),
                }
            }
            Line::Message(_) | Line::BetweenServers => return None,
            Line::Other => {}
        }
    }
    Some(lines)
}

/// Whether a line that is cut may begin like this.
fn may_begin(bytes: &[u8], role: Role) -> bool {
    let verbs: [&[u8]; 7] = match role {
        Role::Requests => [b"PING\r", b"PONG\r", b"CONNECT {", b"SUB ", b"UNSUB ", b"PUB ", b"HPUB "],
        Role::Responses => [b"PING\r", b"PONG\r", b"INFO {", b"+OK\r", b"-ERR ", b"MSG ", b"HMSG "],
    };
    verbs.iter().any(|verb| bytes.starts_with(verb) || verb.starts_with(bytes))
}

/// A decimal number.
fn number(word: &[u8]) -> Option<usize> {
    if word.is_empty() || word.len() > 9 || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(word).ok()?.parse().ok()
}
