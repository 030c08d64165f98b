//! The contexts of one message in all formats: the headers of a head come in; the context that counts, and what stands beside
//! it, goes out.

use super::format::{Aside, Asides, Beside, Format, Formats};
use super::{Malformation, Reading, Sampled, Spellings, TraceContext, TraceFact};
use super::{b3, binary, cloud_trace, datadog, jaeger, spelling, traceparent, xray};
use crate::message::{Header, HeaderName, RequestHead};

/// Reads all of a head. The first format of [`Format::ALL`] that is valid counts, and with it those that agree; where none
/// is, the first that is malformed tells why.
pub(super) fn read(head: &RequestHead<'_>) -> (TraceFact, Beside) {
    let there = head.headers.iter().fold(0, |there, header| there | bit(header.name));
    let w3c = (there & bit(HeaderName::TRACEPARENT) != 0).then(|| {
        only(head.headers, HeaderName::TRACEPARENT).and_then(|value| traceparent::parse(value.unwrap_or_default()))
    });
    if there & OTHERS == 0 {
        // As most messages are.
        let trace = match w3c {
            Some(parsed) => parsed.map_or_else(|reason| TraceFact::Malformed(Format::W3c, reason), TraceFact::Valid),
            None if head.complete => TraceFact::Missing,
            None => TraceFact::NotObserved,
        };
        let spellings = if matches!(trace, TraceFact::Malformed(..)) { of_traceparent(head) } else { Spellings::NONE };
        return (trace, Beside { spellings, ..Beside::default() });
    }
    let mut gathered = Gathered::default();
    if let Some(parsed) = w3c {
        if parsed.is_err() {
            gathered.spellings = of_traceparent(head);
        }
        gathered.take(Format::W3c, parsed.into());
    }
    others(head, there, &mut gathered);
    gathered.finish(head.complete)
}

/// How the ids of a `traceparent` are written that is malformed: of a valid one all but the length is given.
fn of_traceparent(head: &RequestHead<'_>) -> Spellings {
    let value = only(head.headers, HeaderName::TRACEPARENT).ok().flatten();
    value.map_or(Spellings::NONE, |value| spelling::of_header(Format::W3c, value))
}

/// A bit of its own for each name that this stage reads, which are among the first.
const fn bit(HeaderName(name): HeaderName) -> u64 {
    if name < 64 { 1 << name } else { 0 }
}

const B3_MULTI: u64 = bit(HeaderName::B3_TRACE_ID)
    | bit(HeaderName::B3_SPAN_ID)
    | bit(HeaderName::B3_SAMPLED)
    | bit(HeaderName::B3_FLAGS);
const DATADOG: u64 = bit(HeaderName::DATADOG_TRACE_ID) | bit(HeaderName::DATADOG_PRIORITY);
/// Formats that are named, not decoded.
const NAMED: [(HeaderName, Aside); 6] = [
    (HeaderName::REQUEST_ID, Aside::RequestId),
    (HeaderName::NEW_RELIC, Aside::NewRelic),
    (HeaderName::ELASTIC_APM, Aside::ElasticApm),
    (HeaderName::SKY_WALKING, Aside::SkyWalking),
    (HeaderName::OT_TRACE, Aside::OtTrace),
    (HeaderName::DYNATRACE, Aside::Dynatrace),
];
/// Every name but `traceparent`.
const OTHERS: u64 = {
    let mut bits = B3_MULTI
        | DATADOG
        | bit(HeaderName::B3)
        | bit(HeaderName::JAEGER)
        | bit(HeaderName::GRPC_TRACE_BIN)
        | bit(HeaderName::XRAY)
        | bit(HeaderName::CLOUD_TRACE);
    let mut named: &[(HeaderName, Aside)] = &NAMED;
    while let [(name, _), rest @ ..] = named {
        bits |= bit(*name);
        named = rest;
    }
    bits
};

/// Reads what is there beside `traceparent`.
fn others(head: &RequestHead<'_>, there: u64, gathered: &mut Gathered) {
    let has = |names: u64| there & names != 0;
    for (name, format, parse) in [
        (HeaderName::B3, Format::B3, b3::single as fn(&[u8]) -> Reading),
        (HeaderName::JAEGER, Format::Jaeger, jaeger::parse),
        (HeaderName::GRPC_TRACE_BIN, Format::OpenCensus, |value| binary::parse(value).into()),
        (HeaderName::XRAY, Format::XRay, xray::parse),
        (HeaderName::CLOUD_TRACE, Format::CloudTrace, cloud_trace::parse),
    ] {
        if has(bit(name)) {
            gathered.take(format, one(head, name, parse));
            let value = only(head.headers, name).ok().flatten();
            let spellings = value.map_or(Spellings::NONE, |value| spelling::of_header(format, value));
            gathered.spellings = gathered.spellings.and(spellings);
        }
    }
    if has(B3_MULTI) {
        let value = |name| only(head.headers, name).ok().flatten();
        let spellings = spelling::of_ids(value(HeaderName::B3_TRACE_ID), value(HeaderName::B3_SPAN_ID));
        gathered.spellings = gathered.spellings.and(spellings);
        gathered.take(Format::B3Multi, b3_multi(head).unwrap_or_else(Reading::Malformed));
    }
    if has(DATADOG) {
        gathered.take(Format::Datadog, datadog_headers(head).unwrap_or_else(Reading::Malformed));
    }
    for (_, aside) in NAMED.into_iter().filter(|&(name, _)| has(bit(name))) {
        gathered.asides = gathered.asides.and(Asides::of(aside));
    }
}

