//! Recordings of connections: their text comes in, the runs of bytes of both ends go out. `> ` is the client, `< ` the server,
//! `.` the end; bytes that are no text are written as in Rust.

use observer_core::message::End;

/// The runs of bytes of a recording.
pub(crate) fn runs(recording: &str) -> Vec<(End, Vec<u8>)> {
    let lines = recording.lines().filter(|line| !line.ends_with(" ."));
    lines.map(|line| (if line.starts_with('>') { End::First } else { End::Second }, unescape(&line[2..]))).collect()
}

/// The runs of bytes of each connection in a recording of several: a line begins with the connection's number. Lines behind `=`
/// are what the client logged.
pub(crate) fn connections(recording: &str) -> Vec<Vec<(End, Vec<u8>)>> {
    let mut connections: Vec<Vec<(End, Vec<u8>)>> = Vec::new();
    for line in recording.lines().filter(|line| !line.starts_with('=')) {
        let (number, run) = line.split_once(' ').expect("a connection");
        let number: usize = number.parse().expect("the number of a connection");
        connections.resize_with(connections.len().max(number + 1), Vec::new);
        connections[number].extend(runs(run));
    }
    connections
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
