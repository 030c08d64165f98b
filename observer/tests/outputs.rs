//! One report, and every output of it.
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use expect_test::{Expect, expect, expect_file};
use observer::capture::{ProbeCost, ProgramCost, SourceCounters};
use observer::config::Audit;
use observer::output::audit::AuditWriter;
use observer::output::metrics::{self, Kind};
use observer::output::snapshot::{DeclaredRatio, Extras, MalformedCount, ResponseCount, Shared, Snapshot, TableUse};
use observer::output::table::{self, Style};
use observer::output::{json, prometheus};
use observer_core::audit::report::{FILE_NAME, Report};
use observer_core::context::{Malformation, Sampled};
use observer_core::declared::SourceKind;

fn report() -> Report {
    serde_json::from_str(include_str!("data/audit.json")).unwrap()
}

fn extras() -> Extras {
    Extras {
        sources: vec![SourceCounters {
            source: "cgroup",
            events: 12_400,
            lost: vec![("ring_full", 0)],
            tables: vec![TableUse { table: "tls_files", tracked: 3, evicted: 1 }],
            programs: vec![ProgramCost { program: "egress".into(), run_ns: 1_500_000_000, runs: 7_000_000 }],
            probes: vec![ProbeCost { command: "nginx".into(), hits: 1_200, a_second: Duration::from_millis(125) }],
        }],
        declared: vec![DeclaredRatio {
            service: "gateway".into(),
            tenant: "acme".into(),
            kind: SourceKind::TenantRules,
            ratio: 0.1,
        }],
        malformed: vec![MalformedCount { service: "checkout".into(), reason: Malformation::TraceId, count: 2 }],
        errors: vec![
            ResponseCount {
                service: "checkout".into(),
                tenant: "acme".into(),
                sampled: Some(Sampled::NotSampled),
                count: 11,
            },
            ResponseCount { service: "checkout".into(), tenant: "acme".into(), sampled: None, count: 1 },
        ],
        slow: vec![ResponseCount {
            service: "checkout".into(),
            tenant: "acme".into(),
            sampled: Some(Sampled::Sampled),
            count: 3,
        }],
        tables: vec![TableUse { table: "connections", tracked: 42, evicted: 0 }],
    }
}

fn scraped() -> String {
    let shared = Shared::default();
    shared.publish(Snapshot { report: report(), extras: extras() });
    rendered(&prometheus::registry(shared).unwrap())
}

fn rendered(registry: &::prometheus::Registry) -> String {
    String::from_utf8(prometheus::render(registry).unwrap().to_vec()).unwrap()
}

fn check_table(style: Style, expected: &Expect) {
    let text = table::render(&report(), style);
    for line in text.lines().filter(|_| !style.color) {
        assert!(line.chars().count() <= usize::from(style.width), "too wide: {line}");
    }
    expected.assert_eq(&text);
}

