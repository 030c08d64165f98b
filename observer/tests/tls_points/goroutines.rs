//! Where goroutines are followed in programs as Debian's compiler makes them.

use std::fs::File;
use std::path::Path;

use observer::tls::{Unfollowed, goroutines};

use crate::broken::without_sections;
use crate::go::{begins_and_returns, built};
use crate::{Points, functions, output};

const STRIPPED: &str = "-ldflags=-s -w";
const BEARS: &str = "runtime.newproc1";

/// Where the functions begin behind their checks of the stack, and where births end, by their symbols and the disassembler.
fn expected(path: &Path) -> Points {
    let functions = functions(path, &[]);
    let mut points = Points::new();
    for (name, program) in [
        ("net/http.(*conn).readRequest", "go_reads_request"),
        (BEARS, "go_bears"),
        ("net/http.(*persistConn).roundTrip", "go_calls"),
    ] {
        let (begins, returns) = begins_and_returns(path, name, functions[name]);
        points.insert((program, begins));
        points.extend(returns.into_iter().filter(|_| name == BEARS).map(|at| ("go_born", at)));
    }
    points
}

fn points(path: &Path) -> Points {
    let points = goroutines(&File::open(path).unwrap()).unwrap();
    // Nobody works for a request before births are seen.
    assert_eq!(points.last().unwrap().program, "go_reads_request");
    points.iter().map(|point| (point.program, point.offset)).collect()
}

#[test]
fn the_points_of_a_server_are_found_with_symbols_and_without() {
    let place = tempfile::tempdir().unwrap();
    for mode in ["-buildmode=exe", "-buildmode=pie"] {
        let whole = built(place.path(), "server.go", &[mode]);
        let expected = expected(&whole);
        assert!(expected.len() >= 4, "{expected:?}");
        assert_eq!(points(&whole), expected, "{mode}");

        let stripped = built(place.path(), "server.go", &[mode, STRIPPED]);
        assert_eq!(output("nm", &["-a"], &stripped), "", "{mode}");
        assert_eq!(points(&stripped), expected, "{mode}");
        assert_eq!(points(without_sections(&stripped).path()), expected, "{mode}");
    }
}

#[test]
fn what_cannot_be_followed_says_why() {
    let place = tempfile::tempdir().unwrap();
    let looked = |path: &Path| goroutines(&File::open(path).unwrap());
    assert_eq!(looked(Path::new("/proc/self/exe")), Err(Unfollowed::NotGo));
    assert_eq!(looked(&built(place.path(), "dials.go", &[])), Err(Unfollowed::NoHttp));
    let text = place.path().join("text");
    std::fs::write(&text, "no program").unwrap();
    assert_eq!(looked(&text), Err(Unfollowed::Unreadable("it is not an ELF file".to_owned())));

    // Another release in the place where a program tells its own.
    let server = built(place.path(), "server.go", &[]);
    let told = output("go", &["env"], Path::new("GOVERSION"));
    let (release, old) = (told.trim().as_bytes(), b"go1.17");
    let mut bytes = std::fs::read(&server).unwrap();
    let header = memchr::memmem::find(&bytes, b"\xff Go buildinf:").unwrap();
    let at = header + memchr::memmem::find(&bytes[header..], release).unwrap();
    bytes[at..at + old.len()].copy_from_slice(old);
    std::fs::write(&server, &bytes).unwrap();
    assert!(matches!(looked(&server), Err(Unfollowed::OldRelease(_))), "{:?}", looked(&server));

    let server = built(place.path(), "server.go", &["-a"]);
    let mut bytes = std::fs::read(&server).unwrap();
    let begins = usize::try_from(functions(&server, &[])[BEARS]).unwrap();
    bytes[begins] = 0xcc;
    std::fs::write(&server, bytes).unwrap();
    assert_eq!(looked(&server), Err(Unfollowed::UnknownCode(BEARS)));
}
