//! A small shop, described by what its services do, and the report that must come of it.

mod denied;
mod dropped;
mod formats;
mod losses;
mod paths;
mod samplers;
mod weights;

use std::fmt::Write;

use expect_test::{Expect, expect};

use super::ledger::{DecidedHop, Fate, Ledger, ReceivedRequest, Side, Sight};
use super::report::{Capture, Code, Evidence, ObserverInfo, Report};
use super::{Auditor, Inputs, Loss, Settings, schema};
use crate::connection::Opaque;
use crate::context::{Format, Formats, Malformation, MessageContext, Sampled, TraceContext, TraceFact, WeightClass};
use crate::declared::{Declarations, Language, ProcessEnvironment, Rules, process_environment, tenant_rules};
use crate::fact::Fact;
use crate::ids::{ServiceId, SpanId, TenantId, TraceId};
use crate::limits::Limits;
use crate::message::Protocol;
use crate::names::Names;
use crate::propagation::{Cause, Correction, Hop, Outcome, Route, Routes, WeightOutcome};
use crate::sampling::traces::{Sighting, Traces};
use crate::sampling::{Point, Verdict};
use crate::time::Timestamp;

const START: Timestamp = Timestamp(1_767_225_600_000_000_000);

/// What was observed so far, and how it is judged.
struct Shop {
    names: Names,
    ledger: Ledger,
    traces: Traces,
    routes: Routes,
    rules: Rules,
    auditor: Auditor,
    capture: Capture,
    losses: Vec<Loss>,
    now: Timestamp,
    ids: u128,
}

impl Shop {
    fn new(sources: impl IntoIterator<Item = Declarations>) -> Self {
        let limits = Limits { memory_bytes: 1 << 20, ..Limits::default() };
        Self {
            names: Names::new(20, 20),
            ledger: Ledger::new(&limits),
            traces: Traces::new(&limits),
            routes: Routes::new(limits.memory_bytes),
            rules: Rules::new(Some("prod"), sources),
            auditor: Auditor::default(),
            capture: Capture { messages: 1_000, events: 2_000, sources: vec!["cgroup".into()], ..Capture::default() },
            losses: Vec::new(),
            now: START,
            ids: 0,
        }
    }

    fn service(&mut self, name: &str) -> ServiceId {
        self.names.service(name)
    }

    fn next(&mut self) -> (Timestamp, TraceId) {
        self.now = Timestamp(self.now.0 + 1_000_000);
        self.ids += 1;
        (self.now, TraceId(0x4bf9_2f35_77b3_4da6 << 64 | (0xa000 + self.ids)))
    }

    /// `traces` new traces of a tenant at a point, `sampled` of them sampled.
    fn traces(&mut self, (service, peer): (&str, &str), tenant: &str, point: Point, traces: u64, sampled: u64) {
        self.weighed_traces((service, peer), tenant, (point, WeightClass::Missing), traces, sampled);
    }

    /// The same with weights of a class.
    fn weighed_traces(
        &mut self,
        (service, peer): (&str, &str),
        tenant: &str,
        (point, class): (Point, WeightClass),
        traces: u64,
        sampled: u64,
    ) {
        let (service, peer, tenant) = (self.service(service), self.service(peer), self.names.tenant(tenant));
        for number in 0..traces {
            let (at, trace_id) = self.next();
            // Spread evenly, so that every stretch of the run has the same ratio.
            let yes = (number + 1) * sampled / traces > number * sampled / traces;
            let sampled = if yes { Sampled::Sampled } else { Sampled::NotSampled };
            self.traces.observe(&Sighting { at, service, tenant, point, trace_id, sampled, class, peer });
        }
    }

    fn requests(&mut self, parties: (&str, &str), tenant: &str, trace: TraceFact, count: u64) {
        self.messages(parties, tenant, &MessageContext::of(trace), count);
    }

