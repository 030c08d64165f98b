//! What one exchange costs in decoding and reading its context, in HTTP/1 and in HTTP/2: prints nanoseconds of processor time
//! a message (Linux).
//!
//! `cargo run --release -p observer-core --example head_cost`

use std::hint::black_box;

use observer_core::context::{Extractors, TenantSource, WeightSource};
use observer_core::decode::{Anomalies, Conversation, Fidelity, Piece, Shared};
use observer_core::message::{End, MessageBody};
use observer_core::time::Timestamp;

const REQUEST: &[u8] =
    b"GET /cart/7?item=3 HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: python-requests/2.32.3\r\n\
    Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\nX-Tenant-Id: acme\r\n\
    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 01 Jan 2026 00:00:00 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 1200\r\nConnection: keep-alive\r\nETag: \"65a1b2c3-4b0\"\r\n\r\n";
/// What a client sends before: names and values that are indexed from then on.
const HTTP2_BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
    \0\0\x94\x01\x05\0\0\0\x01\x82\x86\x84\x41\x11shop.example:8080\x7a\x12grpc-python/1.85.1\
    \x40\x0bx-tenant-id\x04acme\x40\x0btraceparent\x3700-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\
    \x0f\x10\x10application/json";
const HTTP2_REQUEST: &[u8] = b"\0\0\x48\x01\x05\0\0\0\x01\x82\x86\x04\x07/cart/7\xc1\xc0\xbf\
    \x0f\x2f\x3700-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// A head, and the header of a DATA frame of 1,200 bytes that ends the stream.
const HTTP2_RESPONSE: &[u8] = b"\0\0\x14\x01\x04\0\0\0\x01\x88\x0f\x10\x10application/json\0\x04\xb0\0\x01\0\0\0\x01";
const ROUNDS: u32 = 2_000_000;

/// One protocol: what is sent before, and an exchange over and over.
struct Talk {
    name: &'static str,
    beginning: &'static [u8],
    request: Vec<u8>,
    response: Vec<u8>,
    /// Where the number of the stream stands in each.
    streams: [&'static [usize]; 2],
}

fn main() {
    let http1 = Talk {
        name: "HTTP/1",
        beginning: b"",
        request: REQUEST.to_vec(),
        response: RESPONSE.to_vec(),
        streams: [&[], &[]],
    };
    let http2 = Talk {
        name: "HTTP/2",
        beginning: HTTP2_BEGINNING,
        request: HTTP2_REQUEST.to_vec(),
        response: HTTP2_RESPONSE.to_vec(),
        streams: [&[5], &[5, 34]],
    };
    for mut talk in [http1, http2] {
        println!("{}: request {} bytes, response {} bytes", talk.name, talk.request.len(), talk.response.len());
        for reads_context in [false, true] {
            let nanoseconds = measure(&mut talk, reads_context);
            let what = if reads_context { "decoded, and the context of requests read" } else { "decoded" };
            println!("{nanoseconds:.0} ns a message, {what}");
        }
    }
}

fn measure(talk: &mut Talk, reads_context: bool) -> f64 {
    let extractors = Extractors::new(
        vec![TenantSource::Header("x-tenant-id".into()), TenantSource::Baggage("tenant.id".into())],
        vec![WeightSource::Header("x-trace-weight".into()), WeightSource::Baggage("trace.weight".into())],
    );
    let mut conversation = Conversation::new(Fidelity::Heads);
    let mut shared = Shared::default();
    let (mut messages, mut valid) = (0_u64, 0_u64);
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
    let mut seqs = [0_u32; 2];
    let mut send = |at: u64, from: End, bytes: &[u8], body: u32| {
        let (at, end) = (Timestamp(at), usize::from(from == End::Second));
        let (seq, ack) = (seqs[end], Some(seqs[1 - end]));
        let wire_len = u32::try_from(bytes.len()).unwrap_or(0) + body;
        let piece = Piece { at, from, seq, ack, wire_len, bytes: black_box(bytes), link: None };
        conversation.piece(&piece, extractors.interest(), &mut shared, &mut tell);
        seqs[end] = seq.wrapping_add(wire_len);
    };
    send(0, End::First, talk.beginning, 0);
    let begun = processor_ns();
    for round in 0..ROUNDS {
        let stream = (3 + 2 * round).to_be_bytes();
        for (bytes, places) in [&mut talk.request, &mut talk.response].into_iter().zip(talk.streams) {
            for &place in places {
                bytes[place..place + 4].copy_from_slice(&stream);
            }
        }
        let at = u64::from(round) * 1000;
        send(at, End::First, &talk.request, 0);
        send(at, End::Second, &talk.response, 1200);
    }
    let nanoseconds = (processor_ns() - begun) / f64::from(ROUNDS) / 2.0;
    let before = u64::from(!talk.beginning.is_empty());
    assert_eq!((messages, shared.anomalies), (u64::from(ROUNDS) * 2 + before, Anomalies::default()));
    assert!(!reads_context || valid == u64::from(ROUNDS) + before);
    nanoseconds
}

/// Time that this thread has spent on a processor: /proc/thread-self/schedstat, first field (proc(5)).
fn processor_ns() -> f64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    schedstat.split_whitespace().next().and_then(|field| field.parse().ok()).expect("a number")
}
