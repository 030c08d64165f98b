//! Recordings of connections: their text comes in, the runs of bytes of both ends go out. `> ` is the client, `< ` the server,
//! `.` the end; bytes that are no text are written as in Rust.

use observer_core::message::End;

/// The runs of bytes of a recording.
pub(crate) fn runs(recording: &str) -> Vec<(End, Vec<u8>)> {
    let lines = recording.lines().filter(|line| !line.ends_with(" ."));
    lines.map(|line| (if line.starts_with('>') { End::First } else { End::Second }, unescape(&line[2..]))).collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, byte == b'\\') {
            (_, true) => match rest.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'x') => {
                    let digits: String = rest.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).expect("two hex digits")
                }
                other => other.expect("an escaped byte"),
            },
            (byte, false) => byte,
        });
    }
    bytes
}
