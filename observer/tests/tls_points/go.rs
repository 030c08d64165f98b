//! Go programs as Debian's compiler makes them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use observer::tls::{Library, Reason, Unfit};
use testbed::{install, scratch};

use crate::broken::without_sections;
use crate::{Points, functions, look, look_open, only, output};

const WRITE: &str = "crypto/tls.(*Conn).Write";
const READ: &str = "crypto/tls.(*Conn).Read";
const CLOSE: &str = "crypto/tls.(*Conn).Close";
const STRIPPED: &str = "-ldflags=-s -w";

/// Builds a program; the compiler is installed once for all tests.
pub(crate) fn built(place: &Path, source: &str, options: &[&str]) -> PathBuf {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let missing = [("golang-go", !install::has_program("go"))];
        let missing: Vec<&str> = missing.into_iter().filter_map(|(name, missing)| missing.then_some(name)).collect();
        install::apt(&missing).unwrap();
    });
    let file = place.join(format!("{source}{}", options.concat().replace([' ', '/'], "")));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls_points").join(source);
    let mut go = Command::new("go");
    go.arg("build").args(options).arg("-o").arg(&file).arg(source);
    go.env("GO111MODULE", "off").env("GOCACHE", scratch().join("tests/go/cache")).env("CGO_ENABLED", "0");
    assert!(go.status().unwrap().success(), "{options:?}");
    file
}

/// Where the functions begin behind their checks of the stack, and Read returns, by their symbols and the disassembler.
fn expected(path: &Path) -> Points {
    let functions = functions(path, &[]);
    let mut points = Points::from([("go_closes", functions[CLOSE])]);
    for (name, program) in [(WRITE, "go_sends"), (READ, "go_begins")] {
        let (begins, returns) = begins_and_returns(path, name, functions[name]);
        points.insert((program, begins));
        points.extend(returns.into_iter().filter(|_| name == READ).map(|at| ("go_reads", at)));
    }
    points
}

/// Where a function that is at this place begins behind its check of the stack, and where it returns, by the disassembler.
pub(crate) fn begins_and_returns(path: &Path, name: &str, at: u64) -> (u64, Vec<u64>) {
    let listing = output("objdump", &["-d", "--no-show-raw-insn", &format!("--disassemble={name}")], path);
    let lines = listing.lines().filter(|line| line.contains(":\t"));
    let instructions: Vec<(u64, &str)> = lines
        .map(|line| {
            let (address, text) = line.trim().split_once(":\t").unwrap();
            (u64::from_str_radix(address, 16).unwrap(), text.trim())
        })
        .collect();
    let place = |address: u64| at + address - instructions[0].0;
    let check = instructions.iter().position(|(_, text)| text.starts_with("jbe ")).unwrap();
    let returns = instructions.iter().filter(|(_, text)| *text == "ret").map(|(address, _)| place(*address));
    (place(instructions[check + 1].0), returns.collect())
}

#[test]
fn functions_and_the_returns_of_read_are_found_with_symbols_and_without() {
    let place = tempfile::tempdir().unwrap();
    let told = output("go", &["env"], Path::new("GOVERSION"));
    for mode in ["-buildmode=exe", "-buildmode=pie"] {
        let whole = built(place.path(), "dials.go", &[mode]);
        let expected = (Library::Go, Some(told.trim().to_owned()), expected(&whole));
        assert!(expected.2.len() > 4, "{expected:?}");
        assert_eq!(only(&look(&whole)), expected, "{mode}");

        // Without symbols the linker puts the same code in the same place.
        let stripped = built(place.path(), "dials.go", &[mode, STRIPPED]);
        assert_eq!(output("nm", &["-a"], &stripped), "", "{mode}");
        assert_eq!(only(&look(&stripped)), expected, "{mode}");

        let bare = without_sections(&stripped);
        assert_eq!(only(&look_open(bare.as_file(), bare.path())), expected, "{mode}");
    }
}

