//! Methods (AMQP 0-9-1 specification, sections 1.1 to 1.8; with the extensions of RabbitMQ): which there are, who sends them, and
//! of those that carry a message where it goes.

use super::cursor::Cursor;
use crate::decode::http1::start_line::Role;
use crate::message::Way;

/// The longest arguments of a method that carries a message: three short strings and the numbers of basic.deliver.
pub(super) const ARGUMENTS_BYTES_MAX: u64 = 1024;

/// Class and method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) struct Id(u16, u16);

/// Who sends a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Only(Role),
    Both,
}

impl Sender {
    pub(super) fn may_be(self, role: Role) -> bool {
        self == Self::Both || self == Self::Only(role)
    }
}

/// What a method says of the message behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route<'a> {
    pub(super) way: Way,
    exchange: &'a [u8],
    routing_key: &'a [u8],
    /// Whether it came back to its sender, since no queue took it.
    is_returned: bool,
}

impl Id {
    const CONNECTION_START: Self = Self(10, 10);
    const PUBLISH: Self = Self(60, 40);
    const RETURN: Self = Self(60, 50);
    const DELIVER: Self = Self(60, 60);
    const GET_OK: Self = Self(60, 71);

    /// The method that a payload begins with.
    pub(super) fn at(payload: &[u8]) -> Option<Self> {
        let [c0, c1, m0, m1, ..] = *payload else { return None };
        Some(Self(u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1])))
    }

    /// Who sends it; `None` if there is no such method.
    pub(super) fn sender(self) -> Option<Sender> {
        let Self(class, method) = self;
        // By class: connection, channel, access, exchange, queue, basic, confirm, tx.
        let sender = match (class, method) {
            // close and its answer, flow, basic.cancel, ack and nack.
            (10, 50 | 51) | (20, 20 | 21 | 40 | 41) | (60, 30 | 31 | 80 | 120) => Sender::Both,
            (10, 11 | 21 | 31 | 40 | 70)
            | (20 | 30 | 85, 10)
            | (40, 10 | 20 | 30 | 40)
            | (50, 10 | 20 | 30 | 40 | 50)
            | (60, 10 | 20 | 40 | 70 | 90 | 100 | 110)
            | (90, 10 | 20 | 30) => Sender::Only(Role::Requests),
            (10, 10 | 20 | 30 | 41 | 60 | 61 | 71)
            | (20 | 30 | 85, 11)
            | (40, 11 | 21 | 31 | 51)
            | (50, 11 | 21 | 31 | 41 | 51)
            | (60, 11 | 21 | 50 | 60 | 71 | 72 | 111)
            | (90, 11 | 21 | 31) => Sender::Only(Role::Responses),
            _ => return None,
        };
        Some(sender)
    }

    /// Whether a message follows it.
    pub(super) fn carries_content(self) -> bool {
        matches!(self, Self::PUBLISH | Self::RETURN | Self::DELIVER | Self::GET_OK)
    }

    /// Whether it tells by itself that a connection is AMQP.
    pub(super) fn is_telling(self) -> bool {
        self == Self::CONNECTION_START || self.carries_content()
    }

    /// Whether a method of this channel may have this payload.
    pub(super) fn fits(self, channel: u16, payload: &[u8]) -> bool {
        let Self(class, _) = self;
        let arguments = payload.get(4..).unwrap_or_default();
        (class == 10) == (channel == 0)
            && (!self.carries_content() || Route::of(self, arguments).is_some())
            // Version 0-9 and the table of what the broker is.
            && (self != Self::CONNECTION_START || arguments.starts_with(&[0, 9, 0, 0]))
    }
}

impl<'a> Route<'a> {
    /// Where the message goes that follows a method with these arguments; `None` if these are none of such a method.
    pub(super) fn of(id: Id, arguments: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor(arguments);
        let way = match id {
            Id::PUBLISH => {
                // Reserved, once a ticket.
                cursor.take(2)?;
                Way::Produced
            }
            Id::RETURN => {
                // The code of the reason and its text.
                cursor.take(2)?;
                cursor.short_string()?;
                Way::Fetched
            }
            Id::DELIVER => {
                // The consumer's tag, the delivery's, and whether it was delivered before.
                cursor.short_string()?;
                cursor.take(9)?;
                Way::Fetched
            }
            Id::GET_OK => {
                cursor.take(9)?;
                Way::Fetched
            }
            _ => return None,
        };
        let (exchange, routing_key) = (cursor.short_string()?, cursor.short_string()?);
        let is_whole = match id {
            // Mandatory and immediate.
            Id::PUBLISH => matches!(cursor.0, [0..=3]),
            // The number of messages that are left.
            Id::GET_OK => cursor.0.len() == 4,
            _ => cursor.0.is_empty(),
        };
        is_whole.then_some(Self { way, exchange, routing_key, is_returned: id == Id::RETURN })
    }

    /// What the message is addressed to: the exchange, or the queue where that is the default one. `None` where it is no work for
    /// anybody: the answer to a request, which goes to a queue that the broker named (`amq.gen-`, `amq.rabbitmq.reply-to`), what
    /// the broker tells of itself (`amq.rabbitmq.trace`, `.log`, `.event`), and what came back.
    pub(super) fn topic(&self) -> Option<&'a [u8]> {
        let is_default = self.exchange.is_empty();
        let is_reply = is_default && self.routing_key.starts_with(b"amq.");
        let is_brokers = self.exchange.starts_with(b"amq.rabbitmq.");
        let topic = if is_default { self.routing_key } else { self.exchange };
        (!is_reply && !is_brokers && !self.is_returned).then_some(topic)
    }
}
