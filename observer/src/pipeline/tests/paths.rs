//! The way of broken traces through several services, from packets to the line of a finding.

use observer_core::limits::Limits;

use super::*;
use crate::attribute::naming::ServiceRule;

/// Services at addresses of their own, each on port 8080.
const SERVICES: [(&str, &str); 6] = [
    ("gateway", "10.0.0.1"),
    ("checkout", "10.0.0.2"),
    ("pricing", "10.0.0.3"),
    ("discounts", "10.0.0.4"),
    ("stock", "10.0.0.5"),
    ("search", "10.0.0.6"),
];
const BROKER: &str = "10.0.0.99:4222";

struct Street {
    interface: Interface,
    port: u16,
}

/// A request that waits for its response.
struct Asked(String, String);

impl Street {
    fn new(limits: Limits) -> Self {
        let rule = |(name, address): (&str, &str)| ServiceRule {
            name: name.into(),
            address: Some(address.parse::<IpAddr>().unwrap().into()),
            ..ServiceRule::default()
        };
        let services = SERVICES.into_iter().map(rule).collect();
        Self { interface: Interface::new(&Config { services, limits, ..Config::default() }), port: 40_000 }
    }

    fn address(name: &str) -> &str {
        SERVICES.iter().find(|(known, _)| *known == name).map_or(name, |(_, address)| address)
    }

    /// An end that `from` connects with.
    fn client(&mut self, from: &str) -> String {
        self.port += 1;
        format!("{}:{}", Self::address(from), self.port)
    }

    fn traceparent((trace, parent): (u64, u64)) -> String {
        format!("traceparent: 00-{trace:032x}-{parent:016x}-01")
    }

    fn ask(&mut self, from: &str, to: &str, header: &str) -> Asked {
        self.interface.now = self.interface.now.after(Duration::from_millis(1));
        let (client, server) = (self.client(from), format!("{}:8080", Self::address(to)));
        self.interface.request_at(Tap::Wire, 0, (&client, &server), header);
        Asked(client, server)
    }

