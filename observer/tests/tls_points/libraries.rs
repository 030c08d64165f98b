//! Libraries with a C interface, shared and linked into programs.

use std::path::{Path, PathBuf};

use observer::tls::{Library, Reason, Unfit};
use testbed::install;

use crate::{Points, built, functions, look, only, output};

/// The points of OpenSSL, where calls begin with this program.
const fn openssl(begins: &'static str) -> [(&'static str, &'static str); 14] {
    [
        ("SSL_read", begins),
        ("SSL_read", "tls_reads"),
        ("SSL_write", begins),
        ("SSL_write", "tls_writes"),
        ("SSL_read_ex", begins),
        ("SSL_read_ex", "tls_reads_ex"),
        ("SSL_write_ex", begins),
        ("SSL_write_ex", "tls_writes_ex"),
        ("SSL_write_ex2", "tls_begins_ex2"),
        ("SSL_write_ex2", "tls_writes_ex"),
        ("SSL_sendfile", begins),
        ("SSL_sendfile", "tls_sends_file"),
        ("SSL_free", "tls_closes"),
        ("SSL_clear", "tls_closes"),
    ]
}
const OPENSSL: [(&str, &str); 14] = openssl("tls_begins");
const OPENSSL_1_1: [(&str, &str); 14] = openssl("tls_begins_1_1");
const OPENSSL_3_0: [(&str, &str); 14] = openssl("tls_begins_3_0");
const OPENSSL_3_2: [(&str, &str); 14] = openssl("tls_begins_3_2");

/// The points of this release of OpenSSL 3.
fn openssl_3(version: &str) -> &'static [(&'static str, &'static str)] {
    if version.starts_with("3.0.") || version.starts_with("3.1.") { &OPENSSL_3_0 } else { &OPENSSL_3_2 }
}
/// All of the functions above.
const OPENSSL_STUB: &str =
    "int SSL_read(void) { return 1; } int SSL_write(void) { return 2; } int SSL_read_ex(void) { return 3; }
    int SSL_write_ex(void) { return 4; } int SSL_write_ex2(void) { return 5; } long SSL_sendfile(void) { return 6; }
    void SSL_free(void) {} void SSL_clear(void) {}";
/// The mangled names in a program built with rustls 0.23.46, and as later compilers mangle them.
const RUSTLS: [[&str; 2]; 2] = [
    [
        "_ZN6rustls12common_state11CommonState16buffer_plaintext17hb4a2b170eb0f3ab7E",
        "_ZN6rustls12common_state11CommonState23take_received_plaintext17he6f6d2c7e12ee2e8E",
    ],
    [
        "_RNvMNtCs1PVfNTLNy3A_6rustls12common_stateNtB2_11CommonState16buffer_plaintext",
        "_RNvMNtCs1PVfNTLNy3A_6rustls12common_stateNtB2_11CommonState23take_received_plaintext",
    ],
];
const MAIN: &str = "int main(void) { return 0; }";

