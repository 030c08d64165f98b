//! Calls that go on within other calls, at once or in other ways than a library's plain read and write: libraries that look like
//! OpenSSL and GnuTLS and do what they are told.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

use observer::tls::Library;
use tempfile::TempDir;

use crate::ends::{REQUEST, RESPONSE};
use crate::openssl::Loaded;
use crate::seen::{Seen, Tls};
use crate::tls::bytes;

/// A session that begins with another one reads a record of TLS from that one first. Nothing else is read of a session.
const OPENSSL: &str = r#"
long SSL_read(void **session, const char *bytes, long len) {
    char sealed[32] = "\x17\3\3\0\x20 and what is sealed in it";
    return *session ? SSL_read(*session, sealed, sizeof sealed), len : len;
}
long SSL_read_ex(void *session, const char *bytes, long len, long *count) { return 1; }
long SSL_write(void *session, const char *bytes, long len) { return len; }
long SSL_write_ex2(void *session, const char *bytes, long len, long flags, long *count) { *count = len; return 1; }
long SSL_sendfile(void *session, int file, long offset, long len, int flags) { return len; }
"#;

/// Corked (`flags` say so here), it keeps what is to be sent.
const GNUTLS: &str = r"
static const char *kept;
static long kept_len;
long gnutls_record_send2(void *session, const char *bytes, long len, long pad, int flags) {
    if (flags) { kept = bytes; kept_len = len; }
    return len;
}
long gnutls_record_recv(void *session, const char *bytes, long len) { return len; }
long gnutls_record_uncork(void *session, int wait) { return gnutls_record_send2(session, kept, kept_len, 0, 0); }
";

fn built(place: &Path, name: &str, source: &str, options: &[&str]) -> PathBuf {
    let (text, file) = (place.join(name).with_extension("c"), place.join(name));
    std::fs::write(&text, source).unwrap();
    assert!(Command::new("cc").arg("-o").arg(&file).arg(&text).args(options).status().unwrap().success());
    file
}

/// What looks like OpenSSL, once it is probed, in a file that stays there.
fn openssl(seen: &mut Seen) -> (Loaded, TempDir) {
    static BUILT: AtomicU32 = AtomicU32::new(0);
    // What another test had loaded may still be taken for loaded: each says that it is another release, and none that is known.
    let version = format!("3.9.{}", BUILT.fetch_add(1, Ordering::Relaxed));
    loaded(
        seen,
        &format!("{OPENSSL}const char *text = \"OpenSSL {version} 1\";"),
        &(Library::OpenSsl, Some(version.clone())),
    )
}

fn loaded(seen: &mut Seen, source: &str, library: &(Library, Option<String>)) -> (Loaded, TempDir) {
    let place = tempfile::tempdir().unwrap();
    let loaded = Loaded::new(&built(place.path(), "library.so", source, &["-shared", "-fPIC"]));
    seen.until("the library's probes", |seen| seen.observed.contains(library));
    (loaded, place)
}

fn call(library: &Loaded, name: &CStr, arguments: [u64; 5]) -> i64 {
    // SAFETY: the functions above take no more arguments, all of which registers hold.
    let function: extern "C" fn(u64, u64, u64, u64, u64) -> i64 =
        unsafe { std::mem::transmute(library.function(name)) };
    let [session, buffer, len, fourth, fifth] = arguments;
    function(session, buffer, len, fourth, fifth)
}

fn pass(library: &Loaded, name: &CStr, session: u64, bytes: &[u8]) {
    let len = call(library, name, [session, bytes.as_ptr() as u64, bytes.len() as u64, 0, 0]);
    assert_eq!(usize::try_from(len).unwrap(), bytes.len());
}

fn begins(session: u64) -> Tls {
    Tls::Begins { session, socket: None, flow: None }
}

/// What was told, but for when sessions began.
fn told(seen: &Seen) -> Vec<Tls> {
    seen.tls.iter().filter(|event| !matches!(event, Tls::Begins { .. })).cloned().collect()
}

#[test]
fn tls_within_tls_is_told_once_and_whole() {
    let (mut seen, _alone) = Seen::with_libraries();
    let (library, _place) = openssl(&mut seen);
    let inner = [0u64];
    let outer = [inner.as_ptr() as u64];
    let session = outer.as_ptr() as u64;
    for bytes in [REQUEST, RESPONSE] {
        pass(&library, c"SSL_read", session, bytes);
    }
    seen.until("two reads", |seen| told(seen).len() >= 2);
    let [.., Tls::Bytes { session, .. }] = seen.tls[..] else { panic!("{:?}", seen.tls) };
    let expected = [bytes(session, false, [1, 1], REQUEST), bytes(session, false, [1 + REQUEST.len(), 1], RESPONSE)];
    assert_eq!(told(&seen), expected);
    assert_eq!((seen.tls.len(), seen.opaque.len()), (4, 0));
    assert_eq!(seen.lost(), []);
}