/// What Go 1.17 wrote: addresses in the table of functions, a version that is pointed to.
pub(crate) const GO_1_17: &str = r#"__asm__(
".section .go.buildinfo,\"aw\"\n .balign 16\n"
".ascii \"\\377 Go buildinf:\"\n .byte 8, 0\n .quad version, 0\n"
"version: .quad digits, 9\n digits: .ascii \"go1.17.13\"\n"
".section .gopclntab,\"a\"\n .balign 16\n"
"table: .long 0xfffffffa\n .byte 0, 0, 1, 8\n .quad 2, 0\n"
".quad names - table, units - table, units - table, units - table, functions - table\n"
"names: .asciz \"\"\n write: .asciz \"crypto/tls.(*Conn).Write\"\n read: .asciz \"crypto/tls.(*Conn).Read\"\n"
"units: .quad 0\n"
"functions: .quad go_write, of_write - functions, go_read, of_read - functions, read_ends\n"
"of_write: .quad go_write\n .long write - names\n"
"of_read: .quad go_read\n .long read - names\n"
".text\n"
"go_write: cmp 16(%r14), %rsp\n jbe go_write\n write_begins: nop\n ret\n"
"go_read: cmp 16(%r14), %rsp\n jbe go_read\n read_begins: nop\n read_returns: ret\n nop\n read_returns_again: ret\n"
"read_ends: nop\n");
int main(void) { return 0; }"#;

#[test]
fn the_table_of_go_1_17_holds_addresses() {
    let place = tempfile::tempdir().unwrap();
    let path = crate::built(place.path(), "old", GO_1_17, &["-no-pie"]);
    let functions = functions(&path, &[]);
    let points = [
        ("go_sends", "write_begins"),
        ("go_begins", "read_begins"),
        ("go_reads", "read_returns"),
        ("go_reads", "read_returns_again"),
    ];
    let points = points.map(|(program, name)| (program, functions[name])).into();
    assert_eq!(only(&look(&path)), (Library::Go, Some("go1.17.13".to_owned()), points));
}

#[test]
fn no_probe_stands_on_a_breakpoint_whatever_the_function() {
    let place = tempfile::tempdir().unwrap();
    let path = built(place.path(), "dials.go", &["-buildmode=exe"]);
    let program = std::fs::read(&path).unwrap();
    let functions = functions(&path, &[]);
    for name in [WRITE, READ, CLOSE] {
        let mut bytes = program.clone();
        bytes[usize::try_from(functions[name]).unwrap()] = 0xcc;
        std::fs::write(&path, bytes).unwrap();
        let examined = look(&path);
        assert!(examined.found.is_empty(), "{examined:?}");
        assert_eq!(examined.unfit[0].reason, Reason::UnknownCode(name.to_owned()));
    }
}

#[test]
fn a_go_program_without_tls_has_no_points_and_nothing_to_excuse() {
    let place = tempfile::tempdir().unwrap();
    let examined = look(&built(place.path(), "silent.go", &[STRIPPED]));
    assert_eq!((examined.found, examined.unfit), (vec![], vec![]));
}

#[test]
fn arguments_on_the_stack_are_told_and_not_probed() {
    let place = tempfile::tempdir().unwrap();
    let path = built(place.path(), "dials.go", &["-buildmode=exe"]);
    let mut bytes = std::fs::read(&path).unwrap();
    let told = output("go", &["env"], Path::new("GOVERSION"));
    let header = bytes.windows(14).position(|window| window == b"\xff Go buildinf:").unwrap();
    let version =
        bytes[header..].windows(told.trim().len()).position(|window| window == told.trim().as_bytes()).unwrap();
    bytes[header + version..][..told.trim().len()].fill(b'0');
    bytes[header + version..][..6].copy_from_slice(b"go1.16");
    bytes[header + version + 6] = b'.';
    std::fs::write(&path, bytes).unwrap();
    let examined = look(&path);
    let [Unfit { library: Library::Go, version: Some(version), reason }] = &examined.unfit[..] else {
        panic!("{examined:?}")
    };
    assert!(version.starts_with("go1.16."));
    assert_eq!((reason, &examined.found[..]), (&Reason::StackArguments(version.clone()), &[][..]));
}