    fn answer(&mut self, Asked(client, server): &Asked) {
        self.interface.bytes(server, client, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    }

    /// A trace goes through these services; the last call carries `last` instead of it.
    fn order(&mut self, trace: u64, services: &[&str], last: Option<&str>) {
        let calls = services.windows(2).enumerate().map(|(at, pair)| {
            let carries = Self::traceparent((trace, at as u64 + 1));
            let is_last = at + 2 == services.len();
            self.ask(pair[0], pair[1], last.filter(|_| is_last).unwrap_or(&carries))
        });
        let asked: Vec<Asked> = calls.collect();
        asked.iter().rev().for_each(|asked| self.answer(asked));
    }

    /// What the findings of a code say of their paths.
    fn paths(&mut self, code: Code) -> Vec<String> {
        let findings = self.interface.report().findings;
        let paths = findings
            .iter()
            .filter(|finding| finding.code == code)
            .map(|finding| finding.path.as_ref().map_or_else(|| "none".to_owned(), |path| path.line(finding.code)));
        paths.collect()
    }
}

const CHAIN: [&str; 4] = ["gateway", "checkout", "pricing", "discounts"];

#[test]
fn of_four_services_the_third_breaks_and_the_report_names_the_way_there() {
    let mut street = Street::new(Limits::default());
    // What is lost before such requests are shown to follow those that arrive is decided later, and keeps its way.
    for trace in 1..=3 {
        street.order(trace, &CHAIN, Some("accept: */*"));
    }
    assert_eq!(street.paths(Code::ContextLost), Vec::<String>::new());
    street.order(9, &CHAIN, None);
    for trace in 10..=15 {
        street.order(trace, &CHAIN, Some("accept: */*"));
    }
    street.order(20, &["search", "pricing", "discounts"], Some("accept: */*"));
    for trace in 30..=34 {
        street.order(trace, &CHAIN, Some(&Street::traceparent((1000 + trace, 1))));
    }
    assert_eq!(
        street.paths(Code::ContextLost),
        ["gateway → checkout → pricing ┄ discounts: the context ends at pricing (9 of 10 requests)"]
    );
    assert_eq!(
        street.paths(Code::TraceRestarted),
        ["gateway → checkout → pricing ┄ discounts: the trace ends at pricing"]
    );
    let report = serde_json::to_value(street.interface.report()).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let lost = findings.iter().find(|finding| finding["code"] == "context-lost").unwrap();
    let path = serde_json::json!({"begins": "started", "services": ["gateway", "checkout", "pricing"], "to": "discounts", "count": 9, "of": 10});
    assert_eq!(lost["path"], path);
}

#[test]
fn a_context_that_nobody_can_read_ends_where_it_was_written() {
    let mut street = Street::new(Limits::default());
    street.order(1, &CHAIN, None);
    for trace in 2..=6 {
        street.order(trace, &CHAIN, Some("traceparent: 00-none"));
    }
    assert_eq!(street.paths(Code::ContextLost), Vec::<String>::new(), "the one fault is told once");
    assert_eq!(
        street.paths(Code::ContextMalformed),
        ["gateway → checkout → pricing ┄ discounts: the context ends at pricing"]
    );
}

#[test]
fn of_a_trace_that_two_services_hand_on_neither_is_chosen() {
    let mut street = Street::new(Limits::default());
    for trace in 1..=4 {
        let carries = |parent: u64| Street::traceparent((trace, parent));
        let asked = [
            street.ask("gateway", "checkout", &carries(1)),
            street.ask("gateway", "pricing", &carries(2)),
            street.ask("checkout", "pricing", &carries(3)),
            street.ask("pricing", "discounts", &carries(4).replace("-01", "-00")),
        ];
        asked.iter().rev().for_each(|asked| street.answer(asked));
    }
    assert_eq!(
        street.paths(Code::DecisionFlipped),
        ["(several) → pricing ┄ discounts: the decision is turned around at pricing"]
    );
}

#[test]
fn who_is_called_back_stands_once_on_the_way() {
    let mut street = Street::new(Limits::default());
    for trace in 1..=3 {
        street.order(trace, &["gateway", "checkout", "gateway", "pricing", "discounts"], None);
        street.order(trace + 10, &["gateway", "checkout", "gateway", "pricing", "discounts"], Some("accept: */*"));
    }
    assert_eq!(street.paths(Code::ContextLost), ["gateway → pricing ┄ discounts: the context ends at pricing"]);
}

#[test]
fn the_way_leads_through_a_topic_to_who_sends_there() {
    let mut street = Street::new(Limits::default());
    let record = |verb: &str, trace: u64| {
        let headers = format!("NATS/1.0\r\n{}\r\n\r\n", Street::traceparent((trace, 2)));
        format!("{verb} {} {}\r\n{headers}hi\r\n", headers.len(), headers.len() + 2)
    };
    for trace in 1..=4 {
        let carries = |parent: u64| Street::traceparent((trace, parent));
        let asked = street.ask("gateway", "checkout", &carries(1));
        let producer = street.client("checkout");
        let published = format!("CONNECT {{}}\r\n{}", record("HPUB orders", trace));
        street.interface.bytes(&producer, BROKER, published.as_bytes());
        street.answer(&asked);
        let consumer = street.client("pricing");
        street.interface.bytes(&consumer, BROKER, b"CONNECT {}\r\nSUB orders 1\r\n");
        street.interface.bytes(BROKER, &consumer, record("HMSG orders 1", trace).as_bytes());
        let asked = street.ask("pricing", "discounts", &carries(4).replace("-01", "-00"));
        street.answer(&asked);
    }
    assert_eq!(
        street.paths(Code::DecisionFlipped),
        ["gateway → checkout → nats:orders → pricing ┄ discounts: the decision is turned around at pricing"]
    );
}

#[test]
fn tiny_tables_tell_less_and_nothing_wrong() {
    let mut street = Street::new(Limits { memory_bytes: 1 << 20, ..Limits::default() });
    for trace in 1..=400 {
        let address = format!("10.1.{}.{}", trace / 200, 1 + trace % 200);
        street.order(trace, &[&address, "gateway", "checkout"], None);
    }
    street.order(1001, &CHAIN, None);
    for trace in 1002..=1006 {
        street.order(trace, &CHAIN, Some("accept: */*"));
    }
    assert_eq!(street.paths(Code::ContextLost), ["none"]);
}