    fn messages(&mut self, (sender, service): (&str, &str), tenant: &str, context: &MessageContext, count: u64) {
        let (service, sender, tenant) = (self.service(service), self.service(sender), self.names.tenant(tenant));
        for _ in 0..count {
            let (at, _) = self.next();
            let protocol = Protocol::Http11;
            self.ledger.received(&ReceivedRequest { at, service, tenant, protocol, context, sender });
        }
    }

    fn hops(&mut self, parties: (&str, &str), outcome: Outcome, sampled: Sampled, count: u64) {
        self.hops_by(Route::UNSEEN, parties, outcome, sampled, count);
    }

    /// The same of traces that came by a route.
    fn hops_by(
        &mut self,
        reached: Route,
        (service, peer): (&str, &str),
        outcome: Outcome,
        sampled: Sampled,
        count: u64,
    ) {
        let (service, peer) = (self.service(service), self.service(peer));
        for _ in 0..count {
            let (at, trace_id) = self.next();
            let context = context(trace_id, sampled);
            let arrived = Cause { trace: Some(context), tenant: TenantId(2), weight: Fact::Absent };
            let lost = outcome == Outcome::Lost;
            let hop = Hop {
                outcome,
                sent: (!lost).then_some(context),
                brought: context.formats,
                cause: Some(arrived),
                tenant: None,
                started: outcome == Outcome::Restarted,
                weight: None,
                promised: None,
                tracestate: None,
                baggage: None,
                hidden: None,
                route: Route::UNSEEN,
                reached,
            };
            let context = &MessageContext::of(if lost { TraceFact::Missing } else { TraceFact::Valid(context) });
            self.ledger.hop(&DecidedHop { at, service, peer, context, hop: &hop, evidence: Evidence::Window });
        }
    }

    fn sight(&mut self, peer: &str) -> Sight {
        let (at, trace_id) = self.next();
        Sight { at, trace: Some((trace_id, SpanId(7))), peer: self.service(peer) }
    }

    fn report(&mut self) -> Report {
        let observer = ObserverInfo { version: "0.1.0".into(), host: "node-7".into(), kernel: "6.12.0".into() };
        self.auditor.report(&Inputs {
            observer: &observer,
            environment: Some("prod"),
            window: (START, self.now),
            capture: &self.capture,
            losses: &self.losses,
            names: &self.names,
            ledger: &self.ledger,
            traces: &self.traces,
            routes: &self.routes,
            rules: &self.rules,
            settings: Settings::default(),
        })
    }
}

fn context(trace_id: TraceId, sampled: Sampled) -> TraceContext {
    TraceContext { trace_id, parent_id: SpanId(0xb0b), sampled, random: false, formats: Formats::of(Format::W3c) }
}

fn valid() -> TraceFact {
    TraceFact::Valid(context(TraceId(0x4bf9_2f35_77b3_4da6 << 64 | 1), Sampled::Sampled))
}

fn process(service: &str, sampler: &str, arg: &str) -> Declarations {
    let language = Language::Python;
    let (sampler, sampler_arg) = (Some(sampler), Some(arg));
    process_environment(&ProcessEnvironment { pid: 4711, service, language, sampler, sampler_arg })
}

/// The findings, three lines each.
fn check_findings(report: &Report, expected: &Expect) {
    let mut lines = String::new();
    for finding in &report.findings {
        let code = serde_json::to_value(finding.code).unwrap();
        let severity = finding.severity.as_str();
        let named = [&finding.service, &finding.tenant, &finding.peer];
        let [service, tenant, peer] = named.map(|name| name.as_deref().unwrap_or("-"));
        writeln!(
            lines,
            "{severity} {} {service} {tenant} {peer} {}/{}",
            code.as_str().unwrap(),
            finding.count,
            finding.of
        )
        .unwrap();
        writeln!(lines, "  {}\n  {}", finding.message, finding.remedy).unwrap();
    }
    expected.assert_eq(&lines);
}

