//! Made-up conversations: what a client and a broker say to each other, and what is to be told of it.

use std::collections::BTreeMap;

use observer_core::message::End;
use proptest::prelude::*;

use crate::wire::{Batch, CODECS, Record, Topics, fetch, fetched, heartbeat, metadata, produce, produced};

const CLIENT: Option<&str> = Some("orders-service");
const TOPICS: [&str; 3] = ["orders", "payments.new", "audit_log-7"];

/// A conversation.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// What the ends send, a message a run.
    pub(crate) runs: Vec<(End, Vec<u8>)>,
    /// What is to be told where no byte is missing, in the order of the wire.
    pub(crate) lines: Vec<String>,
    /// Of each run the lines that are not told if it is lost.
    pub(crate) owned: Vec<Vec<String>>,
}

impl Script {
    /// The records of one end by topic and partition.
    pub(crate) fn records(&self) -> BTreeMap<String, u64> {
        let mut records = BTreeMap::new();
        for line in &self.lines {
            *records.entry(place(line)).or_default() += 1;
        }
        records
    }
}

/// End, topic and partition of a line.
pub(crate) fn place(line: &str) -> String {
    line.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

#[derive(Clone, Debug)]
enum Step {
    Produce { version: i16, acks: bool, batches: Vec<Made> },
    Fetch { version: i16, batches: Vec<Made> },
    Heartbeat,
    Metadata { version: i16 },
}

/// A batch, without the names that make its records known.
#[derive(Clone, Debug)]
struct Made {
    topic: usize,
    partition: i32,
    codec: usize,
    control: bool,
    records: Vec<MadeRecord>,
}

#[derive(Clone, Debug)]
struct MadeRecord {
    other_headers: usize,
    traced: bool,
    value: Value,
}

/// What stands in a record's value.
#[derive(Clone, Debug)]
enum Value {
    Bytes(Vec<u8>),
    /// Two whole requests of another client, with records that nobody sent; with numbers so far from those of the connection.
    Requests(i32),
    /// A copy of the first request of this connection that was.
    Copy,
    /// A batch with a record that nobody sent.
    Batch,
}

fn value(leap: i32) -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Value::Bytes),
        1 => (0..3000_usize).prop_map(|len| Value::Bytes(vec![b'x'; len])),
        1 => Just(Value::Requests(leap)),
        1 => Just(Value::Copy),
        1 => Just(Value::Batch),
    ]
}

fn made(leap: i32) -> impl Strategy<Value = Made> {
    let record = (0..3_usize, any::<bool>(), value(leap)).prop_map(|(other_headers, traced, value)| MadeRecord {
        other_headers,
        traced,
        value,
    });
    (0..3_usize, 0..3, 0..CODECS.len(), prop::bool::weighted(0.1), prop::collection::vec(record, 1..5))
        .prop_map(|(topic, partition, codec, control, records)| Made { topic, partition, codec, control, records })
}

fn step(leap: i32) -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (3..=12_i16, prop::bool::weighted(0.9), prop::collection::vec(made(leap), 1..4))
            .prop_map(|(version, acks, batches)| Step::Produce { version, acks, batches }),
        3 => (4..=12_i16, prop::collection::vec(made(leap), 0..4))
            .prop_map(|(version, batches)| Step::Fetch { version, batches }),
        1 => Just(Step::Heartbeat),
        1 => (9..=13_i16).prop_map(|version| Step::Metadata { version }),
    ]
}

/// Conversations: each group of steps is asked at once and then answered. The first one is a heartbeat that proves the connection.
/// Records may hold requests of other clients, with numbers that are those of this one's next requests.
pub(crate) fn script() -> impl Strategy<Value = Script> {
    script_with(1)
}

/// The same, where the numbers of other clients are others.
pub(crate) fn script_of_strangers() -> impl Strategy<Value = Script> {
    script_with(1000)
}

fn script_with(leap: i32) -> impl Strategy<Value = Script> {
    prop::collection::vec(prop::collection::vec(step(leap), 1..4), 1..6).prop_map(|groups| {
        let mut writer = Writer {
            correlation: 0,
            traces: 0,
            first: Vec::new(),
            script: Script { runs: vec![], lines: vec![], owned: vec![] },
        };
        writer.group(&[Step::Heartbeat]);
        for group in &groups {
            writer.group(group);
        }
        writer.script
    })
}

