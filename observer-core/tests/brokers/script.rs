//! Made-up conversations: what a client and a broker say to each other, and what is to be told of it.

use observer_core::message::{End, Protocol};
use proptest::prelude::*;

use crate::tap::Runs;
use crate::{amqp_wire as amqp, nats_wire as nats};

/// A conversation.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) protocol: Protocol,
    /// What the ends send, first what opens a connection, then a message a run.
    pub(crate) runs: Runs,
    /// How many runs open it.
    pub(crate) opening: usize,
    /// Of each run what is to be told.
    pub(crate) told: Vec<Vec<String>>,
}

impl Script {
    /// What is to be told where no byte is missing, in the order of the wire.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.told.concat()
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Produced,
    Fetched,
}

#[derive(Clone, Debug)]
enum Step {
    /// A message, by the number of its address, and how many channels announce theirs at once.
    Message { way: Way, address: usize, traced: bool, others: usize, body: Body, channels: usize },
    /// An answer to a request.
    Answer(Way),
    /// What peers say besides.
    Chatter,
}

/// What stands in a message.
#[derive(Clone, Debug)]
enum Body {
    Bytes(Vec<u8>),
    Long(usize),
    /// Whole messages that nobody sent.
    Fake,
}

const ADDRESSES: [&str; 3] = ["orders", "payments.new", "audit_log-7"];
/// How frames and lines begin that nobody sent: no piece does.
pub(crate) const FAKES: [&[u8]; 4] = [b"\x01\0\x09", b"\x02\0\x09", b"\x03\0\x09", b"HPUB fake"];

fn step() -> impl Strategy<Value = Step> {
    let way = prop_oneof![Just(Way::Produced), Just(Way::Fetched)];
    let body = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Body::Bytes),
        1 => (0..9000_usize).prop_map(Body::Long),
        1 => Just(Body::Fake),
    ];
    prop_oneof![
        6 => (way.clone(), 0..3_usize, any::<bool>(), 0..3_usize, body, 1..4_usize).prop_map(
            |(way, address, traced, others, body, channels)| Step::Message { way, address, traced, others, body, channels }
        ),
        1 => way.prop_map(Step::Answer),
        1 => Just(Step::Chatter),
    ]
}

pub(crate) fn script() -> impl Strategy<Value = Script> {
    (any::<bool>(), prop::collection::vec(step(), 1..12)).prop_map(|(is_amqp, steps)| {
        let mut writer = Writer { number: 0, is_amqp };
        let opening = if is_amqp { amqp_opening() } else { nats_opening() };
        let mut script = Script {
            protocol: if is_amqp { Protocol::Amqp } else { Protocol::Nats },
            opening: opening.len(),
            told: vec![vec![]; opening.len()],
            runs: opening,
        };
        for step in &steps {
            for (from, bytes, told) in writer.step(step) {
                script.runs.push((from, bytes));
                script.told.push(told);
            }
        }
        script
    })
}

pub(crate) fn amqp_opening() -> Runs {
    [End::First, End::Second].into_iter().cycle().zip(amqp::opening()).collect()
}

pub(crate) fn nats_opening() -> Runs {
    vec![
        (End::Second, nats::INFO.to_vec()),
        (End::First, [nats::CONNECT, b"PING\r\n"].concat()),
        (End::Second, b"PONG\r\n".to_vec()),
        (End::First, b"SUB orders.* billing 1\r\n".to_vec()),
    ]
}

struct Writer {
    number: u32,
    is_amqp: bool,
}

