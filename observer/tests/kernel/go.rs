//! What goes through Go's crypto/tls: a library that looks like a Go program, whose functions begin and end as Go's do.

use std::arch::asm;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::Command;

use observer::tls::Library;

use crate::ends::{REQUEST, RESPONSE};
use crate::openssl::Loaded;
use crate::seen::{Seen, Tls};
use crate::tls::{bytes, sessions};

/// The table of functions as Go 1.18 and 1.19 write it. A function without stack enough asks for more and begins anew.
const SOURCE: &str = r#"__asm__(
".section .go.buildinfo,\"aw\"\n .balign 16\n .ascii \"\\377 Go buildinf:\"\n .byte 8, 2\n .skip 16\n .byte 6\n .ascii \"go1.19\"\n"
".section .gopclntab,\"a\"\n .balign 16\n"
"table: .long 0xfffffff0\n .byte 0, 0, 1, 8\n .quad 2, 0, 0x100000\n"
".quad names - table, units - table, units - table, units - table, functions - table\n"
"names: .asciz \"\"\n name_write: .asciz \"crypto/tls.(*Conn).Write\"\n name_read: .asciz \"crypto/tls.(*Conn).Read\"\n"
"units: .quad 0\n"
"functions: .long write - text, of_write - functions, read - text, of_read - functions, end - text\n"
"of_write: .long write - text, name_write - names\n"
"of_read: .long read - text, name_read - names\n"
".section .gotext,\"ax\"\n text: nop\n"
"write: cmp 16(%r14), %rsp\n jbe 1f\n mov %rcx, %rax\n ret\n 1: movq $0, 16(%r14)\n jmp write\n"
"read: cmp 16(%r14), %rsp\n jbe 1f\n mov 24(%r14), %rax\n ret\n 1: movq $0, 16(%r14)\n jmp read\n"
"end:\n"
".globl go_write, go_read\n .type go_write, @function\n .type go_read, @function\n .set go_write, write\n .set go_read, read\n");"#;

/// The library as this release writes it. Each test has one of its own: captures are used again, and know what they have probed.
fn built(place: &Path, release: &str) -> PathBuf {
    let (source, file) = (place.join("go.c"), place.join("go.so"));
    std::fs::write(&source, SOURCE.replace("go1.19", release)).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-Wl,--section-start=.gotext=0x100000", "-o"]).arg(&file).arg(&source);
    assert!(compiler.status().unwrap().success());
    file
}

/// What Go's functions know of their goroutine (`runtime.g`): below which address its stack is used up.
#[repr(C)]
struct Goroutine {
    _stack: [u64; 2],
    guard: u64,
    /// How many bytes a read is to have taken.
    reads: usize,
}

/// Calls a function of the library as Go code does, first without stack enough; tells how many bytes it did.
fn call(function: *mut c_void, session: u64, bytes: &[u8]) -> usize {
    let mut goroutine = Goroutine { _stack: [0; 2], guard: u64::MAX, reads: bytes.len() };
    let done: u64;
    // SAFETY: the functions change no register but RAX, no memory but the goroutine's. RBX is the compiler's own, hence saved.
    unsafe {
        asm!(
            "push r14",
            "push rbx",
            "mov r14, rdi",
            "mov rbx, rsi",
            "call rdx",
            "pop rbx",
            "pop r14",
            in("rdi") &raw mut goroutine,
            in("rsi") bytes.as_ptr(),
            in("rdx") function,
            inout("rax") session => done,
            in("rcx") bytes.len(),
            clobber_abi("C"),
        );
    }
    assert_eq!(goroutine.guard, 0, "it asked for more stack");
    usize::try_from(done).unwrap()
}

/// What stands for a session and has no connection in it. No other one comes to be at the same place: nothing tells the end of this one.
fn conn() -> u64 {
    Box::leak(Box::new([0u64; 64])).as_ptr() as u64
}

#[test]
fn messages_through_go_are_told_once_though_its_functions_begin_anew() {
    let place = tempfile::tempdir().unwrap();
    let library = Loaded::new(&built(place.path(), "go1.19"));
    let [write, read] = [c"go_write", c"go_read"].map(|name| library.function(name));
    let (mut seen, _alone) = Seen::with_libraries();
    let observed = (Library::Go, Some("go1.19".to_owned()));
    seen.until("the library's probes", |seen| seen.observed.contains(&observed));
    let conn = conn();
    for _ in 0..2 {
        assert_eq!(call(write, conn, REQUEST), REQUEST.len());
        assert_eq!(call(read, conn, RESPONSE), RESPONSE.len());
    }
    let (sent, received) = (1 + REQUEST.len(), 1 + RESPONSE.len());
    seen.until("two exchanges", |seen| seen.tls.len() >= 5);
    let session = sessions(&seen)[0];
    let expected = [
        Tls::Begins { session, socket: None, flow: None },
        bytes(session, true, [1, 1], REQUEST),
        bytes(session, false, [1, sent], RESPONSE),
        bytes(session, true, [sent, received], REQUEST),
        bytes(session, false, [received, 2 * sent - 1], RESPONSE),
    ];
    assert_eq!(seen.tls, expected);
    assert_eq!(seen.lost(), []);
}

/// The header and the block of HEADERS of this stream.
fn headers(stream: u8) -> ([u8; 9], [u8; 4]) {
    // `:method: GET` and three more of the static table.
    ([0, 0, 4, 1, 5, 0, 0, 0, stream], [0x82, 0x84, 0x86, 0x81])
}

#[test]
fn a_session_that_go_reads_header_by_header_is_joined_where_headers_begin() {
    const DATA: [&[u8]; 2] = [&[0, 0, 3, 0, 1, 0, 0, 0, 1], b"abc"];
    let place = tempfile::tempdir().unwrap();
    let library = Loaded::new(&built(place.path(), "go1.18"));
    let read = library.function(c"go_read");
    let (mut seen, _alone) = Seen::with_libraries();
    let observed = (Library::Go, Some("go1.18".to_owned()));
    seen.until("the library's probes", |seen| seen.observed.contains(&observed));
    let [frames, other] = [(); 2].map(|()| conn());
    // A block of which the header was read before.
    call(read, frames, &headers(1).1);
    let mut expected = Vec::new();
    for stream in [3, 5, 7] {
        let (header, block) = headers(stream);
        for bytes in [DATA[0], DATA[1], &header, &block] {
            call(read, frames, bytes);
        }
        expected.extend([&header[..], &block].concat());
    }
    // What looks like a header of four bytes, and no frame follows them.
    for bytes in [&headers(1).0[..], b"four", b"and no frame behind them", REQUEST] {
        call(read, other, bytes);
    }
    let told = |seen: &Seen, at: usize| -> Vec<u8> {
        let wanted = sessions(seen).get(at).copied();
        let bytes = seen.tls.iter().filter_map(|event| match event {
            Tls::Bytes { session, bytes, .. } if Some(*session) == wanted => Some(bytes.as_slice()),
            _ => None,
        });
        bytes.collect::<Vec<_>>().concat()
    };
    seen.until("the request", |seen| told(seen, 1).ends_with(REQUEST));
    assert_eq!(told(&seen, 0), expected);
    assert_eq!(seen.lost(), []);
}
