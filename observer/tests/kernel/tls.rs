//! What goes through TLS libraries, in clear, and which connections it belongs to.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use observer::tls::Library;

use crate::ends::{Ends, LOOPBACK, REQUEST, RESPONSE};
use crate::openssl::{Loaded, Session};
use crate::seen::{Seen, Tls};

fn begins(session: u64, ends: Option<(u64, SocketAddr, SocketAddr)>) -> Tls {
    Tls::Begins { session, socket: ends.map(|ends| ends.0), flow: ends.map(|ends| (ends.1, ends.2)) }
}

pub fn bytes(session: u64, sends: bool, [seq, ack]: [usize; 2], bytes: &[u8]) -> Tls {
    Tls::Bytes { session, sends, seq, ack, wire_len: bytes.len(), bytes: bytes.to_vec() }
}

/// The sessions of this process in the order in which they began.
pub fn sessions(seen: &Seen) -> Vec<u64> {
    let begun = seen.tls.iter().filter_map(|event| match event {
        Tls::Begins { session, .. } => Some(*session),
        _ => None,
    });
    begun.collect()
}

fn of(seen: &Seen, wanted: u64) -> Vec<Tls> {
    seen.tls.iter().filter(|event| event.session() == wanted).cloned().collect()
}

fn ended(seen: &Seen, count: usize) -> bool {
    seen.tls.iter().filter(|event| matches!(event, Tls::Ends { .. })).count() >= count
}

#[test]
fn messages_through_openssl_are_told_whole_with_their_connections() {
    let (mut seen, _alone) = Seen::with_libraries();
    let both = TcpListener::bind("[::]:0").unwrap();
    let to_both = SocketAddr::new("127.0.0.1".parse().unwrap(), both.local_addr().unwrap().port());
    let long = [b"GET /long HTTP/1.1\r\nCookie: ".to_vec(), vec![b'a'; 3000], b"\r\n\r\n".to_vec()].concat();
    for ends in [Ends::on(LOOPBACK), Ends::on("[::1]:0"), {
        let client = TcpStream::connect(to_both).unwrap();
        Ends::of(client, both.accept().unwrap().0)
    }] {
        seen.tls.clear();
        let (client_cookie, server_cookie) = ends.cookies();
        let [client, server] = Session::over(ends.client.as_raw_fd(), ends.server.as_raw_fd());
        client.write(REQUEST);
        // What is looked at is not taken.
        assert_eq!((server.peek(), server.read()), (REQUEST.to_vec(), REQUEST.to_vec()));
        server.write_ex(RESPONSE);
        assert_eq!(client.read_ex(), RESPONSE);
        client.write_ex(&long);
        assert_eq!(server.read_ex(), long);
        drop((client, server));
        seen.until("the end of both sessions", |seen| ended(seen, 2));

        let [client, server] = sessions(&seen)[..] else { panic!("two sessions: {:?}", seen.tls) };
        let (from, to) = ends.addresses();
        let [from, to] = [from, to].map(|end| SocketAddr::new(end.ip().to_canonical(), end.port()));
        let (sent, answered) = (1 + REQUEST.len(), 1 + RESPONSE.len());
        for (session, sends, ends) in
            [(client, true, (client_cookie, from, to)), (server, false, (server_cookie, to, from))]
        {
            let expected = [
                begins(session, Some(ends)),
                bytes(session, sends, [1, 1], REQUEST),
                bytes(session, !sends, [1, sent], RESPONSE),
                bytes(session, sends, [sent, answered], &long),
                Tls::Ends { session },
            ];
            assert_eq!(of(&seen, session), expected);
        }
    }
    assert_eq!(seen.lost(), []);
}

#[test]
fn frames_through_openssl_are_told() {
    let (mut seen, _alone) = Seen::with_libraries();
    let ends = Ends::on(LOOPBACK);
    let [client, server] = Session::over(ends.client.as_raw_fd(), ends.server.as_raw_fd());
    // SETTINGS, then HEADERS of stream 1 that end it: `:method: GET` and three more of the static table.
    let headers = b"\0\0\x04\x01\x05\0\0\0\x01\x82\x84\x86\x81";
    let opening = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"\0\0\0\x04\0\0\0\0\0", headers].concat();
    client.write(&opening);
    assert_eq!(server.read(), opening);
    let next = [&headers[..8], b"\x03", &headers[9..]].concat();
    client.write(&next);
    assert_eq!(server.read(), next);
    let told = |seen: &Seen, wanted: &[u8], sent: bool| {
        seen.tls.iter().any(|event| {
            matches!(event, Tls::Bytes { sends, bytes, .. }
                if *sends == sent && bytes.windows(wanted.len()).any(|window| window == wanted))
        })
    };
    seen.until("both blocks of headers at both ends", |seen| {
        [true, false].iter().all(|sent| told(seen, headers, *sent) && told(seen, &next, *sent))
    });
    assert_eq!(sessions(&seen).len(), 2);
    assert_eq!(seen.lost(), []);
}

#[test]
fn a_session_over_no_connection_has_none() {
    let (mut seen, _alone) = Seen::with_libraries();
    let (one, other) = UnixStream::pair().unwrap();
    for [client, server] in [Session::over_memory(), Session::over(one.as_raw_fd(), other.as_raw_fd())] {
        seen.tls.clear();
        client.write(REQUEST);
        assert_eq!(server.read(), REQUEST);
        drop((client, server));
        seen.until("the end of both sessions", |seen| ended(seen, 2));
        let [client, server] = sessions(&seen)[..] else { panic!("two sessions: {:?}", seen.tls) };
        for (session, sends) in [(client, true), (server, false)] {
            let expected = [begins(session, None), bytes(session, sends, [1, 1], REQUEST), Tls::Ends { session }];
            assert_eq!(of(&seen, session), expected);
        }
    }
}

