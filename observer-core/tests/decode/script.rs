//! Conversations made up at random: the bytes that two ends send, and the messages that must be told of them.

#![expect(clippy::format_push_string, reason = "heads read best as the formats that they are")]

use observer_core::message::End;
use proptest::prelude::*;

/// One exchange of a script.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    request: Request,
    response: Response,
}

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one way in which a request can be written")]
struct Request {
    method: &'static str,
    filler: usize,
    tenant: bool,
    folded: bool,
    bare_line_feeds: bool,
    body: Body,
    expects_continue: bool,
    last: Last,
}

/// How a connection ends, if the request is its last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    No,
    /// HTTP/1.0: the response ends with the connection.
    Http10,
    /// Other bytes follow.
    Upgrade,
}

#[derive(Clone, Debug)]
struct Response {
    status: u16,
    body: Body,
}

/// The text is sent as a body.
#[derive(Clone, Debug)]
enum Body {
    None,
    Sized(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
}

/// The runs of bytes in the order in which they are sent, and the lines to be told.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) runs: Vec<(End, Vec<u8>)>,
    pub(crate) lines: Vec<String>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (from, bytes) in &self.runs {
            writeln!(formatter, "{from:?} {}", bytes.escape_ascii())?;
        }
        Ok(())
    }
}

/// What bodies are made of: text that looks like heads, and other text.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        Just(b"GET /fake HTTP/1.1\r\nTraceparent: fake\r\nX-Tenant-Id: fake\r\n\r\n".to_vec()),
        (0..300_usize).prop_map(|length| {
            format!("POST /fake HTTP/1.1\r\nX-Tenant-Id: fake\r\nContent-Length: {length}\r\n\r\n").into_bytes()
        }),
        (0..300_usize).prop_map(|length| {
            format!("HTTP/1.1 299 Fake\r\nX-Tenant-Id: fake\r\nContent-Length: {length}\r\n\r\n").into_bytes()
        }),
        Just(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        Just(b"POST http://fake/ HTTP/1.0\r\n".to_vec()),
        Just(b"PUT /fake HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(b"\r\n0\r\n\r\n".to_vec()),
        Just(b"some bytes \x00\xff\x80".to_vec()),
        Just(b"G".to_vec()),
    ];
    prop::collection::vec(fragment, 1..5).prop_map(|fragments| fragments.concat())
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        2 => Just(Body::None),
        2 => text().prop_map(Body::Sized),
        2 => prop::collection::vec(text(), 0..3).prop_map(Body::Chunked),
    ]
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let request = (
        prop_oneof![Just("GET"), Just("POST"), Just("HEAD"), Just("VERSION-CONTROL")],
        prop_oneof![Just(0_usize), 1..300_usize, Just(9000)],
        any::<bool>(),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        body(),
        any::<bool>(),
    )
        .prop_map(|(method, filler, tenant, folded, bare_line_feeds, body, expects_continue)| Request {
            method,
            filler,
            tenant,
            folded,
            bare_line_feeds,
            body,
            expects_continue,
            last: Last::No,
        });
    let response = (prop_oneof![3 => Just(200_u16), 1 => Just(204), 1 => Just(304), 1 => Just(500)], body())
        .prop_map(|(status, body)| Response { status, body });
    (request, response).prop_map(|(request, response)| Exchange { request, response })
}

/// Scripts of some exchanges. `pipelined`: after the first exchange several requests are sent before the first response.
pub(crate) fn script(pipelined: bool) -> impl Strategy<Value = Script> {
    prop::collection::vec((exchange(), any::<bool>()), 1..6).prop_map(move |exchanges| {
        let mut script = Script { runs: Vec::new(), lines: Vec::new() };
        let mut waiting = Vec::new();
        let last = exchanges.len() - 1;
        for (number, (exchange, together)) in exchanges.into_iter().enumerate() {
            let with_next = pipelined && together && number > 0 && number < last;
            script.request(number, &exchange.request, !pipelined);
            waiting.push((number, exchange));
            if !with_next {
                for (number, exchange) in waiting.drain(..) {
                    script.response(number, &exchange);
                }
            }
        }
        script
    })
}

/// How a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// It waits for each response.
    Waits,
    /// From its second and third request on it may send the next one before the last one is answered, but for those with a body:
    /// these it sends alone.
    Pipelines,
}

/// Scripts of many kinds of exchanges and clients; how many runs at the beginning tell what kind of client it is.
pub(crate) fn wide_script(may_pipeline: bool) -> impl Strategy<Value = (Script, usize)> {
    let client =
        prop_oneof![2 => Just(Client::Waits), 1 => Just(if may_pipeline { Client::Pipelines } else { Client::Waits })];
    let last = prop_oneof![2 => Just(Last::No), 1 => Just(Last::Http10), 1 => Just(Last::Upgrade)];
    (client, prop::collection::vec((exchange(), any::<bool>()), 1..10), last).prop_map(
        |(client, mut exchanges, last)| {
            if client == Client::Pipelines {
                for (exchange, _) in exchanges.iter_mut().take(3) {
                    exchange.request.body = Body::None;
                }
            }
            if let Some((exchange, _)) = exchanges.last_mut().filter(|_| last != Last::No) {
                exchange.request.last = last;
                exchange.request.method = "GET";
                exchange.request.body = Body::None;
                exchange.response.status = 200;
            }
            let mut script = Script { runs: Vec::new(), lines: Vec::new() };
            let mut waiting = std::collections::VecDeque::new();
            for (number, (exchange, together)) in exchanges.into_iter().enumerate() {
                let alone = client == Client::Waits
                    || !matches!(exchange.request.body, Body::None)
                    || exchange.request.last != Last::No;
                let keep = match client {
                    Client::Waits => 0,
                    Client::Pipelines if number == 1 => 0,
                    Client::Pipelines if number == 2 => 1,
                    Client::Pipelines if alone => 0,
                    Client::Pipelines => {
                        if together {
                            2
                        } else {
                            1
                        }
                    }
                };
                while waiting.len() > keep {
                    if let Some((number, exchange)) = waiting.pop_front() {
                        script.response(number, &exchange);
                    }
                }
                script.request(number, &exchange.request, true);
                waiting.push_back((number, exchange));
                while alone && let Some((number, exchange)) = waiting.pop_front() {
                    script.response(number, &exchange);
                }
            }
            for (number, exchange) in waiting {
                script.response(number, &exchange);
            }
            (script, if client == Client::Pipelines { 4 } else { 0 })
        },
    )
}

