//! What one exchange costs in decoding and reading its context: prints nanoseconds of processor time a
//! message (Linux).
//!
//! `cargo run --release -p observer-core --example head_cost`

use std::hint::black_box;

use observer_core::context::{Extractors, TenantSource, WeightSource};
use observer_core::decode::{Anomalies, Conversation, Fidelity, Piece};
use observer_core::message::{End, MessageBody};
use observer_core::time::Timestamp;

const REQUEST: &[u8] =
    b"GET /cart/7?item=3 HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: python-requests/2.32.3\r\n\
    Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\nX-Tenant-Id: acme\r\n\
    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 01 Jan 2026 00:00:00 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 1200\r\nConnection: keep-alive\r\nETag: \"65a1b2c3-4b0\"\r\n\r\n";
const ROUNDS: u32 = 2_000_000;

fn main() {
    let extractors = Extractors::new(
        vec![TenantSource::Header("x-tenant-id".into()), TenantSource::Baggage("tenant.id".into())],
        vec![WeightSource::Header("x-trace-weight".into()), WeightSource::Baggage("trace.weight".into())],
    );
    println!("request {} bytes, response {} bytes", REQUEST.len(), RESPONSE.len());
    for reads_context in [false, true] {
        let mut conversation = Conversation::new(Fidelity::Heads);
        let mut anomalies = Anomalies::default();
        let (mut messages, mut valid) = (0_u64, 0_u64);
        let (mut request_seq, mut response_seq) = (0_u32, 0_u32);
        let begun = processor_ns();
        for round in 0..ROUNDS {
            let mut tell = |message: observer_core::message::Message<'_>| {
                messages += 1;
                if let MessageBody::Request(head) = &message.body
                    && reads_context
                {
                    black_box(extractors.extract(head));
                    valid += u64::from(extractors.tenant(head, None).present().is_some());
                }
                black_box(&message);
            };
            let at = Timestamp(u64::from(round) * 1000);
            let piece = |from, seq, ack, bytes: &'static [u8], body: u32| Piece {
                at,
                from,
                seq,
                ack: Some(ack),
                wire_len: u32::try_from(bytes.len()).unwrap_or(0) + body,
                bytes: black_box(bytes),
            };
            let request = piece(End::First, request_seq, response_seq, REQUEST, 0);
            let response = piece(End::Second, response_seq, request_seq.wrapping_add(request.wire_len), RESPONSE, 1200);
            conversation.piece(&request, extractors.interest(), &mut anomalies, &mut tell);
            conversation.piece(&response, extractors.interest(), &mut anomalies, &mut tell);
            request_seq = request_seq.wrapping_add(request.wire_len);
            response_seq = response_seq.wrapping_add(response.wire_len);
        }
        let nanoseconds = (processor_ns() - begun) / f64::from(ROUNDS) / 2.0;
        assert_eq!((messages, anomalies), (u64::from(ROUNDS) * 2, Anomalies::default()));
        assert!(!reads_context || valid == u64::from(ROUNDS));
        let what = if reads_context { "decoded, and the context of requests read" } else { "decoded" };
        println!("{nanoseconds:.0} ns a message, {what}");
    }
}

/// Time that this thread has spent on a processor: /proc/thread-self/schedstat, first field (proc(5)).
fn processor_ns() -> f64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    schedstat.split_whitespace().next().and_then(|field| field.parse().ok()).expect("a number")
}
