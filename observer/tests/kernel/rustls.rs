//! What goes through rustls, which is linked into this program.

use std::io::{IoSlice, Read, Write};
use std::mem::ManuallyDrop;
use std::process::Command;
use std::sync::Arc;

use ::rustls::pki_types::pem::PemObject;
use ::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ::rustls::{ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig, ServerConnection};
use observer::tls::Library;

use crate::ends::{REQUEST, RESPONSE};
use crate::seen::{Seen, Tls};
use crate::tls::{bytes, sessions};

const CERTIFICATE: &str = "[req]\ndistinguished_name = name\nx509_extensions = extensions\nprompt = no\n[name]\nCN = localhost\n\
    [extensions]\nsubjectAltName = DNS:localhost\nbasicConstraints = critical, CA:FALSE\n";

/// Both sessions of a connection without a socket, once they have shaken hands. They are never freed: nothing tells the end of one, and
/// what is made in its memory would be taken for it.
fn both_ends() -> (ManuallyDrop<ClientConnection>, ManuallyDrop<ServerConnection>) {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| place.path().join(name);
    std::fs::write(file("config"), CERTIFICATE).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-config"]);
    openssl.arg(file("config")).arg("-keyout").arg(file("key")).arg("-out").arg(file("certificate"));
    let made = openssl.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let certificate = CertificateDer::from_pem_file(file("certificate")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("key")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        deliver(&mut client, &mut server);
        deliver(&mut server, &mut client);
    }
    (ManuallyDrop::new(client), ManuallyDrop::new(server))
}

/// What one end has to send is received by the other.
fn deliver<A, B>(from: &mut ConnectionCommon<A>, to: &mut ConnectionCommon<B>) {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut wire = &wire[..];
    while !wire.is_empty() {
        to.read_tls(&mut wire).unwrap();
        to.process_new_packets().unwrap();
    }
}

fn received<A>(at: &mut ConnectionCommon<A>, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    at.reader().read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn messages_through_rustls_are_told_at_both_ends() {
    let (mut seen, _alone) = Seen::with_libraries();
    seen.until("the library's probes", |seen| seen.observed.iter().any(|(library, _)| *library == Library::Rustls));
    let (mut client, mut server) = both_ends();
    client.writer().write_all(REQUEST).unwrap();
    deliver(&mut client, &mut server);
    assert_eq!(received(&mut server, REQUEST.len()), REQUEST);
    // Of several slices the first with something in it is told; how long they all are is known by what follows.
    let (head, body) = RESPONSE.split_at(RESPONSE.len() - 2);
    let slices = [b"", head, body].map(IoSlice::new);
    assert_eq!(server.writer().write_vectored(&slices).unwrap(), RESPONSE.len());
    server.writer().write_all(RESPONSE).unwrap();
    deliver(&mut server, &mut client);
    assert_eq!(received(&mut client, 2 * RESPONSE.len()), [RESPONSE, RESPONSE].concat());

    let (sent, answered) = (1 + REQUEST.len(), 1 + RESPONSE.len());
    seen.until("two responses at both ends", |seen| seen.tls.len() >= 8);
    let [client, server] = sessions(&seen)[..] else { panic!("two sessions: {:?}", seen.tls) };
    let begins = |session| Tls::Begins { session, socket: None, flow: None };
    let expected = [
        begins(client),
        bytes(client, true, [1, 1], REQUEST),
        begins(server),
        bytes(server, false, [1, 1], REQUEST),
        bytes(server, true, [1, sent], head),
        bytes(server, true, [answered, sent], RESPONSE),
        bytes(client, false, [1, sent], RESPONSE),
        bytes(client, false, [answered, sent], RESPONSE),
    ];
    assert_eq!(seen.tls, expected);
    assert_eq!(seen.lost(), []);
}

#[test]
fn what_can_only_begin_a_connection_of_rustls_begins_a_session() {
    const REQUEST_OF_HTTP_2: &[u8] =
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x04\x01\x05\0\0\0\x01\x82\x84\x86\x81";
    let (mut seen, _alone) = Seen::with_libraries();
    seen.until("the library's probes", |seen| seen.observed.iter().any(|(library, _)| *library == Library::Rustls));
    // What is sent through one connection stands for what is sent through several at one address.
    let (mut client, mut server) = both_ends();
    for sent in [REQUEST, REQUEST_OF_HTTP_2, REQUEST, REQUEST_OF_HTTP_2] {
        client.writer().write_all(sent).unwrap();
        deliver(&mut client, &mut server);
        assert_eq!(received(&mut server, sent.len()), sent);
    }
    let begun = |sends: bool| move |event: &&Tls| matches!(event, Tls::Bytes { sends: sent, seq: 1, bytes, .. } if *sent == sends && bytes.len() > 13);
    seen.until("four sessions at both ends", |seen| {
        [true, false].iter().all(|sends| seen.tls.iter().filter(begun(*sends)).count() >= 4)
    });
    assert_eq!((sessions(&seen).len(), seen.lost()), (8, vec![]));
}

#[test]
fn a_session_that_moves_is_the_same_and_one_in_its_place_is_another() {
    const OTHER: &[u8] = b"GET /other HTTP/1.1\r\nHost: other\r\n\r\n";
    let (mut seen, _alone) = Seen::with_libraries();
    seen.until("the library's probes", |seen| seen.observed.iter().any(|(library, _)| *library == Library::Rustls));
    let (mut first, mut second) = (both_ends(), both_ends());
    for (one, two) in [(REQUEST, OTHER), (OTHER, REQUEST)] {
        for ((client, server), sent) in [(&mut first, one), (&mut second, two)] {
            client.writer().write_all(sent).unwrap();
            deliver(client, server);
            assert_eq!(received(server, sent.len()), sent);
        }
        std::mem::swap(&mut first, &mut second);
    }
    let carried = |event: &&Tls| matches!(event, Tls::Bytes { .. });
    seen.until("eight requests", |seen| seen.tls.iter().filter(carried).count() >= 8);
    let sessions = sessions(&seen);
    assert_eq!((sessions.len(), seen.lost()), (4, vec![]), "{:?}", seen.tls);
    for (session, (sends, sent)) in
        sessions.into_iter().zip([(true, REQUEST), (false, REQUEST), (true, OTHER), (false, OTHER)])
    {
        let told: Vec<_> = seen.tls.iter().filter(|event| event.session() == session).cloned().collect();
        let begins = Tls::Begins { session, socket: None, flow: None };
        let twice = [1, 1 + sent.len()].map(|seq| bytes(session, sends, [seq, 1], sent));
        assert_eq!(told[..1], [begins]);
        assert_eq!(told[1..], twice);
    }
}

#[test]
fn what_is_sent_behind_many_slices_is_a_hole() {
    let (mut seen, _alone) = Seen::with_libraries();
    seen.until("the library's probes", |seen| seen.observed.iter().any(|(library, _)| *library == Library::Rustls));
    let (mut client, _server) = both_ends();
    let slices = [&b""[..], b"", b"", b"", b"", b"", b"", b"", b"", REQUEST].map(IoSlice::new);
    assert_eq!(client.writer().write_vectored(&slices).unwrap(), REQUEST.len());
    client.writer().write_all(REQUEST).unwrap();
    seen.until("a request", |seen| seen.tls.len() >= 2);
    assert_eq!(seen.tls[1], bytes(sessions(&seen)[0], true, [1 + REQUEST.len(), 1], REQUEST));
}
