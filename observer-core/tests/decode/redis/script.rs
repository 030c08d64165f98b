//! Made-up conversations of Redis: what passes, and what is to be told of it.

use observer_core::message::End;
use proptest::prelude::*;

/// What passes, in order.
pub(super) type Runs = Vec<(End, Vec<u8>)>;

/// The bytes of a request.
pub(super) fn request(words: &[&str]) -> Vec<u8> {
    let values = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), values.collect::<String>()).into_bytes()
}

/// The bytes of a reply: what looks like the line of a token is one, all else a value; `$0` stands for an empty one.
pub(super) fn reply(words: &[&str]) -> Vec<u8> {
    let token = |word: &&str| match word.as_bytes() {
        b"$0" => "$0\r\n\r\n".to_owned(),
        [b'*' | b'%' | b'~' | b'>' | b'|' | b':', b'0'..=b'9' | b'-', ..]
        | [b'+' | b'-' | b'#', _, ..]
        | [b',', ..]
        | b"_"
        | b"$-1" => {
            format!("{word}\r\n")
        }
        _ => format!("${}\r\n{word}\r\n", word.len()),
    };
    words.iter().map(token).collect::<String>().into_bytes()
}

/// A conversation, and what is told of it where nothing is missing.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) runs: Runs,
    pub(super) lines: Vec<String>,
}

/// A request and its reply, and the lines that each gives.
#[derive(Clone, Debug)]
struct Exchange {
    request: Vec<u8>,
    sent: Vec<String>,
    reply: Vec<u8>,
    arrived: Vec<String>,
}

/// What a client and a server do at once.
#[derive(Clone, Debug)]
enum Act {
    /// Requests behind one another, then their replies.
    Burst(Vec<What>),
    /// The same in a transaction, sent at once or not.
    Transaction { whats: Vec<What>, at_once: bool },
    /// A request that waits.
    Wait(What),
    /// A message of a channel comes (RESP3).
    Hear { opaque: bool },
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// Data that look like what is not data, of so many more bytes.
    Get(usize),
    Set(usize),
    Push {
        kombu: bool,
    },
    Pop {
        kombu: bool,
    },
    Add {
        fields: usize,
    },
    Read {
        entries: usize,
    },
    Publish,
    BlockingPop {
        kombu: bool,
        nothing: bool,
    },
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        3 => (0..300_usize).prop_map(What::Get),
        2 => (0..300_usize).prop_map(What::Set),
        1 => any::<bool>().prop_map(|kombu| What::Push { kombu }),
        1 => any::<bool>().prop_map(|kombu| What::Pop { kombu }),
        1 => (0..3_usize).prop_map(|fields| What::Add { fields }),
        1 => (0..4_usize).prop_map(|entries| What::Read { entries }),
        1 => Just(What::Publish),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => prop::collection::vec(what(), 1..5).prop_map(Act::Burst),
        1 => (prop::collection::vec(what(), 0..4), any::<bool>()).prop_map(|(whats, at_once)| Act::Transaction { whats, at_once }),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(kombu, nothing)| Act::Wait(What::BlockingPop { kombu, nothing })),
        1 => any::<bool>().prop_map(|opaque| Act::Hear { opaque }),
    ]
}

/// A conversation of a client that has just connected. No two values in it carry the same trace.
pub(super) fn script() -> impl Strategy<Value = Script> {
    prop::collection::vec(act(), 1..12).prop_map(|acts| {
        let mut script = Script { runs: super::rules::greeting(), lines: Vec::new() };
        let mut traces = 0;
        for act in acts {
            script.play(act, &mut traces);
        }
        script
    })
}

impl Script {
    fn play(&mut self, act: Act, traces: &mut u32) {
        match act {
            Act::Burst(whats) => {
                let exchanges: Vec<Exchange> = whats.into_iter().map(|what| Exchange::new(what, traces)).collect();
                self.both(
                    exchanges.iter().flat_map(|one| one.request.clone()),
                    exchanges.iter().flat_map(|one| one.reply.clone()),
                );
                self.tell(&exchanges);
            }
            Act::Wait(what) => {
                let exchange = Exchange::new(what, traces);
                self.both(exchange.request.iter().copied(), exchange.reply.iter().copied());
                self.tell(&[exchange]);
            }
            Act::Transaction { whats, at_once } => {
                let exchanges: Vec<Exchange> = whats.into_iter().map(|what| Exchange::new(what, traces)).collect();
                let mut requests = vec![(request(&["MULTI"]), reply(&["+OK"]))];
                requests.extend(exchanges.iter().map(|one| (one.request.clone(), reply(&["+QUEUED"]))));
                let mut replies = reply(&[&format!("*{}", exchanges.len())]);
                replies.extend(exchanges.iter().flat_map(|one| one.reply.clone()));
                requests.push((request(&["EXEC"]), replies));
                if at_once {
                    self.both(
                        requests.iter().flat_map(|one| one.0.clone()),
                        requests.iter().flat_map(|one| one.1.clone()),
                    );
                } else {
                    for (request, reply) in requests {
                        self.both(request, reply);
                    }
                }
                self.tell(&exchanges);
            }
            Act::Hear { opaque } => {
                let (text, line) = envelope(traces);
                let (text, line) = if opaque { ("text".into(), "incomplete".to_owned()) } else { (text, line) };
                self.runs.push((End::Second, reply(&[">3", "message", "news", &text])));
                self.lines.push(format!("< - redis Fetched news {line}"));
            }
        }
    }