fn verdicts(report: &Report) -> Vec<(String, String, Point, Verdict)> {
    report.ratios.iter().map(|row| (row.service.clone(), row.tenant.clone(), row.point, row.verdict)).collect()
}

const RULES: &str = "default: 0.1\ntenants:\n  acme: {sampler_override: 0.2}\n  beta: {}\n";

/// Faults of every family at once.
fn faulty_shop() -> Shop {
    let mut shop = Shop::new([tenant_rules("tenant-rules.yaml", RULES), process("search", "traceidratio", "10")]);
    shop.requests(("external:203.0.113.9", "checkout"), "acme", TraceFact::Missing, 1_000);
    shop.requests(("checkout", "inventory"), "acme", valid(), 400);
    shop.requests(("legacy", "inventory"), "gamma", TraceFact::Malformed(Format::W3c, Malformation::Flags), 5);
    shop.requests(("legacy", "inventory"), "gamma", TraceFact::Malformed(Format::W3c, Malformation::Duplicated), 2);
    shop.requests(("checkout", "inventory"), "beta", TraceFact::NotObserved, 100);
    shop.traces(("checkout", "inventory"), "acme", Point::Started, 900, 85);
    shop.traces(("checkout", "inventory"), "beta", Point::Started, 100, 9);
    shop.traces(("inventory", "checkout"), "acme", Point::Received, 400, 40);
    shop.hops(("checkout", "inventory"), Outcome::Continued, Sampled::Sampled, 410);
    shop.hops(("checkout", "inventory"), Outcome::Lost, Sampled::Sampled, 190);
    shop.hops(("checkout", "inventory"), Outcome::Ambiguous, Sampled::Sampled, 11);
    shop.hops(("inventory", "ledger"), Outcome::Restarted, Sampled::Sampled, 30);
    shop.hops(("inventory", "external:partner"), Outcome::Lost, Sampled::Sampled, 30);
    shop.hops(("search", "checkout"), Outcome::Flipped, Sampled::NotSampled, 3);
    shop.hops(("search", "checkout"), Outcome::Unattributed, Sampled::NotSampled, 4);
    let (checkout, inventory) = (shop.service("checkout"), shop.service("inventory"));
    let (acme, beta) = (shop.names.tenant("acme"), shop.names.tenant("beta"));
    for (outcome, count) in [(WeightOutcome::Kept, 590), (WeightOutcome::Missing, 10)] {
        for _ in 0..count {
            let sight = shop.sight("inventory");
            shop.ledger.weight(checkout, acme, Side::Sender, outcome, sight);
        }
    }
    for (tenant, fate) in [(acme, Fate::Sampled), (beta, Fate::Unsampled), (beta, Fate::Undecided)] {
        let sight = shop.sight("checkout");
        shop.ledger.error(inventory, tenant, fate, sight);
    }
    shop.ledger.opaque(inventory, Opaque::Tls);
    shop.ledger.sealed(checkout);
    shop.ledger.unread(inventory, ["java (pid 7): TLS of Java is compiled while it runs"]);
    shop.capture.lost = 12;
    shop.losses.push(Loss { source: "cgroup".into(), reason: "ring_full".into(), count: 12 });
    shop
}

