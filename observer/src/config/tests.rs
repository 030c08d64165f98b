//! What a configuration yields, and the one line for each way in which it can be wrong.
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::path::Path;

use expect_test::{Expect, expect};

use super::*;

fn wrong(text: &str, expected: &Expect) {
    match Config::parse("observer.yaml", Path::new("/nowhere"), text) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains('\n'), "more than one line: {line}");
            expected.assert_eq(&line);
        }
    }
}

fn good(text: &str) -> Config {
    Config::parse("observer.yaml", Path::new("/nowhere"), text).unwrap()
}

/// The example of the documentation, word for word but for `otlp` and the files.
const EVERYTHING: &str = r#"
environment: prod
services:
  - {name: checkout, port: 8080}
  - {name: ledger, executable: /usr/bin/ledgerd}
  - {name: search, cgroup: /system.slice/search.service}
  - {name: gateway, address: 10.0.3.7}
tenant:
  - header: X-Tenant-Id
  - header: x-scope-orgid
  - baggage: tenant.id
  - tracestate: acme
  - host: '^(?<tenant>[a-z]+)\.shop\.example$'
  - path: '^/t/(?P<tenant>[^/]+)/'
  - namespace: true
weight: [{header: x-trace-weight}, {baggage: trace.weight}]
external: ["*.partner.example", 203.0.113.0/24, "2001:db8::/32", 192.0.2.1]
ignore: [{path: /healthz}, {path: /metrics}, {path: "/internal/*"}]
requirements: [{service: checkout, tenant: acme, ratio_at_least: 0.05, all_errors: true, all_slower_than: 2s}]
declared:
  process_environment: false
  databases: ["sqlite:rules.db", "postgres://user:secret@db/rules"]
tolerance: 0.2
false_alarm_rate: 0.01
limits: {tenants: 10, services: 5, memory: 64MiB}
capture:
  sources: [cgroup, socket-filter, tls]
  ports: [80, 8080]
  cgroup: /system.slice/shop.service
  batch: 256KiB
  tls_leave: [nginx, "java*"]
  tls_budget: 0.05
prometheus: {listen: "0.0.0.0:9999"}
audit: {directory: /tmp/audits, interval: 10s, keep: 1d}
"#;

#[test]
fn every_key_of_the_documentation_is_read() {
    let config = good(EVERYTHING);
    assert_eq!(config.environment.as_deref(), Some("prod"));
    assert_eq!(config.services.len(), 4);
    assert_eq!(config.services[3].address, Some("10.0.3.7/32".parse().unwrap()));
    assert_eq!(config.services[2].cgroup.as_deref(), Some("/system.slice/search.service"));
    let tenant: Vec<String> = config.tenant.iter().map(|source| format!("{source:?}")).collect();
    assert_eq!(tenant[0], r#"Header("x-tenant-id")"#);
    assert_eq!(tenant.len(), 7);
    assert_eq!(config.weight.len(), 2);
    assert!(config.external[0].matches("10.0.0.1".parse().unwrap(), Some("api.partner.example")));
    assert!(config.external[1].matches("203.0.113.77".parse().unwrap(), None));
    assert!(!config.external[3].matches("192.0.2.2".parse().unwrap(), None));
    assert_eq!(config.ignore, ["/healthz", "/metrics", "/internal/*"].map(Pattern::new));
    assert_eq!(config.requirements[0].ratio_at_least, Some(0.05));
    assert_eq!(config.requirements[0].all_slower_than, Some(Duration::from_secs(2)));
    assert!(!config.declared.process_environment);
    assert_eq!((config.tolerance.to_bits(), config.false_alarm_rate.to_bits()), (0.2f64.to_bits(), 0.01f64.to_bits()));
    assert_eq!(config.limits, Limits { tenants: 10, services: 5, memory_bytes: 64 << 20 });
    assert_eq!(config.capture.ports, [80, 8080]);
    assert_eq!(config.capture.cgroup.as_deref(), Some("/system.slice/shop.service"));
    assert_eq!(config.capture.batch_bytes, 256 << 10);
    assert_eq!(config.capture.tls_budget.to_bits(), 0.05f64.to_bits());
    assert_eq!(config.capture.tls_leave, ["nginx", "java*"].map(Pattern::new));
    assert_eq!(config.listen, Some("0.0.0.0:9999".parse().unwrap()));
    assert_eq!(config.audit.unwrap().keep, Duration::from_hours(24));
}

#[test]
fn what_is_read_and_not_honoured_is_said() {
    expect![[r"
        observer.yaml:19: requirements: ratio_at_least and all_errors are read but not yet checked
        observer.yaml:22: declared.databases: rules in databases are not yet read"]]
    .assert_eq(&good(EVERYTHING).notices.join("\n"));
}

#[test]
fn an_empty_file_means_the_defaults() {
    for text in ["", "# nothing\n", "environment:\n", "{}", "services: []"] {
        let config = good(text);
        assert_eq!(config.tenant.len(), 4, "{text:?}");
        assert_eq!(config.listen, Some("127.0.0.1:9435".parse().unwrap()));
        assert_eq!(config.audit, Some(Audit::default()));
        assert!(config.notices.is_empty());
    }
}

#[test]
fn relative_names_are_relative_to_the_configuration_file() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("etc")).unwrap();
    std::fs::write(place.path().join("etc/rules.yaml"), "default: 0.1\n").unwrap();
    let path = place.path().join("etc/observer.yaml");
    std::fs::write(&path, "audit: {directory: ../audits}\ndeclared: {files: [rules.yaml]}\n").unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.audit.unwrap().directory, place.path().join("etc/../audits"));
    assert_eq!(
        (config.declared.files[0].name.as_str(), config.declared.files[0].text.as_str()),
        ("rules.yaml", "default: 0.1\n")
    );
    assert_eq!(good("audit: {directory: /srv/audits}").audit.unwrap().directory, Path::new("/srv/audits"));
}

