//! Scenarios of one workload and its hops, told as one line an event.

mod formats;
mod goroutines;
mod handed;
mod outcomes;
mod proof;
mod properties;
mod routes;
mod threads;

use std::fmt::Write as _;

use super::*;
use crate::context::{
    Aside, Asides, Beside, Extractors, Format, Formats, Malformation, Sampled, TenantSource, TraceFact,
};
use crate::ids::{SpanId, TraceId};
use crate::limits::Limits;
use crate::message::{Header, HeaderName, RequestHead};

/// A tracker that is driven by lines, and what it told.
///
/// Each line begins with milliseconds. A context is `trace:parent:flag` with flag `1`, `0` or `d` (deferred), or `-` (none),
/// `bad` (malformed), `?` (head not seen). A trace with an `H` has a high half, too; a fourth part names the format by its header;
/// what follows a `+` stands beside: another context, `bad`, or `deny` (a decision without a trace). `tenant=2`, `w=0.5`, the headers
/// `tracestate=…` and `baggage=…`, and `cut` (of which more may follow) may follow; a request is exchange 0 of a connection named like it;
/// `record` is one that nothing answers.
///
/// `0 in a 7:1:1` · `1 out /path 7:2:1` · `2 end a 200` · `2 late c` · `2 end-unseen c 200` · `2 hide tls` · `2 tick`
pub(super) struct Script {
    pub(super) propagation: Propagation,
    told: String,
    /// What its hops told of the formats of their causes.
    pub(super) brought: Vec<Formats>,
}

const SLOW_FROM: Duration = Duration::from_secs(100);

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
        Self { propagation, told: String::new(), brought: Vec::new() }
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
                self.propagation.request_in(&Inbound {
                    socket: None,
                    at,
                    owner: owner(),
                    exchange,
                    context: &context,
                    tenant,
                    route: Route::UNSEEN,
                });
                String::new()
            }
            "out" => {
                let (context, tenant) = context(words[3], &words[4..]);
                let hop = self.propagation.request_out(&Outbound {
                    socket: None,
                    at,
                    owner: owner(),
                    peer: ServiceId(2),
                    exchange: None,
                    context: &context,
                    tenant,
                    method: "GET",
                    path: words[2],
                });
                self.brought.push(hop.brought);
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
                    slow_from: Some(SLOW_FROM),
                });
                error.map_or_else(String::new, |error| {
                    let kind = if error.is_error { "error" } else { "slow" };
                    let took = error.took.filter(|took| *took > SLOW_FROM).map(|took| format!(" took={took:?}"));
                    let took = took.unwrap_or_default();
                    let tenant = error.tenant.map(|tenant| tenant.0);
                    let weight = error.weight.present().map(|weight| format!(" {weight:?}")).unwrap_or_default();
                    format!("{kind} tenant={tenant:?} unsampled={:?}{weight}{took}", error.unsampled)
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
    let mut parts = text.split('+');
    let trace = match parts.next().unwrap_or_default() {
        "-" => TraceFact::Missing,
        "bad" => TraceFact::Malformed(Format::W3c, Malformation::Flags),
        "?" => TraceFact::NotObserved,
        valid => TraceFact::Valid(trace_context(valid)),
    };
    let mut beside = Beside::default();
    for part in parts {
        match part {
            "bad" => beside.malformed = Some((Format::B3, Malformation::Flags)),
            "deny" => beside.asides = Asides::of(Aside::Decision),
            valid => beside.contexts.push(trace_context(valid)),
        }
    }
    let weight = match find("w=") {
        None => Fact::Absent,
        Some("bad") => Fact::Present(Weight::Malformed),
        Some(number) => Fact::Present(Weight::Valid(number.parse().unwrap())),
    };
    let MessageContext { tracestate, baggage, .. } = companions(more);
    (
        MessageContext { beside, tracestate, baggage, ..message(trace, weight) },
        TenantId(find("tenant=").map_or(1, |number| number.parse().unwrap())),
    )
}

/// The `tracestate` and the `baggage` among the words.
fn companions(words: &[&str]) -> MessageContext {
    let named = [("tracestate=", HeaderName::TRACESTATE), ("baggage=", HeaderName::BAGGAGE)];
    let read = |(name, header)| {
        let value = words.iter().find_map(|word| word.strip_prefix(name))?;
        Some(Header { name: header, value: value.as_bytes() })
    };
    let headers: Vec<_> = named.into_iter().filter_map(read).collect();
    let extractors = Extractors::new(vec![TenantSource::Baggage("tenant".into())], Vec::new());
    let complete = !words.contains(&"cut");
    extractors.extract(&RequestHead { method: "GET", path: "/", headers: &headers, complete })
}

fn trace_context(text: &str) -> TraceContext {
    let parts: Vec<&str> = text.split(':').collect();
    let (high, low) = parts[0].strip_prefix('H').map_or((0, parts[0]), |low| (1_u128 << 64, low));
    let named = parts.get(3).and_then(|name| Format::ALL.into_iter().find(|format| format.header() == *name));
    TraceContext {
        trace_id: TraceId(high | low.parse::<u128>().unwrap()),
        parent_id: SpanId(parts[1].parse().unwrap()),
        sampled: match parts[2] {
            "1" => Sampled::Sampled,
            "0" => Sampled::NotSampled,
            _ => Sampled::Deferred,
        },
        random: false,
        formats: Formats::of(named.unwrap_or(Format::W3c)),
    }
}

pub(super) fn trace_fact(trace: u128, parent: u64, sampled: Sampled) -> TraceFact {
    TraceFact::Valid(TraceContext {
        trace_id: TraceId(trace),
        parent_id: SpanId(parent),
        sampled,
        random: false,
        formats: Formats::of(Format::W3c),
    })
}

pub(super) fn message(trace: TraceFact, weight: Fact<Weight>) -> MessageContext {
    MessageContext { weight, ..MessageContext::of(trace) }
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
    for (name, handed) in [("tracestate", hop.tracestate), ("baggage", hop.baggage)] {
        if let Some(handed) = handed {
            write!(text, " {name}={}", handed.as_str()).unwrap();
        }
    }
    if let Some(sampled) = hop.promised {
        write!(text, " promised={}", sampled.as_str()).unwrap();
    }
    text
}