/// A library that says of itself to be this version of OpenSSL, and has done whatever it is told to write.
fn like_openssl(version: &str, place: &Path) -> PathBuf {
    let (source, file) = (place.join("libssl.c"), place.join(format!("libssl-{version}.so")));
    let text = format!(
        "const char *text = \"OpenSSL {version} 1 Jan 2026\";\n\
         int SSL_write(void *session, const void *bytes, int len) {{ return len; }}\n"
    );
    std::fs::write(&source, text).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&file).arg(&source).status().unwrap();
    assert!(built.success());
    file
}

/// The address of a structure with these words of 64 bits at these places. It stays, so that no other has the same.
fn structure(at: &[(usize, u64)]) -> u64 {
    let words = Box::leak(Box::new([0u64; 16]));
    for (at, word) in at {
        words[at / 8] = *word;
    }
    words.as_ptr() as u64
}

#[test]
fn sessions_of_each_release_lead_to_their_socket() {
    const SOCKET: u64 = 0x505;
    const MEMORY: u64 = 0x401;
    let place = tempfile::tempdir().unwrap();
    let ends = Ends::on(LOOPBACK);
    let descriptor = u64::try_from(ends.client.as_raw_fd()).unwrap();
    let known = Some((ends.cookies().0, ends.addresses().0, ends.addresses().1));
    let in_bio = [("1.1.1w", 0, 48), ("3.0.19", 8, 56), ("3.2.0", 8, 56), ("3.5.7", 8, 56), ("3.7.0", 8, 56)];
    let (mut seen, _alone) = Seen::with_libraries();
    for (version, method_at, descriptor_at) in in_bio {
        let library = Loaded::new(&like_openssl(version, place.path()));
        let observed = (Library::OpenSsl, Some(version.to_owned()));
        seen.until("the library's probes", |seen| seen.observed.contains(&observed));
        for (kind, expected) in [(SOCKET, known), (MEMORY, None)] {
            let method = structure(&[(0, kind)]);
            let bio = structure(&[(method_at, method), (descriptor_at, descriptor)]);
            let session = match version {
                "3.2.0" => structure(&[(64, 0x0303), (72, bio)]),
                "3.5.7" => structure(&[(64, method), (72, 0x0304), (80, bio)]),
                _ => structure(&[(16, bio)]),
            };
            seen.tls.clear();
            library.write(session, REQUEST);
            seen.until("what was written", |seen| seen.tls.len() >= 2);
            let number = seen.tls[0].session();
            // The way of releases to come is not known.
            let expected = expected.filter(|_| version != "3.7.0");
            assert_eq!(seen.tls, [begins(number, expected), bytes(number, true, [1, 1], REQUEST)], "{version}");
        }
    }
}

#[test]
fn what_a_library_uses_again_is_another_session() {
    let (mut seen, _alone) = Seen::with_libraries();
    let sessions_of_library = [Session::new(), Session::new()];
    let mut expected = Vec::new();
    for _ in 0..2 {
        let ends = Ends::on(LOOPBACK);
        let (from, to) = ends.addresses();
        let cookies = ends.cookies();
        sessions_of_library[0].use_descriptor(ends.client.as_raw_fd());
        sessions_of_library[1].use_descriptor(ends.server.as_raw_fd());
        Session::shake_hands(&sessions_of_library);
        let [client, server] = &sessions_of_library;
        client.write(REQUEST);
        assert_eq!(server.read(), REQUEST);
        expected.extend([(Some(cookies.0), Some((from, to))), (Some(cookies.1), Some((to, from)))]);
        client.clear();
        server.clear();
    }
    seen.until("the end of four sessions", |seen| ended(seen, 4));
    let begun = seen.tls.iter().filter_map(|event| match event {
        Tls::Begins { socket, flow, .. } => Some((*socket, *flow)),
        _ => None,
    });
    assert_eq!(begun.collect::<Vec<_>>(), expected);
}

#[test]
fn what_probes_are_hit_is_counted_by_process() {
    let (seen, _alone) = Seen::with_libraries();
    let [client, server] = Session::over_memory();
    let hits =
        || seen.probe_hits().into_iter().find(|(process, _)| *process == std::process::id()).map_or(0, |hit| hit.1);
    let before = hits();
    client.write(REQUEST);
    assert_eq!(hits() - before, 2);
    assert_eq!(server.read(), REQUEST);
    assert_eq!(hits() - before, 4);
    drop(client);
    assert_eq!(hits() - before, 5);
}

#[test]
fn what_probes_cost_is_told_by_command() {
    let (mut seen, _alone) = Seen::with_libraries();
    let [client, server] = Session::over_memory();
    // Far more than the other tests, whose hits are counted too.
    for _ in 0..1000 {
        client.write(REQUEST);
        assert_eq!(server.read(), REQUEST);
    }
    let command = std::fs::read_to_string("/proc/self/comm").unwrap();
    let cost = |seen: &Seen| {
        let mut all = seen.counters().into_iter().flat_map(|source| source.probes);
        all.find(|cost| cost.command == command.trim_end()).filter(|cost| cost.hits >= 4000)
    };
    seen.until("all hits", |seen| cost(seen).is_some());
    // What a hit costs was measured, whatever it is here.
    assert!(!cost(&seen).unwrap().a_second.is_zero());
}
