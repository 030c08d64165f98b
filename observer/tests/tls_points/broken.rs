//! Files that break the rules: each costs an error at most.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use observer::tls::{Library, Reason, Unfit, examine};
use proptest::prelude::*;
use tempfile::NamedTempFile;

use crate::{built, look_open, only};

const SOURCE: &str = "int SSL_read(void) { return 1; } int SSL_write(void) { return 2; } void SSL_free(void) {}
    const char *text = \"ssl/ssl_lib.c\";";
/// Where the header of an ELF file says where the headers of the sections are, how many they are and which has their names
/// (System V ABI, "ELF Header").
const SECTIONS_AT: usize = 40;
const SECTIONS: usize = 60;

/// The bytes as a file.
fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// The file with its section headers cut off.
pub(crate) fn without_sections(path: &Path) -> NamedTempFile {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[SECTIONS_AT..SECTIONS_AT + 8].fill(0);
    bytes[SECTIONS..SECTIONS + 4].fill(0);
    file(&bytes)
}

fn library() -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    std::fs::read(built(place.path(), "stub.so", SOURCE, &["-shared"])).unwrap()
}

#[test]
fn a_library_without_section_headers_is_read_as_the_dynamic_linker_does() {
    let place = tempfile::tempdir().unwrap();
    let path = built(place.path(), "stub.so", SOURCE, &["-shared"]);
    let bare = without_sections(&path);
    assert_eq!(only(&look_open(bare.as_file(), bare.path())), only(&crate::look(&path)));
}

#[test]
fn what_is_no_program_is_an_error_that_names_it() {
    let told = |file: &File, name: &str| examine(file, name).unwrap_err().to_string();
    assert_eq!(told(file(b"#!/bin/sh\n").as_file(), "a script"), "a script: it is not an ELF file");
    assert_eq!(told(file(b"").as_file(), "nothing"), "nothing: it is not an ELF file");
    assert_eq!(told(&File::open("/").unwrap(), "a place"), "a place: it is not a regular file");
    assert_eq!(told(&File::open("/dev/zero").unwrap(), "a device"), "a device: it is not a regular file");
    let mut small = library();
    // EI_CLASS: 32 bits.
    small[4] = 1;
    let told = told(file(&small).as_file(), "32 bits");
    assert_eq!(told, "32 bits: it is for another kind of machine: 64-bit x86 and Arm are read");
}

