//! What the report makes of formats.

use expect_test::expect;

use super::*;
use crate::context::{Aside, Asides, Beside, Spelling, Spellings};

fn in_format(trace_id: TraceId, format: Format) -> TraceContext {
    TraceContext { formats: Formats::of(format), ..context(trace_id, Sampled::Sampled) }
}

impl Shop {
    /// Hops that carry their context in `sent`, of causes that brought theirs in `brought`.
    fn formats(&mut self, (service, peer): (&str, &str), outcome: Outcome, brought: Formats, sent: Format, count: u64) {
        let (service, peer) = (self.service(service), self.service(peer));
        for _ in 0..count {
            let (at, trace_id) = self.next();
            let context = in_format(trace_id, sent);
            let hop = Hop {
                outcome,
                sent: Some(context),
                brought,
                cause: None,
                tenant: None,
                started: outcome != Outcome::Continued,
                weight: None,
                promised: None,
                tracestate: None,
                baggage: None,
                hidden: None,
                route: Route::UNSEEN,
                reached: Route::UNSEEN,
            };
            let context = &MessageContext::of(TraceFact::Valid(context));
            self.ledger.hop(&DecidedHop { at, service, peer, context, hop: &hop, evidence: Evidence::Window });
        }
    }
}

const B3: Formats = Formats::of(Format::B3);
const W3C: Formats = Formats::of(Format::W3c);

/// checkout sends `sent` to inventory, which starts new traces in `traceparent` because of `brought`.
fn mismatch(sent: Format, brought: Formats, restarts: u64) -> Shop {
    let mut shop = Shop::new([]);
    shop.formats(("checkout", "inventory"), Outcome::Rooted, Formats::NONE, sent, 40);
    shop.formats(("inventory", "warehouse"), Outcome::Restarted, brought, Format::W3c, restarts);
    shop
}

