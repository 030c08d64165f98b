//! The tenant rules file: its text comes in, rules and overrides with their lines go out, and for every value
//! that cannot be one what is wrong with it. What is right is kept whatever else is wrong.

use super::{Declarations, Override, OverrideState, Problem, Rule, Sampler, SourceKind};
use crate::yaml::{self, Entry, Fault, FaultKind, Node, Value};

/// Reads the tenant rules `text` of the file that is called `file` in reports.
pub fn tenant_rules(file: &str, text: &str) -> Declarations {
    let mut reader = Reader { file, declared: Declarations::default() };
    let (node, fault) = yaml::parse_leniently(text);
    if let Some(Fault { line, kind }) = fault {
        match kind {
            FaultKind::KeyTwice(key) => {
                reader.problem(line, &key, "stands twice; the first is taken", "keep one of them");
            }
            FaultKind::SecondDocument => reader.problem(line, "", "is a second document (---)", "keep one"),
            FaultKind::NotYaml(what) => {
                reader.problem(line, "", &format!("is not YAML that can be read: {what}"), "correct the file");
            }
        }
    }
    if let Some(node) = node {
        reader.document(&node);
    }
    reader.declared
}

/// The keys of the file, for the remedy of an unknown one.
const KEYS: &str = "the keys are default, environments, services and tenants";

struct Reader<'a> {
    file: &'a str,
    declared: Declarations,
}

