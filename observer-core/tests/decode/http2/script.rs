//! Made-up conversations: requests and responses on interleaving streams, encoded by a real encoder, and what a person reads in
//! them.

use std::fmt::Write;

use httlib_hpack::Encoder;
use observer_core::message::End;
use proptest::prelude::*;

/// One request and its response.
#[derive(Clone, Debug)]
struct Exchange {
    grpc: bool,
    tenant: Option<u8>,
    traced: bool,
    filler: usize,
    status: u16,
    interim: bool,
    body: Vec<usize>,
    /// How the fields are coded, used over and over.
    coding: Vec<u8>,
    framing: Framing,
    /// Where among the waiting responses this one is sent.
    turn: usize,
}

/// How a block is cut into frames.
#[derive(Clone, Copy, Debug)]
struct Framing {
    padding: Option<u8>,
    priority: bool,
    parts: usize,
    noise: u8,
    resize: bool,
}

/// A conversation.
#[derive(Clone)]
pub(crate) struct Script {
    /// Bytes in the order in which the ends send them.
    pub(crate) runs: Vec<(End, Vec<u8>)>,
    /// What is to be told, in the order of the wire.
    pub(crate) lines: Vec<String>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (from, bytes) in &self.runs {
            writeln!(formatter, "{from:?} {}", bytes.escape_ascii())?;
        }
        write!(formatter, "{:#?}", self.lines)
    }
}

const CODINGS: [u8; 6] = [
    0,
    Encoder::HUFFMAN_NAME | Encoder::HUFFMAN_VALUE,
    Encoder::NEVER_INDEXED,
    Encoder::WITH_INDEXING,
    Encoder::WITH_INDEXING | Encoder::BEST_FORMAT,
    Encoder::WITH_INDEXING | Encoder::BEST_FORMAT | Encoder::HUFFMAN_NAME | Encoder::HUFFMAN_VALUE,
];

fn exchange() -> impl Strategy<Value = Exchange> {
    let message = (
        any::<bool>(),
        prop::option::weighted(0.8, 0..3_u8),
        prop::bool::weighted(0.8),
        prop_oneof![Just(0_usize), 1..300_usize, Just(3000)],
        prop_oneof![3 => Just(200_u16), 1 => Just(503), 1 => Just(404)],
        prop::bool::weighted(0.2),
        prop::collection::vec(prop_oneof![0..50_usize, 50..3000_usize], 0..4),
    );
    let framing = (
        prop::option::weighted(0.2, any::<u8>()),
        prop::bool::weighted(0.2),
        prop_oneof![3 => Just(1_usize), 1 => 2..5_usize],
        any::<u8>(),
        prop::bool::weighted(0.1),
    );
    let coding = prop::collection::vec(prop::sample::select(&CODINGS[..]), 1..8);
    (message, framing, coding, 0..4_usize).prop_map(|(message, framing, coding, turn)| {
        let (grpc, tenant, traced, filler, status, interim, body) = message;
        let (padding, priority, parts, noise, resize) = framing;
        let framing = Framing { padding, priority, parts, noise, resize };
        Exchange { grpc, tenant, traced, filler, status, interim, body, coding, framing, turn }
    })
}

/// Scripts of some exchanges, up to four at once.
pub(crate) fn script() -> impl Strategy<Value = Script> {
    prop::collection::vec((exchange(), any::<bool>()), 1..14).prop_map(|exchanges| {
        let mut writer = Writer::new();
        let mut waiting: Vec<(usize, Exchange)> = Vec::new();
        for (number, (exchange, answers)) in exchanges.into_iter().enumerate() {
            writer.request(number, &exchange);
            waiting.push((number, exchange));
            while waiting.len() > 3 || (answers && !waiting.is_empty()) {
                let turn = waiting[0].1.turn % waiting.len();
                let (number, exchange) = waiting.remove(turn);
                writer.response(number, &exchange);
            }
        }
        for (number, exchange) in waiting {
            writer.response(number, &exchange);
        }
        writer.script
    })
}

/// The trace context of a request.
fn traceparent(number: usize) -> String {
    format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-0{}", number + 1, number % 2)
}

struct Writer<'a> {
    script: Script,
    encoders: [Encoder<'a>; 2],
}

type Fields<'f> = Vec<(&'f str, String)>;

