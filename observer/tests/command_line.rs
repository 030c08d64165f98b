//! The real program: exit statuses, what goes to standard output and what to standard error.
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use expect_test::{Expect, expect};

fn observer() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
    command.env("NO_COLOR", "1").env_remove("COLUMNS");
    command
}

fn run(arguments: &[&str]) -> Output {
    observer().args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The command fails with this status and says one line on standard error, nothing on standard output. `place` is shown as
/// `DIR`.
fn refused(place: &Path, arguments: &[&str], status: i32, expected: &Expect) {
    let output = observer().current_dir(place).args(arguments).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert_eq!(stdout(&output), "");
    assert_eq!(said.lines().count(), 1, "{said}");
    expected.assert_eq(said.trim_end());
}

/// An empty pcap file of Ethernet frames.
fn empty_capture(place: &Path) -> String {
    let path = place.join("empty.pcap");
    let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1];
    fs::write(&path, header.map(u32::to_le_bytes).concat()).unwrap();
    path.display().to_string()
}

#[test]
fn wrong_input_is_one_line_and_status_2() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    empty_capture(dir);
    fs::write(dir.join("bad.yaml"), "environment: prod\ntenant:\n  - heder: x-tenant-id\n").unwrap();
    fs::write(dir.join("ratio.yaml"), "requirements:\n  - {service: a, ratio_at_least: 2}\n").unwrap();
    fs::write(dir.join("text.pcap"), "not a capture").unwrap();
    fs::write(dir.join("binary.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    refused(
        dir,
        &["run", "--config", "bad.yaml"],
        2,
        &expect!["error: bad.yaml:3: tenant[0].heder: unknown key; did you mean header?"],
    );
    refused(
        dir,
        &["diagnose", "--config", "ratio.yaml"],
        2,
        &expect!["error: ratio.yaml:2: requirements[0].ratio_at_least: must be a ratio from 0 to 1, not 2"],
    );
    refused(
        dir,
        &["replay", "empty.pcap", "--config", "none.yaml"],
        2,
        &expect!["error: none.yaml: no such file; give the configuration's path with --config"],
    );
    refused(
        dir,
        &["doctor", "--config", "binary.yaml"],
        2,
        &expect!["error: binary.yaml: not UTF-8 text; is this the configuration file?"],
    );
    refused(
        dir,
        &["replay", "none.pcap"],
        2,
        &expect!["error: none.pcap: no such file; give the path of a pcap or pcapng file"],
    );
    refused(
        dir,
        &["replay", "text.pcap"],
        2,
        &expect!["error: text.pcap: is no pcap or pcapng file; make one with tcpdump -w or dumpcap -w"],
    );
    refused(dir, &["replay", "."], 2, &expect!["error: .: is a directory; give the path of a pcap or pcapng file"]);
    refused(
        dir,
        &["--log", "observer=loud", "schema"],
        2,
        &expect!["error: --log observer=loud: no log level; give off, error, warn, info, debug or trace"],
    );
    refused(dir, &["diagnose", "--pid", "4194305"], 2, &expect!["error: --pid 4194305: no such process"]);
    refused(
        dir,
        &["replay", "empty.pcap", "--report", "/nowhere/report.json"],
        2,
        &expect![
            "error: --report /nowhere/report.json: cannot be written: No such file or directory (os error 2); give another path"
        ],
    );
}

#[test]
fn a_wrong_command_line_is_status_2_and_help_is_status_0() {
    for wrong in [
        &["observe"][..],
        &[],
        &["replay"],
        &["diagnose", "--duration", "5"],
        &["diagnose", "--port", "0"],
        &["replay", "a", "--fail-on", "bad"],
    ] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert_eq!(stdout(&output), "", "{wrong:?}");
        assert!(!stderr(&output).is_empty());
    }
    for help in [&["--help"][..], &["--version"], &["run", "--help"], &["diagnose", "-h"]] {
        let output = run(help);
        assert_eq!(output.status.code(), Some(0), "{help:?}");
        assert!(!stdout(&output).is_empty());
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn every_command_has_an_example_in_its_help() {
    for command in ["run", "diagnose", "replay", "doctor", "schema"] {
        assert!(stdout(&run(&[command, "--help"])).contains("Example"), "{command}");
    }
}

/// Runs the program as a user who may nothing.
fn without_privileges(arguments: &[&str]) -> Output {
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("observer");
    // The build directory may be closed to other users.
    // A process of its own copies it: a file that this one has open for writing may be held by a fork of another test.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_observer")).arg(&program).status().unwrap().success());
    for path in [place.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(&program);
    command.args(arguments).current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    command.output().unwrap()
}

#[test]
fn without_privileges_looking_is_status_3_and_says_what_would_help() {
    for command in [&["diagnose"][..], &["run"]] {
        let output = without_privileges(command);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains("run as root, or give the program CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"));
    }
    let doctor = without_privileges(&["doctor", "--format", "json"]);
    assert_eq!(doctor.status.code(), Some(3));
    let found: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert_eq!(found["plaintext"], false);
    assert!(found["sources"][0]["remedy"].is_string());
}

#[test]
fn a_port_that_is_taken_is_status_3() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("observer.yaml");
    fs::write(&config, format!("prometheus: {{listen: '{}'}}\n", taken.local_addr().unwrap())).unwrap();
    let output = run(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("prometheus.listen"), "{}", stderr(&output));
}

#[test]
fn the_schema_is_json_and_accepts_a_report() {
    let place = tempfile::tempdir().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&run(&["schema"]).stdout).unwrap();
    let output = run(&["replay", &empty_capture(place.path()), "--format", "json", "--fail-on", "never"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    jsonschema::validate(&schema, &report).unwrap();
}

#[test]
fn a_replay_is_the_same_every_time() {
    let place = tempfile::tempdir().unwrap();
    let capture = empty_capture(place.path());
    let once = || run(&["replay", &capture, "--format", "json"]).stdout;
    assert_eq!(once(), once());
}

/// Six calls of grpcio 1.85.1: two fail at the server, one has its context in `grpc-trace-bin`.
#[test]
fn calls_of_grpc_are_replayed_with_their_status() {
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/grpc.pcap");
    let output = run(&["replay", capture, "--format", "json", "--fail-on", "never"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = |tenant: &str, valid: u64| {
        serde_json::json!({"service": "10.0.0.2", "tenant": tenant, "protocol": "grpc", "valid": valid, "missing": 0,
            "malformed": 0, "unobserved": 0})
    };
    assert_eq!(report["requests"], serde_json::json!([row("acme", 5), row("beta", 1)]));
    assert_eq!(
        report["errors"],
        serde_json::json!([{"service": "10.0.0.2", "tenant": "acme", "responses": 2, "unsampled": 1}])
    );
    assert_eq!(report["capture"]["undecodable"], 0);
}

#[test]
fn a_report_goes_to_the_file_that_is_named_in_the_format_of_its_name() {
    let place = tempfile::tempdir().unwrap();
    let capture = empty_capture(place.path());
    let target = place.path().join("report.json");
    let output = run(&["replay", &capture, "--report", target.to_str().unwrap(), "--fail-on", "never"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), String::new()));
    let report: serde_json::Value = serde_json::from_slice(&fs::read(&target).unwrap()).unwrap();
    assert_eq!(report["schema"], "sampling-audit/v1");
    let text = stdout(&run(&["replay", &capture, "--report", "-"]));
    assert!(text.starts_with("Sampling audit of"), "{text}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let program = env!("CARGO_BIN_EXE_observer");
    let script = format!("set -o pipefail; {program} schema | head -c 10");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}
