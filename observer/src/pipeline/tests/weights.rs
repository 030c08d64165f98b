//! Weights from the wire to the report.

use std::path::Path;

use super::*;

const CLIENT: &str = "10.0.0.1:40000";
const SERVER: &str = "10.0.0.2:8080";
const UNSAMPLED: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn shop() -> Interface {
    let text = "requirements: [{service: 10.0.0.2, all_slower_than: 2s}]";
    Interface::new(&Config::parse("observer.yaml", Path::new(""), text).unwrap())
}

/// One request with these headers, and three seconds later its response; what the report says of it.
fn exchange(request: &str, response: &str) -> Report {
    exchange_in(shop(), request, response)
}

fn exchange_in(mut interface: Interface, request: &str, response: &str) -> Report {
    interface.bytes(CLIENT, SERVER, format!("{request}\r\n\r\n").as_bytes());
    interface.wait(Duration::from_secs(3));
    interface.bytes(SERVER, CLIENT, format!("{response}\r\ncontent-length: 0\r\n\r\n").as_bytes());
    interface.report()
}

fn codes(report: &Report) -> Vec<(Code, &str)> {
    let lost = |code| !matches!(code, Code::ContextMissing | Code::TenantUndeclared);
    let findings = report.findings.iter().filter(|finding| lost(finding.code));
    findings.map(|finding| (finding.code, finding.service.as_deref().unwrap_or_default())).collect()
}

#[test]
fn an_error_and_a_slow_response_below_one_are_lost_unless_the_response_raises_the_weight() {
    let get = format!("GET /cart HTTP/1.1\r\n{TRACEPARENT}\r\nx-trace-weight: 0.2");
    let report = exchange(&get, "HTTP/1.1 500 No");
    let server = "10.0.0.2";
    assert_eq!(codes(&report), [(Code::ErrorUnsampled, server), (Code::SlowUnsampled, server)]);
    assert_eq!((report.errors[0].unsampled, report.errors[0].below_one), (0, 1));
    assert_eq!((report.slow[0].responses, report.slow[0].below_one), (1, 1));

    let report = exchange(&get, "HTTP/1.1 500 No\r\nx-trace-weight: 1");
    assert_eq!(codes(&report), []);
    assert_eq!((report.errors[0].responses, report.slow[0].responses), (1, 1));

    // Raised on the way, and the response echoes what came.
    let mut raising = shop();
    raising.bytes(CLIENT, SERVER, format!("{get}\r\n\r\n").as_bytes());
    let goes_on = TRACEPARENT.replace("b7ad6b7169203331", "b7ad6b7169203332") + "\r\nx-trace-weight: 1";
    raising.request_at(Tap::Wire, 0, ("10.0.0.2:50000", "10.0.0.3:9090"), &goes_on);
    raising.bytes(SERVER, CLIENT, b"HTTP/1.1 500 No\r\nx-trace-weight: 0.2\r\ncontent-length: 0\r\n\r\n");
    let report = raising.report();
    assert_eq!((codes(&report), report.errors[0].responses), (vec![], 1));

    let get = format!("GET /cart HTTP/1.1\r\n{UNSAMPLED}");
    assert_eq!(codes(&exchange(&get, "HTTP/1.1 200 OK")), [(Code::SlowUnsampled, server)]);
}

#[test]
fn a_weight_of_one_without_the_flag_is_told_of_who_sends_it() {
    let get = format!("GET /cart HTTP/1.1\r\n{UNSAMPLED}\r\nbaggage: trace.weight=2");
    let report = exchange(&get, "HTTP/1.1 404 No");
    assert_eq!(codes(&report), [(Code::WeightUnsampled, "10.0.0.1"), (Code::SlowUnsampled, "10.0.0.2")]);
    let by_weight = report.ratios[0].by_weight.as_ref().unwrap();
    assert_eq!((by_weight.one_or_more.traces, by_weight.none.traces), (1, 0));
}

#[test]
fn what_a_browser_keeps_from_scripts_is_told() {
    let shut = [(Code::WeightNotExposed, "10.0.0.2")];
    let preflight = "OPTIONS /cart HTTP/1.1\r\naccess-control-request-headers: content-type,traceparent";
    let allowed = "HTTP/1.1 204 OK\r\naccess-control-allow-origin: *\r\naccess-control-allow-headers:";
    assert_eq!(codes(&exchange(preflight, &format!("{allowed} content-type"))), shut);
    assert_eq!(codes(&exchange(preflight, &format!("{allowed} content-type, traceparent"))), []);
    let get = "GET /cart HTTP/1.1\r\norigin: https://shop.example";
    let answer = "HTTP/1.1 200 OK\r\nx-trace-weight: 0.5\r\naccess-control-allow-origin: *";
    assert_eq!(codes(&exchange(get, answer)), shut);
    let mut behind_a_gateway = shop();
    behind_a_gateway.request("10.0.0.9:50000", "10.0.0.1:80", "gateway");
    assert_eq!(codes(&exchange_in(behind_a_gateway, get, answer)), [], "no browser asks here");
    assert_eq!(codes(&exchange(get, &format!("{answer}\r\nAccess-Control-Expose-Headers: X-Trace-Weight"))), []);
}