#[test]
fn what_is_sent_in_other_ways_counts() {
    let (mut seen, _alone) = Seen::with_libraries();
    let (library, _place) = openssl(&mut seen);
    let zero = [0u64];
    let session = zero.as_ptr() as u64;
    let mut count = 0u64;
    let len = REQUEST.len() as u64;
    let arguments = [session, REQUEST.as_ptr() as u64, len, 7, &raw mut count as u64];
    assert_eq!((call(&library, c"SSL_write_ex2", arguments), count), (1, len));
    assert_eq!(call(&library, c"SSL_sendfile", [session, 3, 0, 1000, 0]), 1000);
    pass(&library, c"SSL_write", session, REQUEST);
    seen.until("two requests", |seen| seen.tls.len() >= 3);
    let number = seen.tls[0].session();
    let next = 1 + REQUEST.len() + 1000;
    let expected = [begins(number), bytes(number, true, [1, 1], REQUEST), bytes(number, true, [next, 1], REQUEST)];
    assert_eq!(seen.tls, expected);
    assert_eq!(seen.lost(), []);
}

#[test]
fn a_number_of_bytes_that_cannot_be_read_is_a_loss() {
    let (mut seen, _alone) = Seen::with_libraries();
    let (library, _place) = openssl(&mut seen);
    let zero = [0u64];
    assert_eq!(call(&library, c"SSL_read_ex", [zero.as_ptr() as u64, REQUEST.as_ptr() as u64, 1, 8, 0]), 1);
    seen.until_now();
    assert_eq!((seen.lost(), &seen.tls[..]), (vec![("unreadable", 1)], &[][..]));
}

#[test]
fn what_was_corked_is_told_once() {
    let (mut seen, _alone) = Seen::with_libraries();
    let (library, _place) = loaded(&mut seen, GNUTLS, &(Library::GnuTls, None));
    let (session, len) = (0x1000, REQUEST.len() as u64);
    for _ in 0..2 {
        let took = call(&library, c"gnutls_record_send2", [session, REQUEST.as_ptr() as u64, len, 0, 1]);
        assert_eq!((took, call(&library, c"gnutls_record_uncork", [session, 0, 0, 0, 0])), (28, 28));
    }
    pass(&library, c"gnutls_record_recv", session, RESPONSE);
    seen.until("an answer", |seen| seen.tls.len() >= 4);
    let number = seen.tls[0].session();
    let (first, second) = (1 + REQUEST.len(), 1 + 2 * REQUEST.len());
    let expected = [
        begins(number),
        bytes(number, true, [1, 1], REQUEST),
        bytes(number, true, [first, 1], REQUEST),
        bytes(number, false, [1, second], RESPONSE),
    ];
    assert_eq!(seen.tls, expected);
    assert_eq!(seen.lost(), []);
}

#[test]
fn a_session_that_two_threads_begin_at_once_is_one() {
    const ROUNDS: u64 = 5000;
    let (mut seen, _alone) = Seen::with_libraries();
    let (library, _place) = openssl(&mut seen);
    let function = library.function(c"SSL_write") as usize;
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // SAFETY: as in `call`.
                let write: extern "C" fn(u64, *const u8, u64) -> i64 = unsafe { std::mem::transmute(function) };
                for round in 1..=ROUNDS {
                    barrier.wait();
                    write(round << 20, REQUEST.as_ptr(), 1);
                }
            });
        }
    });
    seen.until("all sessions", |seen| seen.begun.len() as u64 >= ROUNDS);
    let mut numbers: Vec<u64> = seen.begun.iter().map(|session| session.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!((numbers.len() as u64, seen.begun.len() as u64), (ROUNDS, ROUNDS));
}

#[test]
fn a_process_that_runs_another_program_has_other_sessions() {
    let (mut seen, _alone) = Seen::with_libraries();
    let (_library, place) = openssl(&mut seen);
    let source = r#"int main(int count, char **arguments) {
        SSL_write(0x1000, "GET / HTTP/1.1", 14);
        return count < 2 ? execl(arguments[0], arguments[0], "again", (char *)0) : 0;
    }"#;
    let shared = place.path().join("library.so");
    let program = built(place.path(), "program", source, &["-w", shared.to_str().unwrap()]);
    let mut child = Command::new(program).spawn().unwrap();
    let process = child.id();
    assert!(child.wait().unwrap().success());
    seen.until_now();
    let numbers: Vec<u64> =
        seen.begun.iter().filter(|session| session.process == process).map(|session| session.number).collect();
    assert!(matches!(numbers[..], [first, second] if first != second), "{numbers:?}");
}