/// What is expected of these functions where the file defines them.
fn expected(path: &Path, of: &[&str], programs: &[(&str, &'static str)]) -> Points {
    let functions = functions(path, of);
    programs.iter().filter_map(|(name, program)| Some((*program, *functions.get(*name)?))).collect()
}

/// A library that the dynamic linker knows.
fn shared(name: &str) -> PathBuf {
    let known = output("ldconfig", &[], Path::new("-p"));
    let line = known.lines().find(|line| line.trim_start().starts_with(name) && line.contains("x86-64"));
    line.and_then(|line| line.split("=> ").nth(1)).unwrap_or_else(|| panic!("{name} is not installed")).into()
}

#[test]
fn the_shared_openssl_is_probed_at_its_functions() {
    let path = shared("libssl.so.3");
    let (library, version, points) = only(&look(&path));
    let version = version.unwrap();
    assert!(version.starts_with("3."));
    let expected = expected(&path, &["-D"], openssl_3(&version));
    assert!(expected.len() >= 12, "all but what is new in 3.3");
    assert_eq!((library, points), (Library::OpenSsl, expected));
}

#[test]
fn node_is_probed_in_its_own_copy_or_in_the_library_that_it_asks_for() {
    let missing = [("nodejs", !install::has_program("node"))];
    install::apt(&missing.into_iter().filter_map(|(name, missing)| missing.then_some(name)).collect::<Vec<_>>())
        .unwrap();
    let paths = std::env::var("PATH").unwrap();
    let node = paths.split(':').map(|directory| Path::new(directory).join("node")).find(|node| node.is_file()).unwrap();
    let told = output("node", &["-p"], Path::new("process.versions.openssl"));
    let expected = expected(&node, &["-D"], openssl_3(&told));
    if expected.is_empty() {
        let asks_for = output("readelf", &["-dW"], &node);
        assert!(asks_for.contains("libssl") || asks_for.contains("libnode"), "{asks_for}");
        assert_eq!(look(&node).found, []);
    } else {
        let (library, version, points) = only(&look(&node));
        assert_eq!(library, Library::OpenSsl);
        assert!(told.starts_with(&version.unwrap()), "{told}");
        assert_eq!(points, expected);
    }
}

#[test]
fn gnutls_is_probed_below_the_function_that_calls_another_one() {
    let path = shared("libgnutls.so.30");
    let (library, _, points) = only(&look(&path));
    let programs = [
        ("gnutls_record_recv", "tls_begins"),
        ("gnutls_record_recv", "tls_reads"),
        ("gnutls_record_uncork", "tls_uncorks"),
        ("gnutls_record_uncork", "tls_uncorked"),
        ("gnutls_record_send2", "tls_begins"),
        ("gnutls_record_send2", "tls_writes"),
        ("gnutls_deinit", "tls_closes"),
    ];
    assert_eq!((library, points.len()), (Library::GnuTls, programs.len()));
    assert_eq!(points, expected(&path, &["-D"], &programs));
}

#[test]
fn gnutls_without_the_other_function_is_probed_at_the_first() {
    let place = tempfile::tempdir().unwrap();
    let source = "int gnutls_record_send(void) { return 1; } int gnutls_record_recv(void) { return 2; }";
    let path = built(place.path(), "old.so", source, &["-shared"]);
    let programs = [
        ("gnutls_record_recv", "tls_begins"),
        ("gnutls_record_recv", "tls_reads"),
        ("gnutls_record_send", "tls_begins"),
        ("gnutls_record_send", "tls_writes"),
    ];
    assert_eq!(only(&look(&path)), (Library::GnuTls, None, expected(&path, &["-D"], &programs)));
}

#[test]
fn openssl_1_1_is_known_by_the_versions_of_its_symbols() {
    let place = tempfile::tempdir().unwrap();
    let versions = place.path().join("versions");
    std::fs::write(&versions, "OPENSSL_1_1_0 { SSL_free; }; OPENSSL_1_1_1 { SSL_*; };").unwrap();
    let script = format!("-Wl,--version-script={}", versions.display());
    let path = built(place.path(), "libssl.so.1.1", OPENSSL_STUB, &["-shared", &script]);
    assert_eq!(
        only(&look(&path)),
        (Library::OpenSsl, Some("1.1.1".to_owned()), expected(&path, &["-D"], &OPENSSL_1_1))
    );
}

#[test]
fn openssl_linked_into_a_program_is_probed_where_there_are_symbols() {
    let place = tempfile::tempdir().unwrap();
    // The texts are those that OpenSSL's own code refers to.
    let source =
        format!("{OPENSSL_STUB} {MAIN} const char *text[] = {{\"ssl/ssl_lib.c\", \"OpenSSL 3.0.19 27 Jan 2026\"}};");
    for (name, option) in [("fixed", "-no-pie"), ("moved", "-pie")] {
        let path = built(place.path(), name, &source, &[option]);
        let found = (Library::OpenSsl, Some("3.0.19".to_owned()), expected(&path, &[], &OPENSSL_3_0));
        assert_eq!(found.2.len(), OPENSSL.len());
        assert_eq!(only(&look(&path)), found);

        let path = built(place.path(), name, &source, &[option, "-s"]);
        let examined = look(&path);
        let reason = Reason::Stripped;
        assert_eq!(examined.found, []);
        assert_eq!(examined.unfit, [Unfit { library: Library::OpenSsl, version: Some("3.0.19".to_owned()), reason }]);
    }
}

#[test]
fn boringssl_is_told_from_openssl() {
    let place = tempfile::tempdir().unwrap();
    let source = "int SSL_read(void) { return 1; } int SSL_write(void) { return 2; } void SSL_free(void) {}
        void SSL_CTX_set_grease_enabled(void) {}";
    let path = built(place.path(), "boring.so", source, &["-shared"]);
    assert_eq!(only(&look(&path)), (Library::BoringSsl, None, expected(&path, &["-D"], &OPENSSL)));

    let source = format!("{MAIN} const char *text = \"third_party/boringssl/ssl/ssl_lib.cc\";");
    let examined = look(&built(place.path(), "stripped", &source, &["-s"]));
    assert_eq!(examined.found, []);
    assert_eq!(examined.unfit, [Unfit { library: Library::BoringSsl, version: None, reason: Reason::Stripped }]);
}

#[test]
fn a_program_that_only_calls_a_library_has_no_points() {
    let place = tempfile::tempdir().unwrap();
    let library = built(place.path(), "libssl.so", OPENSSL_STUB, &["-shared"]);
    let source = "int SSL_read(void); int SSL_free(void); int main(void) { return SSL_read() + SSL_free(); }";
    let path = built(place.path(), "calls", source, &[&library.display().to_string()]);
    assert!(output("nm", &["-D"], &path).contains("U SSL_read"));
    let examined = look(&path);
    assert_eq!((examined.found, examined.unfit), (vec![], vec![]));
}

#[test]
fn a_function_whose_beginning_is_no_code_is_not_probed() {
    let place = tempfile::tempdir().unwrap();
    let source = "__asm__(\".text\\n.globl SSL_read\\n.type SSL_read,@function\\nSSL_read: int3\\nret\\n\");";
    let examined = look(&built(place.path(), "odd.so", source, &["-shared"]));
    let reason = Reason::UnknownCode("SSL_read".to_owned());
    assert_eq!(examined.found, []);
    assert_eq!(examined.unfit, [Unfit { library: Library::OpenSsl, version: None, reason }]);
}

#[test]
fn rustls_is_probed_at_its_session_where_there_are_symbols_of_a_known_release() {
    let place = tempfile::tempdir().unwrap();
    let source = |[sends, receives]: [&str; 2], version: &str| {
        format!(
            "long s(void) __asm__(\"{sends}\"); long s(void) {{ return 1; }}
            void r(void) __asm__(\"{receives}\"); void r(void) {{}}
            {MAIN} const char *texts[] = {{\"/src/rustls-{version}/src/conn.rs\", \"/src/tokio-rustls-0.26.6/src/lib.rs\"}};"
        )
    };
    for names in RUSTLS {
        let compiled = "__asm__(\".ident \\\"rustc version 1.77.0 (aedd173a2 2024-03-17)\\\"\");";
        let path = built(place.path(), "known", &format!("{compiled}\n{}", source(names, "0.23.46")), &[]);
        let [sends, receives] = names;
        let programs = [(sends, "rustls_begins"), (sends, "rustls_sends"), (receives, "rustls_receives")];
        assert_eq!(only(&look(&path)), (Library::Rustls, Some("0.23.46".to_owned()), expected(&path, &[], &programs)));
    }

    let old = Reason::OldCompiler("1.76.0".to_owned());
    for (name, version, compiler, option, reason) in [
        ("stripped", "0.23.46", "1.95.0", "-s", Reason::Stripped),
        ("other", "0.24.0", "1.95.0", "-g", Reason::UnknownRelease),
        ("old", "0.23.46", "1.76.0", "-g", old),
    ] {
        let compiled = format!("__asm__(\".ident \\\"rustc version {compiler} (07dca489a 2024-02-04)\\\"\");");
        let source = format!("{compiled}\n{}", source(RUSTLS[0], version));
        let examined = look(&built(place.path(), name, &source, &[option]));
        assert_eq!(examined.found, []);
        assert_eq!(examined.unfit, [Unfit { library: Library::Rustls, version: Some(version.to_owned()), reason }]);
    }
}