/// A frame of HEADERS on the first stream, of literal fields (RFC 9113 section 6.2, RFC 7541 section 6.2.2).
fn headers(ends: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect();
    let [high, low] = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&[0, high, low, 1, 4 | u8::from(ends), 0, 0, 0, 1], &block[..]].concat()
}

#[test]
fn a_weight_that_a_response_of_grpc_raises_in_its_headers_or_trailers_is_seen() {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let grpc = ("content-type", "application/grpc");
    let trace = ("traceparent", TRACEPARENT.split_once(": ").unwrap().1);
    let asks = [(":method", "POST"), (":path", "/s/M"), grpc, trace, ("x-trace-weight", "0.2")];
    let (head, fails) = ([(":status", "200"), grpc], [("grpc-status", "14")]);
    let raise = [("x-trace-weight", "1")];
    for (head, trailers, lost) in [
        (head.to_vec(), fails.to_vec(), 1),
        ([&head[..], &raise].concat(), fails.to_vec(), 0),
        (head.to_vec(), [&fails[..], &raise].concat(), 0),
    ] {
        let mut interface = shop();
        interface.bytes(CLIENT, SERVER, &[PREFACE, SETTINGS, &headers(true, &asks)].concat());
        let answer = [SETTINGS, &headers(false, &head), &headers(true, &trailers)].concat();
        interface.bytes(SERVER, CLIENT, &answer);
        let report = interface.report();
        assert_eq!((report.errors[0].responses, report.errors[0].below_one), (1, lost), "{head:?} {trailers:?}");
    }
}

/// A record with these headers that `10.0.0.2` sends to the topic `orders` of NATS, and that `10.0.0.3` receives from there.
fn through_a_broker(mut interface: Interface, is_sent: bool, headers: &str) -> Report {
    let headers = format!("NATS/1.0\r\n{headers}\r\n\r\n");
    let record = |verb: &str| format!("{verb} {} {}\r\n{headers}body\r\n", headers.len(), headers.len() + 4);
    if is_sent {
        let sends = format!("CONNECT {{}}\r\n{}", record("HPUB orders"));
        interface.bytes("10.0.0.2:40001", "10.0.0.9:4222", sends.as_bytes());
    }
    interface.bytes("10.0.0.3:40002", "10.0.0.9:4222", b"CONNECT {}\r\nSUB orders 1\r\n");
    interface.bytes("10.0.0.9:4222", "10.0.0.3:40002", record("HMSG orders 1").as_bytes());
    interface.report()
}

#[test]
fn what_is_wrong_with_the_weight_of_a_record_is_told_once_of_who_sends_it() {
    let (promised, heavy) =
        (format!("{UNSAMPLED}\r\nx-trace-weight: 1"), format!("{TRACEPARENT}\r\nx-trace-weight: heavy"));
    for (headers, code) in [(&promised, Code::WeightUnsampled), (&heavy, Code::WeightInvalid)] {
        assert_eq!(codes(&through_a_broker(shop(), true, headers)), [(code, "10.0.0.2")]);
        // Nobody saw who sent it.
        assert_eq!(codes(&through_a_broker(shop(), false, headers)), [(code, "10.0.0.3")]);
    }
    // What is sent on with another weight than it came with is the same.
    let mut sends_on = shop();
    sends_on.request_at(Tap::Wire, 0, (CLIENT, SERVER), &format!("{TRACEPARENT}\r\nx-trace-weight: 0.5"));
    let goes_on = heavy.replace("b7ad6b7169203331", "b7ad6b7169203332");
    assert_eq!(codes(&through_a_broker(sends_on, true, &goes_on)), [(Code::WeightInvalid, "10.0.0.2")]);
}

#[test]
fn a_service_that_begins_a_trace_with_a_weight_that_is_none_is_told() {
    let heavy = format!("GET /cart HTTP/1.1\r\n{TRACEPARENT}\r\nx-trace-weight: heavy");
    let mut begins = shop();
    begins.request("10.0.0.9:50000", "10.0.0.1:80", "gateway");
    assert_eq!(codes(&exchange_in(begins, &heavy, "HTTP/1.1 200 OK"))[..1], [(Code::WeightInvalid, "10.0.0.1")]);
}