#[test]
fn every_fault_is_found_once_named_and_remedied() {
    check_findings(
        &faulty_shop().report(),
        &expect![[r"
            critical ratio-under checkout acme - 85/900
              checkout samples 9.44 % [5.6, 14.5] of 900 traces that it starts for tenant acme; 20 % declared at tenant-rules.yaml:3; this rests on 90 % of the requests that show it
              make the sampler of checkout use 0.2 for tenant acme, or correct tenant-rules.yaml:3
            critical context-lost checkout - inventory 190/600
              checkout drops the trace context on 190 of 600 requests to inventory, though each was caused by a request that had one
              instrument the client with which checkout calls inventory, and check its OTEL_PROPAGATORS (tracecontext,baggage)
            critical decision-flipped search - checkout 3/3
              search turns sampled into not sampled on 3 of 3 requests to checkout: traces that are cut there
              set a parent-based sampler in search (OTEL_TRACES_SAMPLER=parentbased_traceidratio)
            warning ratio-under inventory acme checkout 40/400
              checkout sampled 10 % [4.59, 18.1] of 400 traces of tenant acme that reach inventory; 20 % declared at tenant-rules.yaml:3
              make the sampler of checkout use 0.2 for tenant acme, or correct tenant-rules.yaml:3
            warning rule-invalid search - - 1/1
              process 4711 (search): OTEL_TRACES_SAMPLER_ARG=10 means 100 %: this SDK samples everything
              set OTEL_TRACES_SAMPLER_ARG to a ratio from 0 to 1; ten percent is 0.1 (process 4711 (search))
            warning tenant-override-missing - beta - 100/100
              tenant beta (100 requests) has no sampler_override at tenant-rules.yaml:4: the more general rule holds for it, perhaps by mistake
              write sampler_override: RATIO at tenant-rules.yaml:4, or null where beta inherits on purpose
            warning context-malformed inventory - legacy 5/407
              legacy sends 5 requests to inventory with a traceparent that receivers must ignore (flags 5)
              correct what writes traceparent at legacy (W3C Trace Context, section 3.2)
            warning context-duplicated inventory - legacy 2/407
              legacy sends 2 requests to inventory with more than one traceparent: receivers ignore them or take any
              find what adds a second traceparent at legacy: two instrumentations, or an agent beside the SDK
            warning weight-missing checkout acme inventory 10/600
              checkout drops the weight on 10 of 600 requests to inventory: what is computed from it counts too little
              forward the weight header, or its baggage member, with every call of checkout
            warning error-unsampled inventory beta - 1/2
              1 of 2 error responses (50 %) of inventory for tenant beta belong to traces that are not sampled: there is nothing to look at
              keep errors whatever the ratio: sample inventory fully and keep errors by tail sampling in the collector
            warning not-observed inventory - - 101/508
              inventory: not observed and in no ratio: 100 requests of which the head was not fully seen, 1 connection of TLS (java (pid 7): TLS of Java is compiled while it runs)
              run observer doctor to see which protocols and TLS libraries can be read here
            warning capture-loss - - - 12/2012
              12 events lost (cgroup ring_full 12): ratios rest on what was left
              name the ports to observe in capture.ports, or give the observer more CPU time
            info tenant-undeclared - gamma - 7/7
              tenant gamma (7 requests) is named by no rule
              add gamma under tenants: of the tenant rules, with null where it inherits on purpose
            info context-missing checkout - external:203.0.113.9 1000/1000
              1,000 of 1,000 requests from external:203.0.113.9 reach checkout without a trace context: traces begin here
              nothing, where traces are meant to begin at checkout; else instrument who sends
            info trace-restarted inventory - ledger 30/30
              inventory starts a new trace on 30 of 30 requests to ledger, though each was caused by a request that had one
              make inventory take the context of its requests: instrument its server, check OTEL_PROPAGATORS, and that no root span is forced
            info not-observed checkout - - 1/1001
              checkout: not observed and in no ratio: 1 connection of TLS that it opened
              run observer doctor to see which protocols and TLS libraries can be read here
            info not-observed search - - 4/4
              search: not observed and in no ratio: 4 hops whose cause may be among what was not seen
              see what else reaches this service (Unix sockets, other protocols): with it unseen its hops cannot be judged
        "]],
    );
}

#[test]
fn breaks_that_were_all_withdrawn_are_no_finding() {
    let mut shop = Shop::new([]);
    shop.hops(("checkout", "inventory"), Outcome::Lost, Sampled::Sampled, 7);
    let (service, peer) = (shop.service("checkout"), shop.service("inventory"));
    let (from, to, examples) = (Outcome::Lost, Outcome::Ambiguous, Vec::new());
    shop.ledger.correct(&Correction {
        service,
        peer,
        from,
        to,
        evidence: Evidence::Window,
        count: 7,
        bare: 7,
        examples,
        routes: Vec::new(),
    });
    check_findings(&shop.report(), &expect![""]);
}

#[test]
fn the_same_run_gives_the_same_report() {
    let text = |mut shop: Shop| serde_json::to_string(&shop.report()).unwrap();
    assert_eq!(text(faulty_shop()), text(faulty_shop()));
}

#[test]
fn a_report_is_what_its_schema_says() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let made = serde_json::to_value(faulty_shop().report()).unwrap();
    let errors: Vec<_> = validator.iter_errors(&made).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    let mut odd = made;
    odd["ratios"][0]["verdict"] = "perhaps".into();
    assert!(!validator.is_valid(&odd));
}

#[test]
fn the_format_that_is_promised_is_read_written_and_valid() {
    let text = include_str!("testdata/report.json");
    let promised: serde_json::Value = serde_json::from_str(text).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&promised));
    let report: Report = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(&report).unwrap(), promised);
}

