//! AMQP 0-9-1 as peers write it.

/// What a client sends first.
pub(crate) const PROTOCOL_HEADER: &[u8] = b"AMQP\0\0\x09\x01";

pub(crate) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).expect("a frame");
    [&[kind][..], &channel.to_be_bytes(), &size.to_be_bytes(), payload, &[0xce]].concat()
}

pub(crate) fn method(channel: u16, class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
    frame(1, channel, &[&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat())
}

pub(crate) fn heartbeat() -> Vec<u8> {
    frame(8, 0, &[])
}

pub(crate) fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("a short string")][..], text.as_bytes()].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("a long string").to_be_bytes()[..], bytes].concat()
}

/// A field of a table: of a string or a table the length is put before it.
pub(crate) fn field(name: &str, kind: u8, value: &[u8]) -> Vec<u8> {
    let value = if b"SxFA".contains(&kind) { long(value) } else { value.to_vec() };
    [short(name), vec![kind], value].concat()
}

pub(crate) fn text(name: &str, value: &str) -> Vec<u8> {
    field(name, b'S', value.as_bytes())
}

pub(crate) fn publish(channel: u16, exchange: &str, key: &str) -> Vec<u8> {
    method(channel, 60, 40, &[&[0, 0][..], &short(exchange), &short(key), &[0]].concat())
}

pub(crate) fn deliver(channel: u16, exchange: &str, key: &str) -> Vec<u8> {
    let tag = [0, 0, 0, 0, 0, 0, 0, 7, 0];
    method(channel, 60, 60, &[&short("ctag1.1")[..], &tag, &short(exchange), &short(key)].concat())
}

pub(crate) fn get_ok(channel: u16, exchange: &str, key: &str) -> Vec<u8> {
    let tag = [0, 0, 0, 0, 0, 0, 0, 7, 1];
    method(channel, 60, 71, &[&tag[..], &short(exchange), &short(key), &[0, 0, 0, 3]].concat())
}

pub(crate) fn returned(channel: u16, exchange: &str, key: &str) -> Vec<u8> {
    method(channel, 60, 50, &[&312_u16.to_be_bytes()[..], &short("NO_ROUTE"), &short(exchange), &short(key)].concat())
}

/// The header of a message with this table of headers, if any, and other properties on both sides of it.
pub(crate) fn content(channel: u16, body: usize, table: Option<&[u8]>) -> Vec<u8> {
    let flags: u16 = 0x8000 | 0x1000 | 0x0400 | 0x0040 | if table.is_some() { 0x2000 } else { 0 };
    let payload = [
        &60_u16.to_be_bytes()[..],
        &[0, 0],
        &(body as u64).to_be_bytes(),
        &flags.to_be_bytes(),
        // Content type.
        &short("text/plain"),
        &table.map(long).unwrap_or_default(),
        // Delivery mode, correlation id, timestamp.
        &[2],
        &short("correlation"),
        &[0, 0, 0, 0, 0x69, 0, 0, 0],
    ];
    frame(2, channel, &payload.concat())
}

/// A body in frames of so many bytes.
pub(crate) fn body(channel: u16, bytes: &[u8], frame_bytes: usize) -> Vec<u8> {
    bytes.chunks(frame_bytes).flat_map(|part| frame(3, channel, part)).collect()
}

/// A message behind its method, with one header.
pub(crate) fn message(method: Vec<u8>, channel: u16, trace: &str) -> Vec<u8> {
    [method, content(channel, 4, Some(&text("traceparent", trace))), body(channel, b"body", 4096)].concat()
}

/// What passes until a channel is open, a run each: client, broker and so on.
pub(crate) fn opening() -> Vec<Vec<u8>> {
    let start = [&[0, 9][..], &long(&text("product", "RabbitMQ")), &long(b"PLAIN"), &long(b"en_US")].concat();
    let start_ok = [long(&[]), short("PLAIN"), long(b"\0guest\0guest"), short("en_US")].concat();
    let tune = [0x07, 0xff, 0, 2, 0, 0, 0, 60];
    vec![
        PROTOCOL_HEADER.to_vec(),
        method(0, 10, 10, &start),
        method(0, 10, 11, &start_ok),
        method(0, 10, 30, &tune),
        [method(0, 10, 31, &tune), method(0, 10, 40, &[&short("/")[..], &[0, 0]].concat())].concat(),
        method(0, 10, 41, &[0]),
        method(1, 20, 10, &[0]),
        method(1, 20, 11, &[0, 0, 0, 0]),
    ]
}