fn b3_multi(head: &RequestHead<'_>) -> Result<Reading, Malformation> {
    Ok(b3::multi(&b3::Multi {
        trace_id: only(head.headers, HeaderName::B3_TRACE_ID)?,
        span_id: only(head.headers, HeaderName::B3_SPAN_ID)?,
        sampled: only(head.headers, HeaderName::B3_SAMPLED)?,
        flags: only(head.headers, HeaderName::B3_FLAGS)?,
    }))
}

fn datadog_headers(head: &RequestHead<'_>) -> Result<Reading, Malformation> {
    Ok(datadog::parse(&datadog::Values {
        trace_id: only(head.headers, HeaderName::DATADOG_TRACE_ID)?,
        parent_id: only(head.headers, HeaderName::DATADOG_PARENT_ID)?,
        priority: only(head.headers, HeaderName::DATADOG_PRIORITY)?,
        tags: only(head.headers, HeaderName::DATADOG_TAGS)?,
    }))
}

/// Reads a format of one header.
fn one(head: &RequestHead<'_>, name: HeaderName, parse: impl Fn(&[u8]) -> Reading) -> Reading {
    match only(head.headers, name) {
        Ok(value) => parse(value.unwrap_or_default()),
        Err(reason) => Reading::Malformed(reason),
    }
}

/// The value of a header that may be there once.
fn only<'a>(headers: &[Header<'a>], name: HeaderName) -> Result<Option<&'a [u8]>, Malformation> {
    let mut found = headers.iter().filter(|header| header.name == name);
    // The decoder trims; other sources of headers may not.
    let first = found.next().map(|header| header.value.trim_ascii());
    if found.next().is_some() { Err(Malformation::Duplicated) } else { Ok(first) }
}

/// What was read so far, by the place of its format in [`Format::ALL`].
#[derive(Default)]
struct Gathered {
    contexts: [Option<TraceContext>; Format::ALL.len()],
    malformed: Option<(Format, Malformation)>,
    asides: Asides,
    spellings: Spellings,
}

impl Gathered {
    fn take(&mut self, format: Format, reading: Reading) {
        match reading {
            Reading::Context(context) => {
                if let Some(place) = self.contexts.get_mut(format as usize) {
                    *place = Some(context);
                }
            }
            Reading::Malformed(reason) => {
                if self.malformed.is_none_or(|(before, _)| format < before) {
                    self.malformed = Some((format, reason));
                }
            }
            Reading::Aside(aside) => self.asides = self.asides.and(Asides::of(aside)),
        }
    }

    fn finish(self, complete: bool) -> (TraceFact, Beside) {
        let Self { contexts, malformed, asides, spellings } = self;
        let is_w3c = |context: &TraceContext| context.formats.meets(Formats::of(Format::W3c));
        let mut contexts = contexts.into_iter().flatten();
        let mut beside = Beside { contexts: Vec::new(), malformed, asides, spellings };
        let Some(mut counts) = contexts.next() else {
            let trace = match malformed {
                Some((format, reason)) if complete || format == Format::W3c => TraceFact::Malformed(format, reason),
                _ if complete => TraceFact::Missing,
                _ => TraceFact::NotObserved,
            };
            beside.malformed = None;
            return (trace, beside);
        };
        if !complete && !is_w3c(&counts) {
            // A `traceparent` may be among what was not seen.
            return (TraceFact::NotObserved, beside);
        }
        for context in contexts {
            let alike = std::iter::once(&mut counts).chain(&mut beside.contexts).find(|known| agrees(known, &context));
            match alike {
                Some(known) => join(known, &context),
                None => beside.contexts.push(context),
            }
        }
        (TraceFact::Valid(counts), beside)
    }
}

/// Whether two contexts of one message say the same. A deferred decision agrees with any.
fn agrees(one: &TraceContext, other: &TraceContext) -> bool {
    let deferred = [one.sampled, other.sampled].contains(&Sampled::Deferred);
    one.trace_id.is_same(other.trace_id) && (deferred || one.sampled == other.sampled)
}

/// Adds what a context that agrees tells more: the whole id, a decision.
fn join(context: &mut TraceContext, other: &TraceContext) {
    context.formats = context.formats.and(other.formats);
    context.trace_id = context.trace_id.max(other.trace_id);
    if context.sampled == Sampled::Deferred {
        context.sampled = other.sampled;
    }
}