impl Writer<'_> {
    fn new() -> Self {
        let mut writer = Self {
            script: Script { runs: Vec::new(), lines: Vec::new() },
            encoders: [Encoder::with_dynamic_size(4096), Encoder::with_dynamic_size(4096)],
        };
        let settings = frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]);
        writer.send(End::First, [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat());
        writer.send(End::Second, [settings, frame(4, 1, 0, &[])].concat());
        writer.send(End::First, frame(4, 1, 0, &[]));
        writer
    }

    fn request(&mut self, number: usize, exchange: &Exchange) {
        let method = if exchange.grpc || !exchange.body.is_empty() { "POST" } else { "GET" };
        let protocol = if exchange.grpc { "grpc" } else { "http/2" };
        let mut line = format!("> {number} {protocol} {method} /r{number} | host: h{}", number % 2);
        let mut fields: Fields<'_> = vec![
            (":method", method.into()),
            (":scheme", "http".into()),
            (":path", format!("/r{number}?secret=1")),
            (":authority", format!("h{}", number % 2)),
        ];
        if exchange.grpc {
            fields.push(("content-type", "application/grpc".into()));
            line += " | content-type: application/grpc";
        }
        if exchange.filler > 0 {
            fields.push(("cookie", "c".repeat(exchange.filler)));
        }
        if exchange.traced {
            fields.push(("traceparent", traceparent(number)));
            let _ = write!(line, " | traceparent: {}", traceparent(number));
        }
        if let Some(tenant) = exchange.tenant {
            fields.push(("x-tenant-id", format!("t{tenant}")));
            let _ = write!(line, " | x-tenant-id: t{tenant}");
        }
        self.script.lines.push(line);
        let bodiless = exchange.body.is_empty();
        self.block(End::First, number, &fields, exchange, bodiless);
        self.body(End::First, number, exchange, true);
    }

    fn response(&mut self, number: usize, exchange: &Exchange) {
        if exchange.interim {
            self.block(End::Second, number, &[(":status", "103".into())].into(), exchange, false);
        }
        let tenant = ("x-tenant-id", format!("r{number}"));
        if !exchange.grpc {
            let fields = vec![(":status", exchange.status.to_string()), ("content-type", "text/plain".into()), tenant];
            let line =
                format!("< {number} http/2 {} | content-type: text/plain | x-tenant-id: r{number}", exchange.status);
            self.script.lines.push(line);
            self.block(End::Second, number, &fields, exchange, exchange.body.is_empty());
            return self.body(End::Second, number, exchange, true);
        }
        let grpc_status = match exchange.status {
            200 => "0",
            404 => "5",
            _ => "14",
        };
        let mut fields = vec![(":status", "200".into()), ("content-type", "application/grpc".into()), tenant];
        let trailers = vec![("grpc-status", grpc_status.into()), ("grpc-message", "m".into())];
        let line =
            format!("< {number} grpc {} | content-type: application/grpc | x-tenant-id: r{number}", exchange.status);
        if exchange.body.is_empty() {
            // Trailers alone.
            fields.extend(trailers);
            self.script.lines.push(line);
            return self.block(End::Second, number, &fields, exchange, true);
        }
        self.block(End::Second, number, &fields, exchange, false);
        self.body(End::Second, number, exchange, false);
        self.block(End::Second, number, &trailers, exchange, true);
        self.script.lines.push(line);
    }

    fn block(&mut self, from: End, number: usize, fields: &Fields<'_>, exchange: &Exchange, ends: bool) {
        let encoder = &mut self.encoders[usize::from(from == End::Second)];
        let Framing { padding, priority, parts, noise, resize } = exchange.framing;
        let mut block = Vec::new();
        if resize {
            for size in [u32::from(noise), 4096] {
                encoder.update_max_dynamic_size(size, &mut block).expect("a size");
            }
        }
        for ((name, value), coding) in fields.iter().zip(exchange.coding.iter().cycle()) {
            encoder
                .encode((name.as_bytes().to_vec(), value.as_bytes().to_vec(), *coding), &mut block)
                .expect("a field");
        }
        let stream = u32::try_from(number * 2 + 1).expect("a stream");
        let mut bytes = noise_frames(noise);
        let mut chunks = block.chunks(block.len().div_ceil(parts)).peekable();
        let first = chunks.next().unwrap_or_default();
        let mut payload: Vec<u8> = padding.into_iter().collect();
        if priority {
            payload.extend([0, 0, 0, 0, 15]);
        }
        payload.extend(first);
        payload.extend(std::iter::repeat_n(0, usize::from(padding.unwrap_or(0))));
        let flags = u8::from(ends) | u8::from(padding.is_some()) << 3 | u8::from(priority) << 5;
        let end = |last: bool| if last { 4 } else { 0 };
        bytes.extend(frame(1, flags | end(chunks.peek().is_none()), stream, &payload));
        while let Some(chunk) = chunks.next() {
            bytes.extend(frame(9, end(chunks.peek().is_none()), stream, chunk));
        }
        self.send(from, bytes);
    }

    fn body(&mut self, from: End, number: usize, exchange: &Exchange, ends: bool) {
        let stream = u32::try_from(number * 2 + 1).expect("a stream");
        for (part, len) in exchange.body.iter().enumerate() {
            let last = ends && part + 1 == exchange.body.len();
            self.send(from, frame(0, u8::from(last), stream, &b"data ".repeat(len / 5)));
        }
    }

    fn send(&mut self, from: End, bytes: Vec<u8>) {
        match self.script.runs.last_mut() {
            Some((last, run)) if *last == from => run.extend(bytes),
            _ => self.script.runs.push((from, bytes)),
        }
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).expect("a payload").to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Frames that say nothing of messages; one of a type that nobody knows among them.
fn noise_frames(noise: u8) -> Vec<u8> {
    match noise % 6 {
        0 => frame(6, 0, 0, &[7; 8]),
        1 => frame(8, 0, 0, &[0, 0, 1, 0]),
        2 => frame(0x77, 0xff, 3, b"what is this"),
        3 => frame(2, 0, 1, &[0, 0, 0, 3, 9]),
        _ => Vec::new(),
    }
}