#[test]
fn a_format_that_the_callee_does_not_read_is_told_of_who_sends_it() {
    check_findings(
        &mismatch(Format::B3, B3, 30).report(),
        &expect![[r"
            critical format-mismatch checkout - inventory 40/40
              checkout sends its trace context on 40 requests to inventory as b3, which inventory does not read: it starts new traces, and sends them as traceparent
              let checkout send traceparent too, or inventory read b3 (OTEL_PROPAGATORS of either)
        "]],
    );
}

#[test]
fn a_sender_that_is_not_observed_is_not_accused_of_a_format() {
    let mut shop = mismatch(Format::W3c, Formats::of(Format::Jaeger), 30);
    check_findings(
        &shop.report(),
        &expect![[r"
            info format-mismatch inventory - - 30/30
              requests bring their trace context to inventory as uber-trace-id, which it does not read: it starts new traces on 30 requests, and sends them as traceparent
              add uber-trace-id to OTEL_PROPAGATORS of inventory, where the traces of its senders are meant to go on
        "]],
    );
}

#[test]
fn a_format_counts_as_read_until_the_contrary_is_shown() {
    let codes =
        |mut shop: Shop| -> Vec<Code> { shop.report().findings.into_iter().map(|finding| finding.code).collect() };
    assert_eq!(codes(mismatch(Format::B3, B3, 19)), [Code::TraceRestarted], "too few");
    assert_eq!(codes(mismatch(Format::B3, Formats::NONE, 30)), [Code::TraceRestarted], "its causes are not known");
    assert_eq!(codes(mismatch(Format::W3c, W3C, 30)), [Code::TraceRestarted], "it sends what it was brought");

    let mut shop = mismatch(Format::B3, B3, 30);
    shop.formats(("inventory", "warehouse"), Outcome::Continued, B3.and(W3C), Format::W3c, 1);
    assert_eq!(codes(shop), [Code::FormatMismatch], "it may have read traceparent");

    let mut shop = mismatch(Format::B3, B3, 30);
    shop.formats(("inventory", "ledger"), Outcome::Continued, B3, Format::W3c, 1);
    assert_eq!(codes(shop), [Code::TraceRestarted], "it has read b3 once");

    let mut shop = mismatch(Format::B3, B3, 30);
    let (service, peer) = (shop.service("inventory"), shop.service("warehouse"));
    shop.ledger.correct(&Correction {
        service,
        peer,
        from: Outcome::Restarted,
        to: Outcome::Ambiguous,
        evidence: Evidence::Window,
        bare: 0,
        count: 11,
        examples: Vec::new(),
        routes: Vec::new(),
    });
    assert_eq!(codes(shop), [Code::TraceRestarted], "too few are left");

    let mut shop = mismatch(Format::B3, B3, 30);
    shop.formats(("inventory", "warehouse"), Outcome::Restarted, W3C, Format::W3c, 1);
    assert_eq!(codes(shop), [Code::FormatMismatch, Code::TraceRestarted], "and drops what it must be able to read");
}

#[test]
fn formats_that_contradict_each_other_are_told_but_not_what_platforms_write_beside() {
    let mut shop = Shop::new([]);
    let of = |other: TraceContext| {
        let beside = Beside { contexts: vec![other], ..Beside::default() };
        MessageContext { beside, ..MessageContext::of(valid()) }
    };
    let not_sampled = TraceContext { sampled: Sampled::NotSampled, ..in_format(TraceId(1), Format::B3) };
    shop.messages(("mesh", "checkout"), "acme", &of(not_sampled), 3);
    shop.messages(("mesh", "checkout"), "acme", &of(in_format(TraceId(2), Format::B3Multi)), 5);
    shop.messages(("balancer", "checkout"), "acme", &of(in_format(TraceId(3), Format::XRay)), 7);
    check_findings(
        &shop.report(),
        &expect![[r"
        warning context-duplicated checkout - mesh 3/3
          mesh sends 3 requests to checkout with one trace as traceparent and b3, sampled by one and not by another: whether it is kept depends on what checkout reads
          write every format from one context at mesh, and do not pass on the headers of its requests unchanged
        info context-duplicated checkout - mesh 5/5
          mesh sends 5 requests to checkout with different traces as traceparent and x-b3-traceid: which one goes on depends on what checkout reads
          write every format from one context at mesh, and do not pass on the headers of its requests unchanged
    "]],
    );
}

#[test]
fn what_is_not_decoded_is_named_and_what_is_malformed_too() {
    let mut shop = Shop::new([]);
    let asides = Asides::of(Aside::NewRelic).and(Asides::of(Aside::Dynatrace));
    let beside = Beside { asides, ..Beside::default() };
    let foreign = MessageContext { beside, ..MessageContext::of(TraceFact::Missing) };
    shop.messages(("client", "checkout"), "acme", &foreign, 5);
    shop.requests(("client", "checkout"), "acme", TraceFact::Malformed(Format::XRay, Malformation::TraceId), 2);
    let beside = Beside { malformed: Some((Format::B3, Malformation::Flags)), ..Beside::default() };
    shop.messages(("client", "checkout"), "acme", &MessageContext { beside, ..MessageContext::of(valid()) }, 1);
    let (service, peer, (at, trace_id)) = (shop.service("checkout"), shop.service("ledger"), shop.next());
    let arrived = Cause { trace: Some(in_format(trace_id, Format::W3c)), tenant: TenantId(2), weight: Fact::Absent };
    let hop = Hop {
        outcome: Outcome::Lost,
        sent: None,
        brought: W3C,
        cause: Some(arrived),
        tenant: None,
        started: false,
        weight: None,
        promised: None,
        tracestate: None,
        baggage: None,
        hidden: None,
        route: Route::UNSEEN,
        reached: Route::UNSEEN,
    };
    shop.ledger.hop(&DecidedHop { at, service, peer, context: &foreign, hop: &hop, evidence: Evidence::Window });
    check_findings(
        &shop.report(),
        &expect![[r"
        warning context-malformed checkout - client 3/8
          client sends 3 requests to checkout with a b3 and x-amzn-trace-id that receivers must ignore (flags 1, trace_id 2)
          correct what writes b3 and x-amzn-trace-id at client (openzipkin/b3-propagation; AWS X-Ray, tracing header)
        info context-missing checkout - client 5/8
          5 of 8 requests from client reach checkout without a trace context: traces begin here; some carry newrelic and x-dynatrace, which are not decoded
          nothing, where traces are meant to begin at checkout; else instrument who sends
        info context-lost checkout - ledger 1/1
          checkout drops the trace context on 1 of 1 request to ledger, though each was caused by a request that had one; some carry newrelic and x-dynatrace, which are not decoded
          instrument the client with which checkout calls ledger, and check its OTEL_PROPAGATORS (tracecontext,baggage)
    "]],
    );
}

#[test]
fn ids_that_some_libraries_do_not_take_are_named_where_traces_end_because_of_them() {
    let mut shop = mismatch(Format::B3, B3, 30);
    let half = MessageContext::of(TraceFact::Valid(in_format(TraceId(7), Format::B3)));
    shop.messages(("checkout", "inventory"), "acme", &half, 1);
    shop.formats(("pricing", "discounts"), Outcome::Restarted, W3C, Format::W3c, 30);
    let beside = Beside { spellings: Spellings::of(Spelling::Shortened), ..Beside::default() };
    let jaeger = in_format(TraceId(7 << 64 | 7), Format::Jaeger);
    let shortened = MessageContext { beside, ..MessageContext::of(TraceFact::Valid(jaeger)) };
    shop.messages(("client", "pricing"), "acme", &shortened, 1);
    let beside = Beside { spellings: Spellings::of(Spelling::UpperCase), ..Beside::default() };
    let malformed = MessageContext::of(TraceFact::Malformed(Format::W3c, Malformation::TraceId));
    shop.messages(("legacy", "checkout"), "acme", &MessageContext { beside, ..malformed }, 2);
    check_findings(
        &shop.report(),
        &expect![[r"
            critical format-mismatch checkout - inventory 40/40
              checkout sends its trace context on 40 requests to inventory as b3, which inventory does not read: it starts new traces, and sends them as traceparent
              let checkout send traceparent too, or inventory read b3 (OTEL_PROPAGATORS of either); the requests bring ids of 64 bits, cut or padded with zeros, which some libraries ignore: let their senders write all 32 digits in lower case
            warning context-malformed checkout - legacy 2/2
              legacy sends 2 requests to checkout with a traceparent that receivers must ignore (trace_id 2): it writes ids in upper case
              correct what writes traceparent at legacy (W3C Trace Context, section 3.2)
            info trace-restarted pricing - discounts 30/30
              pricing starts a new trace on 30 of 30 requests to discounts, though each was caused by a request that had one; the requests bring ids with digits left out, which some libraries ignore
              make pricing take the context of its requests: instrument its server, check OTEL_PROPAGATORS, and that no root span is forced
        "]],
    );
}

#[test]
fn the_formats_that_a_service_sends_are_its_propagators() {
    let mut shop = mismatch(Format::B3, B3, 30);
    shop.formats(("checkout", "ledger"), Outcome::Rooted, Formats::NONE, Format::W3c, 1);
    let rows = shop.report().propagators;
    let rows: Vec<_> = rows.iter().map(|row| (row.service.as_str(), row.seen.join(","), row.declared.len())).collect();
    assert_eq!(rows, [("checkout", "tracecontext,b3".into(), 0), ("inventory", "tracecontext".into(), 0)]);
}

#[test]
fn exactly_the_sampled_traces_that_restart_behind_the_random_flag_are_named() {
    let mut shop = Shop::new([]);
    let (service, peer) = (shop.service("pricing"), shop.service("discounts"));
    for number in 0..40 {
        let (at, trace_id) = shop.next();
        let sampled = if number % 2 == 0 { Sampled::Sampled } else { Sampled::NotSampled };
        let brought = TraceContext { random: true, ..context(trace_id, sampled) };
        let goes_on = sampled == Sampled::NotSampled;
        let sent = if goes_on { brought } else { context(TraceId(trace_id.0 ^ 1 << 90), Sampled::Sampled) };
        let hop = Hop {
            outcome: if goes_on { Outcome::Continued } else { Outcome::Restarted },
            sent: Some(sent),
            brought: W3C,
            cause: Some(Cause { trace: Some(brought), tenant: Names::UNKNOWN_TENANT, weight: Fact::Absent }),
            tenant: None,
            started: !goes_on,
            weight: None,
            promised: None,
            tracestate: None,
            baggage: None,
            hidden: None,
            route: Route::UNSEEN,
            reached: Route::UNSEEN,
        };
        let context = &MessageContext::of(TraceFact::Valid(sent));
        shop.ledger.hop(&DecidedHop { at, service, peer, context, hop: &hop, evidence: Evidence::Window });
    }
    check_findings(
        &shop.report(),
        &expect![[r"
        info trace-restarted pricing - discounts 20/40
          pricing starts a new trace on 20 of 40 requests to discounts, though each was caused by a request that had one; exactly the traces with flags 03 restart (sampled, with the random flag), as libraries do that reject flags above 02
          update the tracing library of pricing to one that accepts the random flag (W3C Trace Context Level 2)
    "]],
    );
}
