//! Programs of machine code, and Java.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use observer::attribute::process::Places;
use observer::attribute::runs::runs;
use observer_core::audit::runs::Runtime;
use testbed::install::{apt, has_program};
use testbed::scratch;

use crate::{Process, output, runs_of, until};

/// Installs what is missing of programs, once.
fn need(program: &str, package: &str) {
    static ONE: OnceLock<std::sync::Mutex<()>> = OnceLock::new();
    let _one = ONE.get_or_init(Default::default).lock();
    if !has_program(program) {
        apt(&[package]).unwrap();
    }
}

const GO_MAIN: &str = r#"package main

import (
	"fmt"
	"net/http"
	"os"

	"go.opentelemetry.io/otel"
	"example.com/quiet"
)

func main() {
	http.DefaultClient.CloseIdleConnections()
	otel.Touch()
	quiet.Touch()
	fmt.Println("ready")
	os.Stdin.Read(make([]byte, 1))
}
"#;

/// A Go program of three modules, which are beside it: nothing is fetched.
fn go_program(place: &Path, flags: &[&str]) -> PathBuf {
    need("go", "golang-go");
    let files = [
        ("main.go", GO_MAIN),
        (
            "go.mod",
            "module shop\ngo 1.19\nrequire go.opentelemetry.io/otel v1.30.0\nrequire example.com/quiet v0.2.0\n\
             replace go.opentelemetry.io/otel => ./otel\nreplace example.com/quiet => ./quiet\n",
        ),
        ("otel/go.mod", "module go.opentelemetry.io/otel\ngo 1.19\n"),
        ("otel/otel.go", "package otel\nfunc Touch() {}\n"),
        ("quiet/go.mod", "module example.com/quiet\ngo 1.19\n"),
        ("quiet/quiet.go", "package quiet\nfunc Touch() {}\n"),
    ];
    for (name, text) in files {
        let file = place.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let mut go = Command::new("go");
    go.args(["build", "-o", "shop"]).args(flags).arg(".").current_dir(place);
    go.env("GOCACHE", scratch().join("tests/go/cache"))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod")
        .env("GOPROXY", "off");
    output(&mut go);
    place.join("shop")
}

#[test]
fn a_go_program_tells_its_modules_with_symbols_and_without() {
    for flags in [&[][..], &["-ldflags=-s -w", "-trimpath"], &["-buildmode=pie", "-ldflags=-s -w"]] {
        let place = tempfile::tempdir().unwrap();
        let program = go_program(place.path(), flags);
        let process = Process::start(&mut Command::new(&program));
        let found = process.runs();
        let version = output(Command::new("go").args(["env", "GOVERSION"]));
        assert_eq!((found.runtime, found.version.as_deref()), (Runtime::Go, version.strip_prefix("go")), "{flags:?}");
        let names: Vec<&str> = found.libraries.keys().map(String::as_str).collect();
        assert_eq!(
            (names, &found.unread, found.command.as_str()),
            (vec!["go.opentelemetry.io/otel"], &None, "shop"),
            "{flags:?}"
        );
        assert!(found.lacks("go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"));
    }
}

#[test]
fn a_program_that_was_deleted_or_replaced_while_it_runs_is_still_read() {
    let place = tempfile::tempdir().unwrap();
    let program = go_program(place.path(), &["-ldflags=-s -w"]);
    let process = Process::start(&mut Command::new(&program));
    let before = process.runs();
    std::fs::remove_file(&program).unwrap();
    assert_eq!(process.runs(), before);
    std::fs::copy("/bin/true", &program).unwrap();
    assert_eq!(process.runs(), before);
    assert_eq!(before.runtime, Runtime::Go);
}

#[test]
fn a_process_that_ends_or_runs_another_program_is_told_as_unknown() {
    let mut process = Process::start(Command::new("sh").args(["-c", "echo ready; read line; exec cat"]));
    let places = Places::of_this_host();
    let pid = process.0.id();
    let before = places.stat(pid).unwrap().incarnation;
    let unknown = |command: &str| {
        let found = runs(&places, pid, before, command);
        assert_eq!((found.runtime, found.command.as_str()), (Runtime::Unknown, command));
        assert_eq!(found.unread.as_deref(), Some("it ended before it could be looked at"));
        assert!(found.libraries.is_empty() && !found.lacks("opentelemetry-sdk"));
    };
    std::io::Write::write_all(process.0.stdin.as_mut().unwrap(), b"go on\n").unwrap();
    until("another program", || places.stat(pid).unwrap().incarnation != before);
    unknown("sh");
    let next = places.stat(pid).unwrap().incarnation;
    assert_eq!(runs(&places, pid, next, "x").command, "cat");
    process.0.kill().unwrap();
    process.0.wait().unwrap();
    unknown("sh");
}

#[test]
fn a_rust_program_names_the_crates_of_its_messages_and_does_not_claim_that_these_are_all() {
    // The observer is one; it waits for somebody to write what it replays.
    let place = tempfile::tempdir().unwrap();
    let pipe = place.path().join("pipe");
    output(Command::new("mkfifo").arg(&pipe));
    let mut observer = Command::new(env!("CARGO_BIN_EXE_observer")).arg("replay").arg(&pipe).spawn().unwrap();
    until("the program", || std::fs::read_to_string(format!("/proc/{}/comm", observer.id())).unwrap() == "observer\n");
    let found = runs_of(observer.id());
    observer.kill().unwrap();
    observer.wait().unwrap();
    assert_eq!(found.runtime, Runtime::Rust, "{found:?}");
    let version = output(Command::new("rustc").arg("--version"));
    assert_eq!(found.version.as_deref(), version.split(' ').nth(1));
    assert!(found.has("tokio") && found.has("axum"), "{found:?}");
    assert!(found.unread.is_some() && !found.lacks("opentelemetry"));
}

#[test]
fn a_program_in_c_is_native_and_names_what_it_has_loaded() {
    let found = Process::start(Command::new("sh").args(["-c", "echo ready; exec cat"]));
    until("cat", || found.runs().command == "cat");
    let found = found.runs();
    assert_eq!((found.runtime, found.version, found.libraries.len()), (Runtime::Native, None, 0));
    assert!(found.unread.is_some());

    need("curl", "curl");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut curl = Command::new("curl").args(["--silent", &url]).spawn().unwrap();
    let taken = listener.accept().unwrap();
    let found = runs_of(curl.id());
    assert!(found.runtime == Runtime::Native && found.has("libcurl") && found.has("libnghttp2"), "{found:?}");
    drop(taken);
    curl.wait().unwrap();
}

#[test]
fn nginx_tells_its_version() {
    need("nginx", "nginx");
    let place = tempfile::tempdir().unwrap();
    let configuration = place.path().join("nginx.conf");
    let socket = place.path().join("socket");
    let text = format!(
        "daemon off; master_process off; pid {0}/pid; error_log {0}/log; events {{}} http {{ access_log off; server {{ listen unix:{1}; }} }}",
        place.path().display(),
        socket.display()
    );
    std::fs::write(&configuration, text).unwrap();
    let mut nginx = Command::new("nginx").arg("-p").arg(place.path()).arg("-c").arg(&configuration).spawn().unwrap();
    until("nginx", || socket.exists());
    let found = runs_of(nginx.id());
    nginx.kill().unwrap();
    nginx.wait().unwrap();
    let version = Command::new("nginx").arg("-v").output().unwrap().stderr;
    let version = String::from_utf8_lossy(&version).trim().rsplit('/').next().unwrap().to_owned();
    assert_eq!((found.runtime, found.version.clone()), (Runtime::Nginx, Some(version)));
    assert!(found.unread.is_none() && !found.has("ngx_otel_module"));
}

#[test]
fn java_tells_its_version_its_class_path_and_its_agents() {
    need("javac", "default-jdk-headless");
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
    write(
        "Ready.java",
        "public class Ready { public static void main(String[] a) throws Exception { System.out.println(\"ready\"); System.in.read(); }\n public static void premain(String a) {} }",
    );
    write("main.txt", "Main-Class: Ready\nPremain-Class: Ready\n");
    output(Command::new("javac").arg("Ready.java").current_dir(place.path()));
    std::fs::create_dir_all(place.path().join("BOOT-INF/lib")).unwrap();
    write("BOOT-INF/lib/okhttp-4.12.0.jar", "not opened");
    write("kafka-clients-3.7.0.jar", "");
    for (jar, files) in
        [("opentelemetry-javaagent.jar", &["Ready.class"][..]), ("shop.jar", &["Ready.class", "BOOT-INF"])]
    {
        output(Command::new("jar").args(["cfm", jar, "main.txt"]).args(files).current_dir(place.path()));
    }
    let java = || {
        let mut java = Command::new("java");
        java.current_dir(place.path());
        java
    };
    let agent = format!("-javaagent:{}/opentelemetry-javaagent.jar=x", place.path().display());
    let version = String::from_utf8_lossy(&Command::new("java").arg("-version").output().unwrap().stderr).into_owned();
    let process = Process::start(java().args(["-cp", "kafka-clients-3.7.0.jar:.", &agent, "Ready"]));
    let found = process.runs();
    assert_eq!(found.runtime, Runtime::Java, "{found:?}");
    let told = found.version.clone().unwrap();
    assert!(version.contains(&format!("\"{told}\"")), "{told} {version}");
    assert!(found.has("opentelemetry-javaagent") && found.unread.is_none(), "{found:?}");
    assert_eq!(found.libraries.get("kafka-clients"), Some(&Some("3.7.0".to_owned())));

    let process = Process::start(java().args(["-jar", "shop.jar"]).env("JAVA_TOOL_OPTIONS", &agent));
    let found = process.runs();
    assert_eq!(found.libraries.get("okhttp"), Some(&Some("4.12.0".to_owned())), "{found:?}");
    assert!(found.has("opentelemetry-javaagent") && found.unread.is_none(), "{found:?}");
    let process = Process::start(java().args(["-jar", "shop.jar"]));
    assert!(process.runs().lacks("opentelemetry-javaagent"));
}
