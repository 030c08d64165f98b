//! Scenarios of one workload and its hops, told as one line an event.

mod outcomes;
mod proof;
mod properties;

use std::fmt::Write as _;

use super::*;
use crate::context::{Format, Malformation, Sampled, TraceFact};
use crate::ids::{SpanId, TraceId};
use crate::limits::Limits;

/// A tracker that is driven by lines, and what it told.
///
/// Each line begins with milliseconds. A context is `trace:parent:flag` with flag `1`, `0` or `d` (deferred), or `-` (none),
/// `bad` (malformed), `?` (head not seen). `tenant=2`, `w=0.5` and `conn=9` may follow; a request is exchange 0 of a connection
/// named like it; `record` is one that nothing answers.
///
/// `0 in a 7:1:1` · `1 out /path 7:2:1` · `2 end a 200` · `2 late c` · `2 end-unseen c 200` · `2 hide tls` · `2 tick`
pub(super) struct Script {
    pub(super) propagation: Propagation,
    told: String,
}

pub(super) const WORKLOAD: WorkloadId = WorkloadId(3);

pub(super) fn owner() -> Owner {
    Owner { workload: WORKLOAD, service: ServiceId(1) }
}

impl Script {
    pub(super) fn new() -> Self {
        Self::with_memory(Limits::default().memory_bytes)
    }

    pub(super) fn with_memory(memory_bytes: usize) -> Self {
        let propagation = Propagation::new(&Limits { memory_bytes, ..Limits::default() }, 0.001);
        Self { propagation, told: String::new() }
    }

    /// Plays the lines; tells hops and errors where `aloud`.
    pub(super) fn play(&mut self, aloud: bool, lines: &str) -> &mut Self {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let told = self.step(line);
            if aloud && !told.is_empty() {
                writeln!(self.told, "{line:<24} → {told}").unwrap();
            }
        }
        self
    }

    /// What was told, and the corrections at the end.
    pub(super) fn finish(&mut self) -> String {
        for correction in self.propagation.corrections() {
            let Correction { from, to, count, examples, .. } = correction;
            writeln!(self.told, "{count} {} → {}, {} examples", from.as_str(), to.as_str(), examples.len()).unwrap();
        }
        std::mem::take(&mut self.told)
    }

    fn step(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = Timestamp(1_000_000_000 + nanoseconds(words[0].parse().unwrap()));
        match words[1] {
            "in" => {
                let exchange = (words[2] != "record").then(|| exchange(words[2]));
                let (context, tenant) = context(words[3], &words[4..]);
                self.propagation.request_in(&Inbound { at, owner: owner(), exchange, context: &context, tenant });
                String::new()
            }
            "out" => {
                let (context, tenant) = context(words[3], &words[4..]);
                let hop = self.propagation.request_out(&Outbound {
                    at,
                    owner: owner(),
                    peer: ServiceId(2),
                    context: &context,
                    tenant,
                    method: "GET",
                    path: words[2],
                });
                render(&hop)
            }
            "end" | "end-unseen" => {
                let ExchangeId { connection, number } = exchange(words[2]);
                let error = self.propagation.response_out(&Answer {
                    at,
                    workload: WORKLOAD,
                    connection,
                    number: (words[1] == "end").then_some(number),
                    status: words[3].parse().unwrap(),
                });
                error.map_or_else(String::new, |error| {
                    let tenant = error.tenant.map(|tenant| tenant.0);
                    format!("error tenant={tenant:?} unsampled={:?}", error.unsampled)
                })
            }
            "late" => {
                self.propagation.joined_late(WORKLOAD, exchange(words[2]).connection, at);
                String::new()
            }
            "hide" => {
                let reason = Hidden::ALL.into_iter().find(|reason| reason.as_str() == words[2]).unwrap();
                self.propagation.hide(WORKLOAD, reason, at);
                String::new()
            }
            "tick" => {
                self.propagation.tick(at);
                String::new()
            }
            other => panic!("no such event: {other}"),
        }
    }
}

/// Plays the lines aloud from the start.
pub(super) fn play(lines: &str) -> String {
    Script::new().play(true, lines).finish()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
pub(super) fn nanoseconds(milliseconds: f64) -> u64 {
    (milliseconds * 1e6) as u64
}

fn exchange(name: &str) -> ExchangeId {
    let connection = name.bytes().fold(0, |number, byte| number * 256 + u64::from(byte));
    ExchangeId { connection: ConnectionId(connection), number: 0 }
}

fn context(text: &str, more: &[&str]) -> (MessageContext, TenantId) {
    let find = |key: &str| more.iter().find_map(|word| word.strip_prefix(key));
    let trace = match text {
        "-" => TraceFact::Missing,
        "bad" => TraceFact::Malformed(Malformation::Flags),
        "?" => TraceFact::NotObserved,
        valid => {
            let parts: Vec<&str> = valid.split(':').collect();
            let sampled = match parts[2] {
                "1" => Sampled::Sampled,
                "0" => Sampled::NotSampled,
                _ => Sampled::Deferred,
            };
            trace_fact(parts[0].parse().unwrap(), parts[1].parse().unwrap(), sampled)
        }
    };
    let weight = match find("w=") {
        None => Fact::Absent,
        Some("bad") => Fact::Present(Weight::Malformed),
        Some(number) => Fact::Present(Weight::Valid(number.parse().unwrap())),
    };
    (message(trace, weight), TenantId(find("tenant=").map_or(1, |number| number.parse().unwrap())))
}

pub(super) fn trace_fact(trace: u128, parent: u64, sampled: Sampled) -> TraceFact {
    TraceFact::Valid(TraceContext {
        trace_id: TraceId(trace),
        parent_id: SpanId(parent),
        sampled,
        random: false,
        format: Format::W3c,
    })
}

pub(super) fn message(trace: TraceFact, weight: Fact<Weight>) -> MessageContext {
    MessageContext { trace, tracestate: Fact::Absent, baggage: Fact::Absent, weight }
}

fn render(hop: &Hop) -> String {
    let mut text = hop.outcome.as_str().to_owned();
    if let Some(hidden) = hop.hidden {
        write!(text, " ({})", hidden.as_str()).unwrap();
    }
    if hop.started {
        text.push_str(" started");
    }
    if let Some(cause) = hop.cause {
        match cause.trace {
            Some(trace) => write!(text, " cause={}:{}", trace.trace_id.0, trace.parent_id.0).unwrap(),
            None => text.push_str(" cause=-"),
        }
    }
    if let Some(tenant) = hop.tenant {
        write!(text, " tenant={}", tenant.0).unwrap();
    }
    if let Some(weight) = hop.weight {
        write!(text, " weight={}", weight.as_str()).unwrap();
    }
    text
}