impl Script {
    fn request(&mut self, number: usize, request: &Request, interim: bool) {
        let line_end = if request.bare_line_feeds { "\n" } else { "\r\n" };
        let minor = u8::from(request.last != Last::Http10);
        let mut head =
            format!("{} /r{number}?secret=1 HTTP/1.{minor}{line_end}Host: h{number}{line_end}", request.method);
        let mut line = format!("> {number} http/1.{minor} {} /r{number} | host: h{number}", request.method);
        if request.last == Last::Upgrade {
            head += &format!("Upgrade: websocket{line_end}");
            line += " | upgrade: websocket";
        }
        if request.filler > 0 {
            head += &format!("Cookie: {}{line_end}", "c".repeat(request.filler));
        }
        if request.folded {
            head += &format!("tracestate:{line_end} a{number}=1,{line_end}\tb=2 {line_end}");
            line += &format!(" | tracestate: a{number}=1, b=2");
        }
        head += &format!("TRACEPARENT:  v{number} \t{line_end}");
        line += &format!(" | traceparent: v{number}");
        if request.tenant {
            head += &format!("X-Tenant-Id:t{number}{line_end}");
            line += &format!(" | x-tenant-id: t{number}");
        }
        self.lines.push(line);
        let body = request.body.bytes(&mut head, line_end);
        head += line_end;
        self.send(End::First, head.into_bytes());
        if interim && request.expects_continue && !body.is_empty() {
            self.send(End::Second, b"HTTP/1.1 100 Continue\r\n\r\n".to_vec());
        }
        self.send(End::First, body);
    }

    fn response(&mut self, number: usize, Exchange { request, response }: &Exchange) {
        if request.last != Last::No {
            return self.last_response(number, request.last, &response.body);
        }
        let mut head = format!("HTTP/1.1 {} Some reason\r\nX-Tenant-Id: r{number}\r\n", response.status);
        self.lines.push(format!("< {number} http/1.1 {} | x-tenant-id: r{number}", response.status));
        let body = match &response.body {
            Body::None if response.status == 200 || response.status == 500 => Body::Sized(Vec::new()),
            other => other.clone(),
        };
        let body = body.bytes(&mut head, "\r\n");
        head += "\r\n";
        self.send(End::Second, head.into_bytes());
        if request.method != "HEAD" && response.status != 204 && response.status != 304 {
            self.send(End::Second, body);
        }
    }

    fn last_response(&mut self, number: usize, last: Last, body: &Body) {
        let text = match body {
            Body::None => b"HTTP/1.1 299 Fake\r\n\r\n".to_vec(),
            Body::Sized(text) => text.clone(),
            Body::Chunked(chunks) => chunks.concat(),
        };
        if last == Last::Http10 {
            self.lines.push(format!("< {number} http/1.0 200 | x-tenant-id: r{number}"));
            self.send(End::Second, format!("HTTP/1.0 200 OK\r\nX-Tenant-Id: r{number}\r\n\r\n").into_bytes());
            return self.send(End::Second, text);
        }
        self.lines.push(format!("< {number} http/1.1 101 upgraded | upgrade: websocket | x-tenant-id: r{number}"));
        let head = format!("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nX-Tenant-Id: r{number}\r\n\r\n");
        self.send(End::Second, head.into_bytes());
        for from in [End::First, End::Second, End::First] {
            self.send(from, [b"\x81\x7e", &text[..]].concat());
        }
    }

    fn send(&mut self, from: End, bytes: Vec<u8>) {
        match self.runs.last_mut() {
            Some((last, run)) if *last == from => run.extend(bytes),
            _ => self.runs.push((from, bytes)),
        }
    }
}

impl Body {
    /// The bytes of the body; says its length in the head.
    fn bytes(&self, head: &mut String, line_end: &str) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Sized(text) => {
                // The space keeps the end of a head from being cut off as `0 CR LF CR LF`, which looks like a last chunk.
                *head += &format!("Content-Length: {} {line_end}", text.len());
                text.clone()
            }
            Self::Chunked(chunks) => {
                *head += &format!("Transfer-Encoding: chunked{line_end}");
                let mut body = Vec::new();
                for (number, chunk) in chunks.iter().enumerate() {
                    let extension = if number % 2 == 1 { ";name=\"value\"" } else { "" };
                    body.extend(format!("{:X}{extension}\r\n", chunk.len()).into_bytes());
                    body.extend(chunk);
                    body.extend(b"\r\n");
                }
                body.extend(if chunks.len() == 2 { &b"0\r\nTrailer: t\r\n\r\n"[..] } else { b"0\r\n\r\n" });
                body
            }
        }
    }
}