impl Writer {
    fn step(&mut self, step: &Step) -> Vec<(End, Vec<u8>, Vec<String>)> {
        match step {
            Step::Chatter if self.is_amqp => vec![
                (End::First, amqp::heartbeat(), vec![]),
                (End::Second, amqp::method(1, 60, 80, &[0, 0, 0, 0, 0, 0, 0, 1, 0]), vec![]),
            ],
            Step::Chatter => {
                vec![(End::First, b"PING\r\n".to_vec(), vec![]), (End::Second, b"+OK\r\nPONG\r\n".to_vec(), vec![])]
            }
            Step::Answer(way) => {
                self.number += 1;
                let trace = format!("answer-{}", self.number);
                let (end, bytes) = match (self.is_amqp, way) {
                    (true, Way::Produced) => (End::First, amqp::message(amqp::publish(3, "", "amq.gen-a"), 3, &trace)),
                    (true, Way::Fetched) => {
                        (End::Second, amqp::message(amqp::deliver(3, "", "amq.rabbitmq.reply-to.g"), 3, &trace))
                    }
                    (false, way) => self.nats(*way, "_INBOX.Xy.1", Some(&trace), 1, b"answer"),
                };
                vec![(end, bytes, vec![])]
            }
            Step::Message { way, address, traced, others, body, channels } => {
                let count = if self.is_amqp { *channels } else { 1 };
                let traces: Vec<(Option<String>, String)> =
                    (0..count).map(|_| self.trace(*way, ADDRESSES[*address], *traced)).collect();
                let lines: Vec<String> = traces.iter().map(|(_, line)| line.clone()).collect();
                let body = self.body(body);
                if !self.is_amqp {
                    let (end, bytes) = self.nats(*way, ADDRESSES[*address], traces[0].0.as_deref(), *others, &body);
                    return vec![(end, bytes, lines)];
                }
                let mut parts = [Vec::new(), Vec::new(), Vec::new()];
                for (channel, (trace, _)) in (1..).zip(&traces) {
                    let table = Self::table(trace.as_deref(), *others);
                    let topic = ADDRESSES[*address];
                    parts[0].extend(match way {
                        Way::Produced if *others == 0 => amqp::publish(channel, "", topic),
                        Way::Produced => amqp::publish(channel, topic, "key"),
                        Way::Fetched if *others == 0 => amqp::get_ok(channel, "", topic),
                        Way::Fetched => amqp::deliver(channel, topic, "key"),
                    });
                    parts[1].extend(amqp::content(channel, body.len(), table.as_deref()));
                    parts[2].extend(amqp::body(channel, &body, 4088));
                }
                let end = if matches!(way, Way::Produced) { End::First } else { End::Second };
                vec![(end, parts.concat(), lines)]
            }
        }
    }

    /// The next trace, and the line that is to be told of its message.
    fn trace(&mut self, way: Way, topic: &str, traced: bool) -> (Option<String>, String) {
        self.number += 1;
        let sign = if matches!(way, Way::Produced) { '>' } else { '<' };
        if traced {
            let trace = format!("trace-{}", self.number);
            let line = format!("{sign} {topic} | traceparent: {trace}");
            (Some(trace), line)
        } else {
            (None, format!("{sign} {topic}"))
        }
    }

    fn table(trace: Option<&str>, others: usize) -> Option<Vec<u8>> {
        let mut table = Vec::new();
        for _ in 0..others {
            table.extend(amqp::field("nested", b'F', &amqp::text("traceparent", "never sent")));
            table.extend(amqp::field("count", b'I', &[0, 0, 0, 9]));
        }
        table.extend(trace.map(|trace| amqp::text("traceparent", trace)).unwrap_or_default());
        (!table.is_empty()).then_some(table)
    }

    fn nats(&self, way: Way, subject: &str, trace: Option<&str>, others: usize, body: &[u8]) -> (End, Vec<u8>) {
        let mut headers = vec![("secret", "traceparent: never sent"); others];
        headers.extend(trace.map(|trace| ("traceparent", trace)));
        let headers = (!headers.is_empty()).then_some(&headers[..]);
        let reply = if self.number.is_multiple_of(2) { "" } else { " _INBOX.a.b" };
        let (end, verb, words) = match way {
            Way::Produced => (End::First, "PUB", format!("{subject}{reply}")),
            Way::Fetched => (End::Second, "MSG", format!("{subject} {}{reply}", self.number)),
        };
        (end, nats::message(verb, &words, headers, body))
    }

    fn body(&self, body: &Body) -> Vec<u8> {
        let fake = if self.is_amqp {
            amqp::message(amqp::publish(9, "fake", ""), 9, "never sent")
        } else {
            nats::message("PUB", "fake", Some(&[("traceparent", "never sent")]), b"")
        };
        match body {
            Body::Bytes(bytes) => bytes.clone(),
            Body::Long(len) => vec![b'x'; *len],
            Body::Fake => [b"some text".to_vec(), fake.repeat(2), b"more text".to_vec()].concat(),
        }
    }
}