#[test]
fn rows_carry_their_rule_coverage_and_verdict() {
    let report = faulty_shop().report();
    let row = &report.ratios[0];
    assert_eq!((row.service.as_str(), row.tenant.as_str(), row.point), ("checkout", "acme", Point::Started));
    assert_eq!(
        (row.traces, row.sampled, row.declared, row.source.as_deref()),
        (900, 85, Some(0.2), Some("tenant-rules.yaml:3"))
    );
    assert_eq!(row.coverage, Some(0.9));
    assert_eq!(row.verdict, Verdict::Under);
    assert_eq!(report.rules[1].matched, 1_300, "started at checkout, and entering at inventory");
    let hops = report.hops.iter().find(|hops| hops.service == "checkout").unwrap();
    assert_eq!((hops.continued, hops.lost, hops.ambiguous, hops.lost_at_least), (410, 190, 11, 190));
    let summary = &report.summary;
    assert_eq!((summary.tenants, summary.rules, summary.tenant_overrides), (3, 3, 1));
}

#[test]
fn a_ratio_that_is_inherited_accuses_nobody() {
    let mut shop = Shop::new([tenant_rules("rules.yaml", "default: 0.1"), process("checkout", "always_on", "")]);
    let (gateway, checkout, tenant) = (shop.service("gateway"), shop.service("checkout"), shop.names.tenant("acme"));
    for number in 0..1_000 {
        let (at, trace_id) = shop.next();
        let sampled = if number % 2 == 0 { Sampled::Sampled } else { Sampled::NotSampled };
        for (service, peer, point) in [
            (gateway, checkout, Point::Started),
            (checkout, gateway, Point::Received),
            (checkout, gateway, Point::Forwarded),
        ] {
            let class = WeightClass::Missing;
            shop.traces.observe(&Sighting { at, service, tenant, point, trace_id, sampled, class, peer });
        }
    }
    let report = shop.report();
    let accused: Vec<_> = report.findings.iter().map(|finding| (finding.code, finding.service.as_deref())).collect();
    assert_eq!(accused, [(Code::RatioOver, Some("gateway")), (Code::RatioUnder, Some("checkout"))]);
    let at = |service: &str, point| {
        verdicts(&report).into_iter().find(|row| row.0 == service && row.2 == point).map(|row| row.3)
    };
    assert_eq!(at("checkout", Point::Received), Some(Verdict::Inherited));
    assert_eq!(at("checkout", Point::Forwarded), Some(Verdict::Under), "always_on must forward all of them as sampled");
}

