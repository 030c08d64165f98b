//! Capture files, built byte by byte, and what is read of them.
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

mod build;
mod files;
mod frames;
mod properties;

use std::fmt::Write as _;
use std::io::Cursor;
use std::time::Duration;

use expect_test::Expect;
use observer::capture::file::FileCapture;
use observer::capture::{Event, Source};

/// What is read of a file, a line an event, and what is lost.
fn told(file: &[u8]) -> String {
    let mut text = String::new();
    let mut capture = match FileCapture::read("it".to_owned(), None, Cursor::new(file.to_vec())) {
        Ok(capture) => capture,
        Err(error) => return format!("{error}\n"),
    };
    loop {
        let more = capture.poll(Duration::ZERO, &mut |event| describe(&event, &mut text)).unwrap();
        if !more {
            break;
        }
    }
    for counters in capture.counters() {
        for (reason, count) in counters.lost.iter().filter(|(_, count)| *count > 0) {
            writeln!(text, "lost: {reason} {count}").unwrap();
        }
    }
    text
}

fn describe(event: &Event<'_>, text: &mut String) {
    match event {
        Event::Packet { packet, .. } => {
            let close = if packet.closes { " closes" } else { "" };
            let (from, to) = (packet.flow.source, packet.flow.destination);
            let nanoseconds = packet.at.0 % 1_000_000_000;
            let shown = String::from_utf8_lossy(packet.bytes).escape_debug().to_string();
            let length = packet.wire_len;
            let ack = packet.ack.map_or(String::new(), |ack| format!(" ack {ack}"));
            writeln!(
                text,
                "{nanoseconds} {}:{} > {}:{} seq {}{ack} len {length} {shown}{close}",
                from.ip, from.port, to.ip, to.port, packet.seq
            )
            .unwrap();
        }
        Event::Opaque { kind, .. } => writeln!(text, "opaque {kind:?}").unwrap(),
        Event::Unasked { .. } | Event::Socket(_) | Event::Reads(_) | Event::GoCalls(_) => {
            unreachable!("a file shows what was asked, and has no sockets")
        }
        Event::Plain(_) | Event::SessionBegins { .. } | Event::SessionEnds { .. } | Event::TlsProcess(_) => {
            unreachable!("a file has no sessions and no processes")
        }
    }
}

fn check(file: &[u8], expected: &Expect) {
    expected.assert_eq(&told(file));
}