#[test]
fn metrics_and_audits_can_be_turned_off() {
    let config = good("prometheus: false\naudit: false\n");
    assert_eq!((config.listen, config.audit), (None, None));
}

#[test]
fn words_that_other_readers_take_for_booleans_stay_words() {
    assert_eq!(good("environment: no").environment.as_deref(), Some("no"));
}

#[test]
fn an_unknown_key_is_named_with_what_was_meant() {
    wrong("enviroment: prod", &expect!["observer.yaml:1: enviroment: unknown key; did you mean environment?"]);
    wrong(
        "tenant:\n  - header: x-tenant-id\n  - heder: x-other\n",
        &expect!["observer.yaml:3: tenant[1].heder: unknown key; did you mean header?"],
    );
    wrong(
        "limits:\n  tenants: 5\n  colour: 7\n",
        &expect!["observer.yaml:3: limits.colour: unknown key; known here: tenants, services, memory"],
    );
    wrong(
        "audit: {dir: /tmp}",
        &expect!["observer.yaml:1: audit.dir: unknown key; known here: directory, interval, keep"],
    );
    wrong(
        "prometheus:\n  listn: 127.0.0.1:1\n",
        &expect!["observer.yaml:2: prometheus.listn: unknown key; did you mean listen?"],
    );
}