#[test]
fn tables_beyond_all_measure_end_in_an_error_soon() {
    let bytes = library();
    let sections_at = usize::try_from(u64::from_le_bytes(bytes[SECTIONS_AT..][..8].try_into().unwrap())).unwrap();
    let count = usize::from(u16::from_le_bytes(bytes[SECTIONS..][..2].try_into().unwrap()));
    for field in [(SECTIONS, 2), (sections_at, 64 * count)] {
        let mut large = bytes.clone();
        if field.0 == SECTIONS {
            // No count: it stands in the first section, which says 2^40.
            large[SECTIONS..SECTIONS + 2].fill(0);
            large[sections_at + 32..][..8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
        } else {
            for section in 1..count {
                large[sections_at + 64 * section + 32..][..8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
            }
        }
        let file = file(&large);
        file.as_file().set_len(1 << 41).unwrap();
        let began = Instant::now();
        let told = examine(file.as_file(), "large").unwrap_err().to_string();
        assert_eq!(told, "large: its tables are larger than those of any program");
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn names_that_are_all_alike_are_given_up_soon_and_that_is_told() {
    let bytes = library();
    let sections_at = usize::try_from(u64::from_le_bytes(bytes[SECTIONS_AT..][..8].try_into().unwrap())).unwrap();
    let count = usize::from(u16::from_le_bytes(bytes[SECTIONS..][..2].try_into().unwrap()));
    let mut large = bytes.clone();
    for section in (0..count).map(|section| sections_at + 64 * section) {
        // SHT_STRTAB: its bytes are those that follow.
        if large[section + 4] == 3 && section != sections_at + 64 * (count - 1) {
            large[section + 24..][..8].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
            large[section + 32..][..8].copy_from_slice(&(64_u64 << 20).to_le_bytes());
        }
    }
    large.extend(b"SSL_".repeat(16 << 20));
    let began = Instant::now();
    // A constant tells which library there is.
    let told = examine(file(&large).as_file(), "alike").unwrap();
    let reason = Reason::Broken("its tables are larger than those of any program".to_owned());
    assert_eq!((told.found, told.unfit), (vec![], vec![Unfit { library: Library::OpenSsl, version: None, reason }]));
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_file_that_was_cut_off_anywhere_costs_an_error_at_most() {
    let bytes = library();
    for len in (0..bytes.len()).step_by(61) {
        let _ = examine(file(&bytes[..len]).as_file(), "cut");
    }
}

/// What a word of a table may be: of the size of a file, or so close to where addresses end that a step behind it leads past that,
/// counted from the beginning of memory or of the table.
fn number(table: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        0..1_u64 << 16,
        (0..16_u64).prop_map(|below| u64::MAX - below),
        (0..16_u64).prop_map(move |below| u64::MAX - table - below),
    ]
}

/// A program with the table of Go 1.17, and where that begins.
static OLD: LazyLock<(Vec<u8>, usize)> = LazyLock::new(|| {
    let place = tempfile::tempdir().unwrap();
    let program = std::fs::read(built(place.path(), "old", crate::go::GO_1_17, &["-no-pie"])).unwrap();
    let begins = [0xfa, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    let table = program.windows(8).position(|window| window == begins).unwrap();
    (program, table)
});

#[test]
fn what_is_broken_for_one_library_takes_nothing_from_another() {
    let place = tempfile::tempdir().unwrap();
    // The beginning of Go's build information, which points nowhere.
    let go = "__attribute__((section(\".go.buildinfo\"), aligned(16))) char go[32] = \"\\xff Go buildinf:\\x08\\0\\xff\\xff\\xff\\xff\";";
    let both = built(place.path(), "both.so", &format!("{SOURCE} {go}"), &["-shared"]);
    let alone = built(place.path(), "alone.so", go, &["-shared"]);
    assert!(!only(&crate::look(&both)).2.is_empty());
    let told = examine(&File::open(alone).unwrap(), "alone").unwrap_err();
    assert_eq!(told.to_string(), "alone: its tables are broken: Go's build information");
    assert!(!told.may_pass());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_cost_an_error_at_most(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..64)) {
        static LIBRARY: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut bytes = LIBRARY.get_or_init(library).clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = examine(file(&bytes).as_file(), "changed");
    }

    #[test]
    fn a_changed_table_of_go_functions_costs_an_error_at_most(
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(0), Just(0xff), any::<u8>()]), 1..32),
    ) {
        static PROGRAM: std::sync::OnceLock<(Vec<u8>, usize)> = std::sync::OnceLock::new();
        let (program, table) = PROGRAM.get_or_init(|| {
            let place = tempfile::tempdir().unwrap();
            let program = std::fs::read(crate::go::built(place.path(), "dials.go", &["-ldflags=-s -w"])).unwrap();
            let begins = [[0xf0, 0xff, 0xff, 0xff, 0, 0, 1, 8], [0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]];
            let table = program.windows(8).position(|window| begins.iter().any(|begin| window == begin)).unwrap();
            (program, table)
        });
        let mut bytes = program.clone();
        for (at, byte) in changes {
            // The header and the first functions.
            bytes[table + at.index(72)] = byte;
        }
        let _ = examine(file(&bytes).as_file(), "changed");
    }
    #[test]
    fn a_table_of_go_functions_with_other_words_in_it_costs_an_error_at_most(
        words in prop::collection::vec((any::<prop::sample::Index>(), number(OLD.1 as u64)), 1..3),
    ) {
        let (program, table) = &*OLD;
        let mut bytes = program.clone();
        // The words of the header, and of the first entries.
        let word = |at: usize| usize::try_from(u64::from_le_bytes(program[at..][..8].try_into().unwrap())).unwrap();
        let functions = table + word(table + 8 + 8 * 6);
        let places: Vec<usize> = (0..7).map(|at| table + 8 + 8 * at).chain((0..5).map(|at| functions + 8 * at)).collect();
        for (at, number) in words {
            bytes[places[at.index(places.len())]..][..8].copy_from_slice(&number.to_le_bytes());
        }
        let _ = examine(file(&bytes).as_file(), "changed");
    }
}