#[test]
fn a_wrong_ratio_that_comes_from_outside_names_the_sender() {
    let mut shop = Shop::new([tenant_rules("rules.yaml", "default: 0.5"), process("checkout", "traceidratio", "0.9")]);
    shop.traces(("checkout", "external:203.0.113.9"), "acme", Point::Received, 500, 50);
    let report = shop.report();
    check_findings(
        &report,
        &expect![[r"
        critical ratio-under checkout acme external:203.0.113.9 50/500
          external:203.0.113.9 sampled 10 % [5.02, 17.1] of 500 traces of tenant acme that reach checkout; 50 % declared at rules.yaml:1
          make the sampler of external:203.0.113.9 use 0.5 for tenant acme, or correct rules.yaml:1
    "]],
    );
}

#[test]
fn without_a_tenant_rule_what_arrives_is_judged_by_nobody() {
    let mut shop = Shop::new([process("checkout", "parentbased_traceidratio", "0.9")]);
    shop.traces(("checkout", "client"), "acme", Point::Received, 500, 50);
    shop.traces(("ledger", "client"), "acme", Point::Received, 500, 50);
    let report = shop.report();
    assert_eq!(
        verdicts(&report).into_iter().map(|row| row.3).collect::<Vec<_>>(),
        [Verdict::Inherited, Verdict::Undeclared]
    );
}

#[test]
fn an_alarm_holds_for_the_run_and_a_changed_rule_starts_anew() {
    let mut shop = Shop::new([tenant_rules("rules.yaml", "default: 0.5")]);
    shop.traces(("checkout", "ledger"), "acme", Point::Started, 100, 5);
    assert_eq!(shop.report().ratios[0].verdict, Verdict::Under);
    shop.traces(("checkout", "ledger"), "acme", Point::Started, 100, 95);
    assert_eq!(shop.report().ratios[0].verdict, Verdict::Under, "raised once, it stays");

    shop.rules = Rules::new(None, [tenant_rules("rules.yaml", "default: 0.9")]);
    assert_eq!(shop.report().ratios[0].verdict, Verdict::Insufficient);
    shop.traces(("checkout", "ledger"), "acme", Point::Started, 900, 810);
    assert_eq!(shop.report().ratios[0].verdict, Verdict::Match, "by what came after the change");
}

#[test]
fn rules_that_disagree_are_told_and_judge_nobody() {
    let mut shop = Shop::new([process("checkout", "traceidratio", "0.1"), process("checkout", "traceidratio", "0.5")]);
    shop.traces(("checkout", "ledger"), "acme", Point::Started, 500, 400);
    let report = shop.report();
    assert_eq!(report.ratios[0].verdict, Verdict::Conflicting);
    check_findings(
        &report,
        &expect![[r"
        warning rules-conflict checkout - - 2/2
          checkout: rules of the same rank disagree, so none can be judged: process 4711 (checkout): OTEL_TRACES_SAMPLER says 10 %, process 4711 (checkout): OTEL_TRACES_SAMPLER says 50 %
          keep one of process 4711 (checkout): OTEL_TRACES_SAMPLER, process 4711 (checkout): OTEL_TRACES_SAMPLER
    "]],
    );
}

#[test]
fn a_run_without_traffic_is_a_warning_and_names_past_the_limit_are_told() {
    let mut shop = Shop::new([]);
    shop.capture = Capture::default();
    check_findings(
        &shop.report(),
        &expect![[r"
        warning nothing-observed - - - 0/0
          no traffic was observed: nothing can be said of it
          send traffic while observing; run observer doctor to see what this host lets be observed
    "]],
    );

    let mut shop = Shop::new([]);
    for tenant in 0..30 {
        shop.requests(("client", "checkout"), &format!("tenant-{tenant}"), valid(), 1);
    }
    check_findings(
        &shop.report(),
        &expect![[r"
        warning cardinality - - - 10/1000
          10 messages name a tenant past the limit; they are counted under __overflow__
          raise limits.tenants in observer.yaml, or correct the extractor if these are no real names
    "]],
    );
}