#[test]
fn a_wrong_type_is_named_with_what_was_found() {
    wrong("environment: 7", &expect!["observer.yaml:1: environment: must be a text (put it in quotes), not 7"]);
    wrong("environment: ''", &expect!["observer.yaml:1: environment: must not be empty"]);
    wrong("services: checkout", &expect![[r#"observer.yaml:1: services: must be a list, not "checkout""#]]);
    wrong(
        "services:\n- checkout\n",
        &expect![[
            r#"observer.yaml:2: services[0]: must be a mapping with name, port, executable, cgroup, address, not "checkout""#
        ]],
    );
    wrong(
        "declared: {process_environment: 'yes'}",
        &expect![[r#"observer.yaml:1: declared.process_environment: must be true or false, not "yes""#]],
    );
    wrong(
        "limits: {tenants: many}",
        &expect![[r#"observer.yaml:1: limits.tenants: must be a whole number from 1 to 10000, not "many""#]],
    );
    wrong(
        "- a\n- b\n",
        &expect!["observer.yaml:1: must be a mapping of keys, for example environment: prod, not a list"],
    );
    wrong(
        "just a text",
        &expect![[r#"observer.yaml:1: must be a mapping of keys, for example environment: prod, not "just a text""#]],
    );
}

#[test]
fn a_value_out_of_range_is_named_with_the_range() {
    wrong("tolerance: 1.5", &expect!["observer.yaml:1: tolerance: must be a number from 0 to 1, not 1.5"]);
    wrong("tolerance: -0.1", &expect!["observer.yaml:1: tolerance: must be a number from 0 to 1, not -0.1"]);
    wrong("tolerance: .nan", &expect!["observer.yaml:1: tolerance: must be a number from 0 to 1, not NaN"]);
    wrong(
        "false_alarm_rate: 0",
        &expect!["observer.yaml:1: false_alarm_rate: must be a number between 0 and 1, for example 0.001, not 0"],
    );
    wrong(
        "requirements: [{service: a, ratio_at_least: 5}]",
        &expect!["observer.yaml:1: requirements[0].ratio_at_least: must be a ratio from 0 to 1, not 5"],
    );
    wrong(
        "requirements: [{service: a}]",
        &expect![
            "observer.yaml:1: requirements[0]: requires nothing; give ratio_at_least, all_errors: true or all_slower_than"
        ],
    );
    wrong(
        "requirements: [{all_slower_than: 2}]",
        &expect![[
            r#"observer.yaml:1: requirements[0].all_slower_than: "2" is no duration; write for example 500ms, 60s, 5m, 1h or 7d"#
        ]],
    );
    assert!(good("requirements: [{all_slower_than: 500ms}]").notices.is_empty());
    wrong(
        "limits: {tenants: 0}",
        &expect!["observer.yaml:1: limits.tenants: must be a whole number from 1 to 10000, not 0"],
    );
    wrong("capture: {batch: 1GiB}", &expect!["observer.yaml:1: capture.batch: must be from 1KiB to 16MiB"]);
    wrong(
        "capture: {tls_leave: [a-very-long-name]}",
        &expect![
            r#"observer.yaml:1: capture.tls_leave[0]: "a-very-long-name" is longer than any command name (15 bytes); end it with a *"#
        ],
    );
    wrong(
        "capture: {tls_budget: 10}",
        &expect!["observer.yaml:1: capture.tls_budget: must be a ratio from 0 to 1, not 10"],
    );
    wrong("limits: {memory: 1KiB}", &expect!["observer.yaml:1: limits.memory: must be at least 8MiB"]);
    wrong(
        "limits: {memory: 128}",
        &expect![[r#"observer.yaml:1: limits.memory: "128" is no size; write for example 64MiB or 1GiB"#]],
    );
    wrong(
        "limits: {memory: 128 parsecs}",
        &expect![[r#"observer.yaml:1: limits.memory: "128 parsecs" is no size; write for example 64MiB or 1GiB"#]],
    );
    wrong(
        "capture: {ports: [80, 70000]}",
        &expect!["observer.yaml:1: capture.ports[1]: must be a whole number from 1 to 65535, not 70000"],
    );
    wrong(
        "capture: {ports: [0]}",
        &expect!["observer.yaml:1: capture.ports[0]: must be a whole number from 1 to 65535, not 0"],
    );
    wrong(
        "limits: {tenants: 99999999999999999999}",
        &expect!["observer.yaml:1: limits.tenants: must be a whole number from 1 to 10000, not 100000000000000000000"],
    );
}

#[test]
fn a_service_rule_has_a_name_and_a_mark() {
    wrong(
        "services:\n  - {port: 80}\n",
        &expect!["observer.yaml:2: services[0]: name is missing; every entry needs it"],
    );
    wrong(
        "services:\n  - {name: a}\n",
        &expect!["observer.yaml:2: services[0]: matches nothing; give port, executable, cgroup or address"],
    );
    wrong(
        "services: [{name: a, cgroup: app.service}]",
        &expect![[
            r#"observer.yaml:1: services[0].cgroup: "app.service" must begin with /, for example /system.slice/app.service"#
        ]],
    );
    wrong(
        "services: [{name: a, address: 10.0.3}]",
        &expect![[
            r#"observer.yaml:1: services[0].address: "10.0.3" is no address; write for example 10.0.3.7 or 10.0.3.0/24"#
        ]],
    );
    assert_eq!(good("services: [{name: a, port: 80, cgroup: /x/}]").services[0].cgroup.as_deref(), Some("/x"));
}

#[test]
fn an_extractor_is_one_of_the_known_kinds() {
    wrong(
        "tenant: [{}]",
        &expect!["observer.yaml:1: tenant[0]: needs one of header, baggage, tracestate, host, path, namespace"],
    );
    wrong(
        "tenant: [{header: a, baggage: b}]",
        &expect!["observer.yaml:1: tenant[0].baggage: header and baggage exclude each other; make two entries"],
    );
    wrong(
        "tenant: [{header: 'x tenant'}]",
        &expect![[r#"observer.yaml:1: tenant[0].header: "x tenant" is no header name; write for example x-tenant-id"#]],
    );
    wrong(
        "tenant: [{host: '(unclosed'}]",
        &expect![[r#"observer.yaml:1: tenant[0].host: "(unclosed" is no regular expression: unclosed group"#]],
    );
    wrong(
        "tenant: [{path: '^/t/([^/]+)/'}]",
        &expect![[
            r#"observer.yaml:1: tenant[0].path: "^/t/([^/]+)/" has no group called tenant; write the tenant's part as (?<tenant>…)"#
        ]],
    );
    wrong(
        "tenant: [{namespace: false}]",
        &expect![
            "observer.yaml:1: tenant[0].namespace: only `namespace: true` means something; remove this entry instead"
        ],
    );
    wrong(
        "weight: [{path: '/x'}]",
        &expect!["observer.yaml:1: weight[0].path: unknown key; known here: header, baggage"],
    );
}

#[test]
fn addresses_paths_and_times_are_checked() {
    wrong(
        "prometheus: {listen: 9435}",
        &expect![[
            r#"observer.yaml:1: prometheus.listen: "9435" is no address and port; write for example 127.0.0.1:9435"#
        ]],
    );
    wrong(
        "prometheus: {listen: 'localhost:9435'}",
        &expect![[
            r#"observer.yaml:1: prometheus.listen: "localhost:9435" is no address and port; write for example 127.0.0.1:9435"#
        ]],
    );
    wrong(
        "external: ['10.0.0.0/99']",
        &expect![[
            r#"observer.yaml:1: external[0]: "10.0.0.0/99" is no address; write for example 10.0.3.7 or 10.0.3.0/24"#
        ]],
    );
    wrong(
        "ignore: [{path: healthz}]",
        &expect![[r#"observer.yaml:1: ignore[0].path: "healthz" must begin with / (a * stands for anything)"#]],
    );
    wrong(
        "audit: {interval: 60}",
        &expect![[
            r#"observer.yaml:1: audit.interval: "60" is no duration; write for example 500ms, 60s, 5m, 1h or 7d"#
        ]],
    );
    wrong("audit: {interval: 5ms}", &expect!["observer.yaml:1: audit.interval: must be at least 1s"]);
    wrong(
        "audit: {keep: forever}",
        &expect![[
            r#"observer.yaml:1: audit.keep: "forever" is no duration; write for example 500ms, 60s, 5m, 1h or 7d"#
        ]],
    );
    wrong(
        "declared:\n  files:\n    - rules.yaml\n",
        &expect![
            "observer.yaml:3: declared.files[0]: /nowhere/rules.yaml: no such file; give its path from the configuration file on"
        ],
    );
    wrong(
        "declared: {files: [/]}",
        &expect!["observer.yaml:1: declared.files[0]: /: is a directory; name each file in it"],
    );
    wrong(
        "declared: {databases: ['mysql://user:secret@db']}",
        &expect!["observer.yaml:1: declared.databases[0]: must begin with sqlite: or postgres://"],
    );
}

#[test]
fn what_this_version_cannot_do_is_refused() {
    wrong(
        "otlp: {listen: '127.0.0.1:14317'}",
        &expect!["observer.yaml:1: otlp: OTLP comes with a later version; remove this key"],
    );
    wrong(
        "capture: {sources: [tls]}",
        &expect![
            "observer.yaml:1: capture.sources: tls alone does not tell whose connections are; add cgroup or socket-filter"
        ],
    );
    wrong(
        "capture: {sources: [cgruop]}",
        &expect![[
            r#"observer.yaml:1: capture.sources[0]: "cgruop" is no source (known: cgroup, socket-filter, tls); did you mean cgroup?"#
        ]],
    );
}

#[test]
fn broken_yaml_is_one_line_too() {
    wrong("a: [1, 2", &expect!["observer.yaml:1: not YAML: unclosed bracket '['"]);
    wrong("tolerance: 0.1\ntolerance: 0.2\n", &expect!["observer.yaml:2: tolerance: given twice; keep one of them"]);
    wrong(
        "environment: \"open\nlimits: 3",
        &expect!["observer.yaml:2: not YAML: invalid indentation in multiline quoted scalar"],
    );
    wrong(
        "environment: a\n  - b: c\n d: e",
        &expect!["observer.yaml:2: not YAML: mapping values are not allowed in this context"],
    );
    wrong("environment: *unknown", &expect!["observer.yaml:1: not YAML: alias references unknown anchor"]);
    wrong(
        "environment: a\n---\nenvironment: b\n",
        &expect!["observer.yaml:3: a second document begins here (---); keep one"],
    );
}