struct Writer {
    correlation: i32,
    traces: u32,
    first: Vec<u8>,
    script: Script,
}

impl Writer {
    fn group(&mut self, steps: &[Step]) {
        let mut answers = Vec::new();
        for step in steps {
            self.correlation += 1;
            let number = self.correlation;
            let (request, answer, owned, lines) = match step {
                Step::Heartbeat => {
                    let (request, answer) = heartbeat(number, CLIENT);
                    (request, Some(answer), vec![], vec![])
                }
                Step::Metadata { version } => {
                    let (request, answer) = metadata(*version, number, CLIENT, &TOPICS);
                    (request, Some(answer), vec![], vec![])
                }
                Step::Produce { version, acks, batches } => {
                    let (topics, lines) = self.topics('>', batches);
                    self.script.lines.extend(lines.clone());
                    (
                        produce(*version, number, CLIENT, &topics),
                        acks.then(|| produced(*version, number)),
                        lines,
                        vec![],
                    )
                }
                Step::Fetch { version, batches } => {
                    let (topics, lines) = self.topics('<', batches);
                    let request = fetch(*version, number, CLIENT, None, &topics, &|_, _| 0);
                    (request, Some(fetched(*version, number, &topics, &[])), lines.clone(), lines)
                }
            };
            if self.first.is_empty() {
                self.first.clone_from(&request);
            }
            self.script.runs.push((End::First, request));
            self.script.owned.push(owned);
            answers.extend(answer.map(|answer| (answer, lines)));
        }
        for (answer, lines) in answers {
            self.script.runs.push((End::Second, answer));
            self.script.lines.extend(lines.clone());
            self.script.owned.push(lines);
        }
    }

    /// The topics of a message with these batches, each in a topic and partition of its own or behind others there.
    fn topics(&mut self, end: char, batches: &[Made]) -> (Topics, Vec<String>) {
        let mut places: BTreeMap<(usize, i32), (Vec<u8>, Vec<String>)> = BTreeMap::new();
        for made in batches {
            let mut lines = Vec::new();
            let mut records = Vec::new();
            for record in &made.records {
                self.traces += 1;
                let mut headers = vec![("secret".to_owned(), Some(b"traceparent".to_vec())); record.other_headers];
                let place = format!("{end} {} {}", TOPICS[made.topic], made.partition);
                let line = if record.traced {
                    let trace = format!("trace-{}", self.traces);
                    headers.push(("traceparent".to_owned(), Some(trace.clone().into_bytes())));
                    format!("{place} | traceparent: {trace}")
                } else {
                    place
                };
                lines.push(line);
                records.push(Record { headers, value: self.value(&record.value) });
            }
            let control = made.control;
            let batch = Batch { codec: made.codec, control, transactional: control, ..Batch::of(records) }.bytes();
            let place = places.entry((made.topic, made.partition)).or_default();
            place.0.extend(batch);
            if !control {
                place.1.extend(lines);
            }
        }
        let mut topics: Topics = Vec::new();
        let mut lines = Vec::new();
        for ((topic, partition), (batches, told)) in places {
            if topics.last().is_none_or(|last| last.0 != TOPICS[topic]) {
                topics.push((TOPICS[topic].to_owned(), Vec::new()));
            }
            topics.last_mut().expect("a topic").1.push((partition, batches));
            lines.extend(told);
        }
        (topics, lines)
    }

    fn value(&self, value: &Value) -> Vec<u8> {
        let fake = Batch::of(vec![Record::traced("never sent")]).bytes();
        match value {
            Value::Bytes(bytes) => bytes.clone(),
            Value::Batch => fake,
            Value::Copy => self.first.clone(),
            Value::Requests(leap) => {
                let topics = vec![(TOPICS[0].to_owned(), vec![(0, fake)])];
                let numbers = self.correlation + leap..self.correlation + leap + 2;
                numbers.flat_map(|number| produce(9, number, Some("another-client"), &topics)).collect()
            }
        }
    }
}