#[test]
fn the_table_at_110_columns() {
    check_table(
        Style { width: 110, color: false },
        &expect![[r#"
            Sampling audit of node-7 (kernel 6.12.0) · prod
            2026-01-01T00:00:00.000Z to 2026-01-01T00:00:30.000Z (30.0 s)
            cgroup · 4,800 messages · 12,400 events · nothing lost · 2 heads not decodable

            FINDINGS
            CRITICAL  context-lost  checkout → inventory  190 of 600
                      checkout sends requests to inventory without the context of the requests that caused them.
                      path: (several) → gateway → checkout ┄ inventory: the context ends at checkout (180 of 190
                      requests)
                      runs: python (pid 4711): CPython 3.11.2 with opentelemetry-sdk 1.45.1, flask 3.1.3, requests
                      fix: Propagate traceparent in the HTTP client that checkout uses for inventory.
                      e.g. trace 4bf92f3577b34da6a3ce929d0e0e4736 at 2026-01-01T00:00:02.125Z
            WARNING   ratio-under  gateway  tenant globex  30 of 600
                      gateway samples 5 % of the traces that it starts for globex; the rule says 10 %.
                      fix: Let gateway use the ratio of tenant-rules.yaml:5 for globex, or change the rule.
            INFO      tenant-override-missing  tenant hooli
                      tenant hooli is named in tenant-rules.yaml and has no ratio of its own.
                      fix: Set sampler_override for hooli, to null if it is to inherit (tenant-rules.yaml:7).

            RATIOS: sampled traces
            service   tenant       point     traces  sampled  deferred  ratio   interval  declared  coverage  verdict
            ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
            gateway   acme         started      600       58         0  9.67%  5.1–16.1%       10%      100%  match
            gateway   globex       started      600       30         3     5%       2–9%       10%       98%  under
            checkout  店\u{1b}[2J  received       4        0         0     0%      0–90%         -         -  insufficient

            SAMPLERS: what each service really runs
            service  sampler                   ratio  agree  disagree
            ─────────────────────────────────────────────────────────
            gateway  parentbased_traceidratio    10%    600         2

            HOPS: what became of the context
            from      to         continued  lost  background  ambiguous
            ───────────────────────────────────────────────────────────
            checkout  inventory        410   190           3         11
            gateway   checkout       1,200     0           0          0

            REQUESTS: by the context they arrived with
            service    tenant   protocol  valid  missing  malformed  unobserved
            ───────────────────────────────────────────────────────────────────
            checkout   acme     http/1.1    600        0          0           0
            checkout   globex   http/1.1    590        8          2           0
            inventory  unknown  http/1.1    410      190          0           1

            WEIGHTS: what became of them
            service   tenant  kept  missing  changed  malformed  out of range
            ─────────────────────────────────────────────────────────────────
            checkout  acme     590       10        0          0             0

            ERRORS
            service   tenant  error responses  not sampled
            ──────────────────────────────────────────────
            checkout  acme                 12           11

            RULES: what is declared
            declared by          service  tenant  sampler       ratio  traces
            ─────────────────────────────────────────────────────────────────
            tenant-rules.yaml:1  every    every   traceidratio    10%     600
            tenant-rules.yaml:5  every    globex  traceidratio    10%     600

            1 critical, 1 warning, 1 info · 3 services, 3 tenants, 2 rules
        "#]],
    );
}

#[test]
fn the_table_at_80_columns() {
    check_table(
        Style { width: 80, color: false },
        &expect![[r#"
            Sampling audit of node-7 (kernel 6.12.0) · prod
            2026-01-01T00:00:00.000Z to 2026-01-01T00:00:30.000Z (30.0 s)
            cgroup · 4,800 messages · 12,400 events · nothing lost · 2 heads not decodable

            FINDINGS
            CRITICAL  context-lost  checkout → inventory  190 of 600
                      checkout sends requests to inventory without the context of the
                      requests that caused them.
                      path: (several) → gateway → checkout ┄ inventory: the context ends at
                      checkout (180 of 190 requests)
                      runs: python (pid 4711): CPython 3.11.2 with opentelemetry-sdk
                      1.45.1, flask 3.1.3, requests
                      fix: Propagate traceparent in the HTTP client that checkout uses for
                      inventory.
                      e.g. trace 4bf92f3577b34da6a3ce929d0e0e4736 at
                      2026-01-01T00:00:02.125Z
            WARNING   ratio-under  gateway  tenant globex  30 of 600
                      gateway samples 5 % of the traces that it starts for globex; the rule
                      says 10 %.
                      fix: Let gateway use the ratio of tenant-rules.yaml:5 for globex, or
                      change the rule.
            INFO      tenant-override-missing  tenant hooli
                      tenant hooli is named in tenant-rules.yaml and has no ratio of its
                      own.
                      fix: Set sampler_override for hooli, to null if it is to inherit
                      (tenant-rules.yaml:7).

            RATIOS: sampled traces
            service   tenant       point     traces  ratio  declared  verdict
            ──────────────────────────────────────────────────────────────────────
            gateway   acme         started      600  9.67%       10%  match
            gateway   globex       started      600     5%       10%  under
            checkout  店\u{1b}[2J  received       4     0%         -  insufficient

            SAMPLERS: what each service really runs
            service  sampler                   ratio  agree  disagree
            ─────────────────────────────────────────────────────────
            gateway  parentbased_traceidratio    10%    600         2

            HOPS: what became of the context
            from      to         continued  lost  background  ambiguous
            ───────────────────────────────────────────────────────────
            checkout  inventory        410   190           3         11
            gateway   checkout       1,200     0           0          0

            REQUESTS: by the context they arrived with
            service    tenant   protocol  valid  missing  malformed  unobserved
            ───────────────────────────────────────────────────────────────────
            checkout   acme     http/1.1    600        0          0           0
            checkout   globex   http/1.1    590        8          2           0
            inventory  unknown  http/1.1    410      190          0           1

            WEIGHTS: what became of them
            service   tenant  kept  missing  changed  malformed  out of range
            ─────────────────────────────────────────────────────────────────
            checkout  acme     590       10        0          0             0

            ERRORS
            service   tenant  error responses  not sampled
            ──────────────────────────────────────────────
            checkout  acme                 12           11

            RULES: what is declared
            declared by          service  tenant  sampler       ratio  traces
            ─────────────────────────────────────────────────────────────────
            tenant-rules.yaml:1  every    every   traceidratio    10%     600
            tenant-rules.yaml:5  every    globex  traceidratio    10%     600

            1 critical, 1 warning, 1 info · 3 services, 3 tenants, 2 rules
        "#]],
    );
}

#[test]
fn colours_are_there_only_where_asked_for() {
    assert!(table::render(&report(), Style { width: 110, color: true }).contains("\u{1b}["));
    assert!(!table::render(&report(), Style { width: 110, color: false }).contains('\u{1b}'));
}

#[test]
fn a_report_without_anything_says_so() {
    let mut empty = report();
    empty.requests.clear();
    empty.ratios.clear();
    empty.samplers.clear();
    empty.hops.clear();
    empty.weights.clear();
    empty.errors.clear();
    empty.rules.clear();
    empty.findings.clear();
    empty.summary = observer_core::audit::report::Summary::default();
    expect![[r"
        Sampling audit of node-7 (kernel 6.12.0) · prod
        2026-01-01T00:00:00.000Z to 2026-01-01T00:00:30.000Z (30.0 s)
        cgroup · 4,800 messages · 12,400 events · nothing lost · 2 heads not decodable

        FINDINGS
        none

        nothing wrong · 0 services, 0 tenants, 0 rules
    "]]
    .assert_eq(&table::render(&empty, Style { width: 110, color: false }));
}

#[test]
fn a_thousand_rows_are_cut_with_what_is_wrong_first() {
    let mut long = report();
    let under = long.ratios[1].clone();
    let sound = long.ratios[0].clone();
    long.ratios = vec![sound; 1000];
    long.ratios.push(under);
    let text = table::render(&long, Style { width: 110, color: false });
    assert!(text.contains("under") && text.contains("… and 941 more"), "{text}");
    assert!(text.lines().count() < 150);
}

#[test]
fn the_json_is_the_report() {
    let read: Report = serde_json::from_str(&json::render(&report()).unwrap()).unwrap();
    assert_eq!(read, report());
}

#[test]
fn the_json_validates_against_its_schema() {
    let schema = serde_json::to_value(schemars::schema_for!(Report)).unwrap();
    let text: serde_json::Value = serde_json::from_str(&json::render(&report()).unwrap()).unwrap();
    jsonschema::validate(&schema, &text).unwrap();
}

#[test]
fn every_metric_of_the_contract_is_exported() {
    expect_file!["data/metrics.txt"].assert_eq(&scraped());
    for family in metrics::ALL {
        let kind = if family.kind == Kind::Counter { "counter" } else { "gauge" };
        assert!(scraped().contains(&format!("# TYPE {} {kind}\n", family.name)), "{}", family.name);
    }
}

#[test]
fn before_the_first_report_there_are_no_series() {
    assert_eq!(rendered(&prometheus::registry(Shared::default()).unwrap()), "");
}

#[test]
fn a_counter_never_falls_and_no_series_comes_twice() {
    let shared = Shared::default();
    let registry = prometheus::registry(shared.clone()).unwrap();
    let series = |report: Report| {
        shared.publish(Snapshot { report, extras: extras() });
        let text = rendered(&registry);
        let wanted =
            "trace_sampling_traces_total{service=\"gateway\",tenant=\"acme\",point=\"started\",sampled=\"true\"} ";
        text.lines().filter_map(|line| line.strip_prefix(wanted).map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(series(report()), ["58"]);
    let mut corrected = report();
    corrected.ratios[0].sampled = 57;
    corrected.ratios.push(corrected.ratios[0].clone());
    assert_eq!(series(corrected.clone()), ["58"]);
    corrected.ratios[0].sampled = 60;
    assert_eq!(series(corrected), ["60"]);
}

/// Needs promtool (Debian's package `prometheus`).
#[test]
fn promtool_accepts_the_scrape_configuration_and_the_alerts() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../dashboards");
    let output = Command::new("promtool")
        .args(["check", "config", "prometheus.yml"])
        .current_dir(directory)
        .output()
        .expect("promtool is missing: apt-get install prometheus");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Every metric that an alert asks for is one that the observer serves.
#[test]
fn alerts_ask_for_metrics_that_exist() {
    let alerts = include_str!("../../dashboards/alerts.yml");
    let served = scraped();
    let asked = alerts.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    for name in asked.filter(|name| name.starts_with("trace_") || (name.starts_with("observer_"))) {
        assert!(served.contains(&format!("# TYPE {name} ")), "{name} is not served");
    }
}

/// Needs promtool (Debian's package `prometheus`).
#[test]
fn promtool_accepts_the_metrics() {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: apt-get install prometheus");
    promtool.stdin.take().unwrap().write_all(scraped().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn audits(directory: &Path, keep: Duration) -> AuditWriter {
    AuditWriter::new(Audit { directory: directory.to_owned(), interval: Duration::from_mins(1), keep })
}

/// Pretends that the newest audit was written at this many seconds after the epoch.
fn written_at(directory: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(directory.join(FILE_NAME)).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

#[test]
fn the_newest_audit_keeps_the_name_and_older_ones_carry_their_time() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("made/on/demand");
    let mut writer = audits(&directory, Duration::from_secs(100));
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    assert!(writer.write(&report(), at(1000)));
    written_at(&directory, 1000);
    assert!(writer.write(&report(), at(1060)));
    written_at(&directory, 1060);
    let older = |time: &str| format!("trace_sampling_audit_report-19700101T{time}Z.json");
    assert_eq!(names(&directory), [older("001640.000"), FILE_NAME.to_owned()]);
    let read: Report = serde_json::from_slice(&fs::read(directory.join(FILE_NAME)).unwrap()).unwrap();
    assert_eq!(read, report());
    // The first is now older than what is kept; files of others stay.
    fs::write(directory.join("notes.json"), "mine").unwrap();
    assert!(writer.write(&report(), at(1120)));
    assert_eq!(names(&directory), ["notes.json".to_owned(), older("001740.000"), FILE_NAME.to_owned()]);
}

#[test]
fn a_directory_that_cannot_be_written_does_not_stop_anything() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("audits");
    fs::write(&directory, "a file where a directory should be").unwrap();
    let mut writer = audits(&directory, Duration::from_secs(100));
    assert!(!writer.write(&report(), SystemTime::now()));
    fs::remove_file(&directory).unwrap();
    assert!(writer.write(&report(), SystemTime::now()));
}

#[test]
fn a_full_disk_keeps_the_audit_before() {
    // /dev/full answers every write with ENOSPC (full(4)).
    let place = tempfile::tempdir().unwrap();
    let mut writer = audits(place.path(), Duration::from_secs(100));
    assert!(writer.write(&report(), SystemTime::now()));
    std::os::unix::fs::symlink("/dev/full", place.path().join(format!(".{FILE_NAME}.tmp"))).unwrap();
    assert!(!writer.write(&report(), SystemTime::now()));
    let read: Report = serde_json::from_slice(&fs::read(place.path().join(FILE_NAME)).unwrap()).unwrap();
    assert_eq!(read, report());
    assert_eq!(names(place.path()), [FILE_NAME]);
    assert!(writer.write(&report(), SystemTime::now()));
}