impl Reader<'_> {
    fn document(&mut self, node: &Node) {
        let entries = match &node.value {
            Value::Null => return,
            Value::Map(entries) => entries,
            other => {
                let what = format!("is {}, not a mapping", other.kind());
                self.problem(node.line, "", &what, KEYS);
                return;
            }
        };
        for entry in entries {
            match entry.key.as_str() {
                "default" => self.rule(&entry.node, "default", |_| {}),
                "environments" => self.named_defaults(&entry.node, "environments", |rule, name| {
                    rule.environment = Some(name);
                }),
                "services" => self.named_defaults(&entry.node, "services", |rule, name| rule.service = Some(name)),
                "tenants" => self.tenants(&entry.node),
                key => self.problem(entry.key_line, key, "is not a key of this file", KEYS),
            }
        }
    }

    /// `{NAME: {default: RATIO}}`.
    fn named_defaults(&mut self, node: &Node, path: &str, mut name: impl FnMut(&mut Rule, String)) {
        for entry in self.mapping(node, path).to_vec() {
            let path = format!("{path}.{}", entry.key);
            for inner in self.mapping(&entry.node, &path).to_vec() {
                let key = format!("{path}.{}", inner.key);
                if inner.key == "default" {
                    self.rule(&inner.node, &key, |rule| name(rule, entry.key.clone()));
                } else {
                    self.problem(inner.key_line, &key, "is not a key here", "the only key here is default");
                }
            }
        }
    }

    /// `{NAME: {sampler_override: RATIO | null} | {}}`.
    fn tenants(&mut self, node: &Node) {
        for entry in self.mapping(node, "tenants").to_vec() {
            let path = format!("tenants.{}", entry.key);
            let state = self.tenant(&entry, &path);
            let source = self.source(entry.key_line);
            self.declared.overrides.push(Override { tenant: entry.key, state, source });
        }
    }

    fn tenant(&mut self, entry: &Entry, path: &str) -> OverrideState {
        if entry.node.value == Value::Null {
            return OverrideState::Missing;
        }
        let mut state =
            if matches!(entry.node.value, Value::Map(_)) { OverrideState::Missing } else { OverrideState::Invalid };
        for inner in self.mapping(&entry.node, path).to_vec() {
            let key = format!("{path}.{}", inner.key);
            if inner.key != "sampler_override" {
                self.problem(inner.key_line, &key, "is not a key here", "the only key here is sampler_override");
            } else if inner.node.value == Value::Null {
                state = OverrideState::Inherits;
            } else {
                let rules = self.declared.rules.len();
                self.rule(&inner.node, &key, |rule| rule.tenant = Some(entry.key.clone()));
                let valid = self.declared.rules.len() > rules;
                state = if valid { OverrideState::Set } else { OverrideState::Invalid };
            }
        }
        state
    }

    fn mapping<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Entry] {
        match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            other => {
                self.problem(node.line, path, &format!("is {}, not a mapping", other.kind()), "write a mapping here");
                &[]
            }
        }
    }

    /// A ratio that becomes a rule.
    fn rule(&mut self, node: &Node, key: &str, name: impl FnOnce(&mut Rule)) {
        let remedy = "write a ratio from 0 to 1; ten percent is 0.1";
        match node.value {
            Value::Number(ratio) if (0.0..=1.0).contains(&ratio) => {
                let mut rule = Rule {
                    environment: None,
                    service: None,
                    tenant: None,
                    sampler: Sampler::TraceIdRatio,
                    ratio: Some(ratio),
                    kind: SourceKind::TenantRules,
                    source: self.source(node.line),
                };
                name(&mut rule);
                self.declared.rules.push(rule);
            }
            Value::Number(ratio) => self.problem(node.line, key, &format!("is {ratio}, not a ratio"), remedy),
            ref other => self.problem(node.line, key, &format!("is {}, not a ratio", other.kind()), remedy),
        }
    }

    fn source(&self, line: u64) -> String {
        format!("{}:{line}", self.file)
    }

    fn problem(&mut self, line: u64, key: &str, what: &str, remedy: &str) {
        self.declared.problems.push(Problem {
            source: self.source(line),
            service: None,
            key: key.to_owned(),
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: &Expect) {
        let declared = tenant_rules("rules.yaml", text);
        let mut lines = String::new();
        for rule in &declared.rules {
            let Rule { environment, service, tenant, ratio, source, .. } = rule;
            writeln!(lines, "{source} {environment:?} {service:?} {tenant:?} {ratio:?}").unwrap();
        }
        for Override { tenant, state, source } in &declared.overrides {
            writeln!(lines, "{source} tenant {tenant} {state:?}").unwrap();
        }
        for problem in &declared.problems {
            writeln!(lines, "{problem}; {}", problem.remedy).unwrap();
        }
        expected.assert_eq(&lines);
    }

    #[test]
    fn the_example_of_the_contract_is_read_with_its_lines() {
        check(
            "default: 0.1                    # for every tenant without an override\n\
             environments: {staging: {default: 1.0}}\n\
             services: {payment-svc: {default: 0.2}}\n\
             tenants:\n\
             \x20 tenant_a: {sampler_override: 0.05}\n\
             \x20 tenant_b: {sampler_override: null}      # inherits on purpose\n\
             \x20 tenant_c: {}                            # override missing: reported\n",
            &expect![[r#"
                rules.yaml:1 None None None Some(0.1)
                rules.yaml:2 Some("staging") None None Some(1.0)
                rules.yaml:3 None Some("payment-svc") None Some(0.2)
                rules.yaml:5 None None Some("tenant_a") Some(0.05)
                rules.yaml:5 tenant tenant_a Set
                rules.yaml:6 tenant tenant_b Inherits
                rules.yaml:7 tenant tenant_c Missing
            "#]],
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_what_is_right_is_kept() {
        check(
            "default: 10\n\
             defualt: 0.1\n\
             environments:\n\
             \x20 prod: {default: .nan}\n\
             \x20 staging: 1.0\n\
             \x20 dev: {default: 1, extra: 2}\n\
             services: [a, b]\n\
             tenants:\n\
             \x20 good: {sampler_override: 0.05}\n\
             \x20 text: {sampler_override: 5%}\n\
             \x20 negative: {sampler_override: -0.1}\n\
             \x20 bare: 0.3\n\
             \x20 typo: {sampler_overide: 0.3}\n\
             \x20 empty:\n\
             \x20 1234: {sampler_override: 1e-3}\n",
            &expect![[r#"
                rules.yaml:6 Some("dev") None None Some(1.0)
                rules.yaml:9 None None Some("good") Some(0.05)
                rules.yaml:15 None None Some("1234") Some(0.001)
                rules.yaml:9 tenant good Set
                rules.yaml:10 tenant text Invalid
                rules.yaml:11 tenant negative Invalid
                rules.yaml:12 tenant bare Invalid
                rules.yaml:13 tenant typo Missing
                rules.yaml:14 tenant empty Missing
                rules.yaml:15 tenant 1234 Set
                rules.yaml:1: default is 10, not a ratio; write a ratio from 0 to 1; ten percent is 0.1
                rules.yaml:2: defualt is not a key of this file; the keys are default, environments, services and tenants
                rules.yaml:4: environments.prod.default is NaN, not a ratio; write a ratio from 0 to 1; ten percent is 0.1
                rules.yaml:5: environments.staging is a number, not a mapping; write a mapping here
                rules.yaml:6: environments.dev.extra is not a key here; the only key here is default
                rules.yaml:7: services is a list, not a mapping; write a mapping here
                rules.yaml:10: tenants.text.sampler_override is a text, not a ratio; write a ratio from 0 to 1; ten percent is 0.1
                rules.yaml:11: tenants.negative.sampler_override is -0.1, not a ratio; write a ratio from 0 to 1; ten percent is 0.1
                rules.yaml:12: tenants.bare is a number, not a mapping; write a mapping here
                rules.yaml:13: tenants.typo.sampler_overide is not a key here; the only key here is sampler_override
            "#]],
        );
    }

    #[test]
    fn a_tenant_that_stands_twice_is_told() {
        check(
            "tenants:\n  acme: {sampler_override: 0.1}\n  acme: {sampler_override: 0.2}\n  other: {sampler_override: 0.3}\n",
            &expect![[r#"
                rules.yaml:2 None None Some("acme") Some(0.1)
                rules.yaml:4 None None Some("other") Some(0.3)
                rules.yaml:2 tenant acme Set
                rules.yaml:4 tenant other Set
                rules.yaml:3: acme stands twice; the first is taken; keep one of them
            "#]],
        );
    }

    #[test]
    fn a_file_that_is_no_rules_file_is_one_problem() {
        check(
            "just text\n",
            &expect![[r"
            rules.yaml:1 is a text, not a mapping; the keys are default, environments, services and tenants
        "]],
        );
        check(
            "default: [0.1\ntenants: {\n",
            &expect![[r"
            rules.yaml:2 is not YAML that can be read: illegal placement of ':' indicator; correct the file
        "]],
        );
        check("", &expect![""]);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 100, failure_persistence: None, ..Default::default() })]
        #[test]
        fn whatever_the_text_it_is_read_without_a_panic_and_every_rule_holds_a_ratio(
            text in "(default|tenants|services|environments|a|-|[&*][ab]|<<|[:{}\\[\\], \n'\"]|0\\.1|\\.nan|null|1e999|\\PC){0,40}",
        ) {
            for rule in tenant_rules("rules.yaml", &text).rules {
                proptest::prop_assert!(rule.ratio.is_some_and(|ratio| (0.0..=1.0).contains(&ratio)));
            }
        }
    }
}