    fn both(&mut self, request: impl IntoIterator<Item = u8>, reply: impl IntoIterator<Item = u8>) {
        self.runs.push((End::First, request.into_iter().collect()));
        self.runs.push((End::Second, reply.into_iter().collect()));
    }

    fn tell(&mut self, exchanges: &[Exchange]) {
        self.lines.extend(exchanges.iter().flat_map(|one| one.sent.clone()));
        self.lines.extend(exchanges.iter().flat_map(|one| one.arrived.clone()));
    }
}

impl Exchange {
    fn new(what: What, traces: &mut u32) -> Self {
        let mut exchange = Self { request: vec![], sent: vec![], reply: reply(&[":1"]), arrived: vec![] };
        let (text, line) = envelope(traces);
        let opaque = |kombu: bool| if kombu { text.clone() } else { "opaque".to_owned() };
        match what {
            What::Get(more) => {
                exchange.request = request(&["GET", "page"]);
                exchange.reply = reply(&[&format!("{text}{}", " ".repeat(more))]);
            }
            What::Set(more) => exchange.request = request(&["SET", "page", &format!("{text}{}", " ".repeat(more))]),
            What::Push { kombu } => {
                exchange.request = request(&["LPUSH", "jobs", &opaque(kombu), "x"]);
                exchange.sent.extend(kombu.then(|| format!("> - redis Produced jobs {line}")));
            }
            What::Pop { kombu } => {
                exchange.request = request(&["LPOP", "jobs"]);
                exchange.reply = reply(&[&opaque(kombu)]);
                exchange.arrived.extend(kombu.then(|| format!("< - redis Fetched jobs {line}")));
            }
            What::BlockingPop { kombu, nothing } => {
                exchange.request = request(&["BRPOP", "other", "waited", "1"]);
                exchange.reply = if nothing { reply(&["_"]) } else { reply(&["*2", "waited", &opaque(kombu)]) };
                let line = if kombu { &line } else { "incomplete" };
                exchange.arrived.extend((!nothing).then(|| format!("< - redis Fetched waited {line}")));
            }
            What::Add { fields } => {
                let mut words =
                    vec!["XADD".to_owned(), "log".to_owned(), "*".to_owned(), "order".to_owned(), "7".to_owned()];
                let headers = headers(fields, traces, &mut words);
                exchange.request = request(&words.iter().map(String::as_str).collect::<Vec<_>>());
                exchange.reply = reply(&["1-1"]);
                exchange.sent.push(format!("> - redis Produced log{headers}"));
            }
            What::Read { entries } => {
                exchange.request = request(&["XREADGROUP", "GROUP", "g", "c", "STREAMS", "log", ">"]);
                let mut words = vec!["%1".to_owned(), "log".to_owned(), format!("*{entries}")];
                for entry in 0..entries {
                    let mut fields = vec!["order".to_owned(), "7".to_owned()];
                    let headers = headers(entry, traces, &mut fields);
                    words.extend(["*2".to_owned(), "1-1".to_owned(), format!("*{}", fields.len())]);
                    words.extend(fields);
                    exchange.arrived.push(format!("< - redis Fetched log{headers}"));
                }
                exchange.reply = reply(&words.iter().map(String::as_str).collect::<Vec<_>>());
            }
            What::Publish => {
                exchange.request = request(&["PUBLISH", "news", &text]);
                exchange.sent.push(format!("> - redis Produced news {line}"));
            }
        }
        exchange
    }
}

fn trace(traces: &mut u32) -> String {
    *traces += 1;
    format!("00-{traces:032x}-{traces:016x}-01")
}

/// A message of kombu, and what is told of it.
fn envelope(traces: &mut u32) -> (String, String) {
    let trace = trace(traces);
    let text = format!(r#"{{"body": "e30=", "headers": {{"id": 7, "traceparent": "{trace}"}}, "properties": {{}}}}"#);
    (text, format!("| traceparent: {trace}"))
}

/// Adds so many fields with headers, and returns what is told of them.
fn headers(count: usize, traces: &mut u32, words: &mut Vec<String>) -> String {
    let trace = trace(traces);
    let headers = [("traceparent", trace.as_str()), ("x-tenant-id", "acme")];
    let headers = headers.iter().take(count);
    words.extend(headers.clone().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]));
    headers.fold(String::new(), |line, (name, value)| format!("{line} | {name}: {value}"))
}
