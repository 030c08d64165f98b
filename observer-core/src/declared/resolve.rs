//! Resolution: what all sources declare comes in; which rule holds for a service and tenant goes out.
//!
//! The more specific rule wins: one that names the tenant before one that names the service, that before one that names the
//! environment, that before one that names nothing. The environment of a live process names its service. Rules of the same
//! rank that declare different ratios are a conflict, and then none holds.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::{Declarations, Override, OverrideState, Problem, Rule, SourceKind};

/// Which rule holds for a service and tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The rule at this place of [`Rules::rules`].
    Rule(usize),
    /// Rules of the same rank disagree: this place of [`Rules::conflicts`].
    Conflicting(usize),
    /// No rule covers it.
    Undeclared,
}

/// Rules of the same rank, for the same service and tenant, that declare different ratios.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The places of the rules in [`Rules::rules`], in the order of declaration.
    pub rules: Vec<usize>,
}

/// What one scope (a tenant or none, a service or none) resolves to.
#[derive(Clone, Copy, Debug, Default)]
struct Scope {
    /// Over every kind of source.
    any: Option<Resolution>,
    /// Over the tenant rules alone.
    tenant_rules: Option<Resolution>,
}

/// What a process sets: service, sampler and the bits of the ratio.
type Setting = (Option<String>, &'static str, Option<u64>);

/// Everything that is declared, put together for one environment.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    all: Vec<Rule>,
    overrides: BTreeMap<String, Override>,
    problems: Vec<Problem>,
    conflicts: Vec<Conflict>,
    /// By tenant, then by service; the empty name stands for none.
    scopes: FxHashMap<String, FxHashMap<String, Scope>>,
}

impl Rules {
    /// Puts together what the sources declare. Of rules that name an environment only those of `environment` take part;
    /// the others are kept for the report. Processes of one service that set the same are one rule.
    pub fn new(environment: Option<&str>, sources: impl IntoIterator<Item = Declarations>) -> Self {
        let mut all = Self::default();
        let mut alike: BTreeMap<Setting, (usize, u64)> = BTreeMap::new();
        for source in sources {
            for rule in source.rules {
                if rule.kind == SourceKind::ProcessEnvironment {
                    let key = (rule.service.clone(), rule.sampler.as_str(), rule.ratio.map(f64::to_bits));
                    let (_, more) = alike
                        .entry(key)
                        .and_modify(|(_, more)| *more = more.saturating_add(1))
                        .or_insert((all.all.len(), 0));
                    if *more > 0 {
                        continue;
                    }
                }
                all.all.push(rule);
            }
            for tenant in source.overrides {
                // A tenant that has a rule in one file lacks none because another file forgets it.
                let known = all.overrides.get(&tenant.tenant).is_none_or(|known| tenant.state < known.state);
                if known {
                    all.overrides.insert(tenant.tenant.clone(), tenant);
                }
            }
            all.problems.extend(source.problems);
        }
        for (first, more) in alike.into_values().filter(|(_, more)| *more > 0) {
            if let Some(rule) = all.all.get_mut(first) {
                rule.source = format!("{} (and {more} more)", rule.source);
            }
        }
        all.problems.sort();
        all.problems = merged(all.problems);
        all.index(environment);
        all
    }

    fn index(&mut self, environment: Option<&str>) {
        let mut members: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for (place, rule) in self.all.iter().enumerate() {
            if rule.environment.is_none() || rule.environment.as_deref() == environment {
                let scope = (rule.tenant.as_deref().unwrap_or(""), rule.service.as_deref().unwrap_or(""));
                members.entry(scope).or_default().push(place);
            }
        }
        let mut conflicts = Vec::new();
        for ((tenant, service), places) in members {
            let tenant_rules: Vec<usize> = places
                .iter()
                .copied()
                .filter(|&place| self.all.get(place).is_some_and(|rule| rule.kind == SourceKind::TenantRules))
                .collect();
            let scope = Scope {
                any: decide(&self.all, &places, &mut conflicts),
                tenant_rules: decide(&self.all, &tenant_rules, &mut conflicts),
            };
            self.scopes.entry(tenant.to_owned()).or_default().insert(service.to_owned(), scope);
        }
        self.conflicts = conflicts;
    }

    /// The rule that holds for what a service decides on a tenant's traces.
    pub fn resolve(&self, service: &str, tenant: &str) -> Resolution {
        self.most_specific(service, tenant, |scope| scope.any)
    }

    /// The same over the tenant rules alone: they hold for traces whoever starts them.
    pub fn resolve_tenant_rule(&self, service: &str, tenant: &str) -> Resolution {
        self.most_specific(service, tenant, |scope| scope.tenant_rules)
    }

    fn most_specific(&self, service: &str, tenant: &str, of: impl Fn(&Scope) -> Option<Resolution>) -> Resolution {
        [(tenant, service), (tenant, ""), ("", service), ("", "")]
            .into_iter()
            .find_map(|(tenant, service)| of(self.scopes.get(tenant)?.get(service)?))
            .unwrap_or(Resolution::Undeclared)
    }

    /// The rule at a place.
    pub fn rule(&self, place: usize) -> Option<&Rule> {
        self.all.get(place)
    }

    /// Every rule, those of other environments too.
    pub fn rules(&self) -> &[Rule] {
        &self.all
    }

    /// The tenants that are named, by name.
    pub fn overrides(&self) -> impl Iterator<Item = &Override> {
        self.overrides.values()
    }

    /// What is said of a tenant's own ratio, where it is named.
    pub fn override_of(&self, tenant: &str) -> Option<OverrideState> {
        self.overrides.get(tenant).map(|named| named.state)
    }

    /// Declarations that cannot work, sorted.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Rules that disagree.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }
}

/// What is wrong with several processes of a service alike is one problem.
fn merged(problems: Vec<Problem>) -> Vec<Problem> {
    let mut merged: BTreeMap<(Option<String>, String, String), (Problem, u64)> = BTreeMap::new();
    let mut others = Vec::new();
    for problem in problems {
        if problem.service.is_none() {
            others.push(problem);
            continue;
        }
        let alike = (problem.service.clone(), problem.key.clone(), problem.what.clone());
        merged.entry(alike).and_modify(|(_, more)| *more = more.saturating_add(1)).or_insert((problem, 0));
    }
    others.extend(merged.into_values().map(|(problem, more)| match more {
        0 => problem,
        _ => Problem { source: format!("{} (and {more} more)", problem.source), ..problem },
    }));
    others
}

/// What the rules of one scope resolve to: those that name the environment, or else the others.
fn decide(rules: &[Rule], places: &[usize], conflicts: &mut Vec<Conflict>) -> Option<Resolution> {
    let named = |place: &usize| rules.get(*place).is_some_and(|rule| rule.environment.is_some());
    let mut best: Vec<usize> = places.iter().copied().filter(named).collect();
    if best.is_empty() {
        best = places.to_vec();
    }
    let first = *best.first()?;
    let ratio = |place: usize| rules.get(place).and_then(|rule| rule.ratio).map(f64::to_bits);
    if best.iter().all(|&place| ratio(place) == ratio(first)) {
        return Some(Resolution::Rule(first));
    }
    let conflict = Conflict { rules: best };
    let known = conflicts.iter().position(|known| *known == conflict);
    Some(Resolution::Conflicting(known.unwrap_or_else(|| {
        conflicts.push(conflict);
        conflicts.len().saturating_sub(1)
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::{Language, ProcessEnvironment, process_environment, tenant_rules};

    const FILE: &str = "default: 0.1\n\
        environments: {staging: {default: 1.0}}\n\
        services: {payment-svc: {default: 0.2}}\n\
        tenants: {a: {sampler_override: 0.05}, b: {sampler_override: null}, c: {}}\n";

    fn process(pid: u32, arg: &str) -> Declarations {
        process_environment(&ProcessEnvironment {
            pid,
            service: "checkout",
            language: Language::Python,
            sampler: Some("traceidratio"),
            sampler_arg: Some(arg),
        })
    }

    fn ratio(rules: &Rules, service: &str, tenant: &str) -> Option<f64> {
        match rules.resolve(service, tenant) {
            Resolution::Rule(place) => rules.rule(place).unwrap().ratio,
            Resolution::Conflicting(_) | Resolution::Undeclared => None,
        }
    }

    #[test]
    fn the_more_specific_rule_wins() {
        let rules = Rules::new(None, [tenant_rules("rules.yaml", FILE), process(1, "0.3")]);
        assert_eq!(ratio(&rules, "search", "z"), Some(0.1));
        assert_eq!(ratio(&rules, "search", "a"), Some(0.05));
        assert_eq!(ratio(&rules, "payment-svc", "z"), Some(0.2));
        assert_eq!(ratio(&rules, "payment-svc", "a"), Some(0.05));
        assert_eq!(ratio(&rules, "checkout", "b"), Some(0.3));
        assert_eq!(ratio(&rules, "checkout", "a"), Some(0.05));
        let Resolution::Rule(place) = rules.resolve_tenant_rule("checkout", "b") else { panic!("no rule") };
        assert_eq!(rules.rule(place).unwrap().source, "rules.yaml:1");
    }

    #[test]
    fn a_rule_of_an_environment_holds_in_that_one_only() {
        let in_environment = |environment| Rules::new(environment, [tenant_rules("rules.yaml", FILE)]);
        assert_eq!(ratio(&in_environment(Some("staging")), "search", "z"), Some(1.0));
        assert_eq!(ratio(&in_environment(Some("prod")), "search", "z"), Some(0.1));
        assert_eq!(ratio(&in_environment(None), "search", "z"), Some(0.1));
        assert_eq!(in_environment(None).rules().len(), 4);
    }

    #[test]
    fn rules_of_one_rank_that_disagree_are_one_conflict() {
        let rules = Rules::new(None, [process(1, "0.3"), process(2, "0.4"), process(3, "0.3")]);
        assert_eq!(rules.resolve("checkout", "a"), Resolution::Conflicting(0));
        assert_eq!(rules.conflicts(), [Conflict { rules: vec![0, 1] }]);
        assert_eq!(rules.rules()[0].source, "process 1 (checkout): OTEL_TRACES_SAMPLER (and 1 more)");
        assert_eq!(rules.resolve("search", "a"), Resolution::Undeclared);
    }

    #[test]
    fn the_same_mistake_in_many_processes_is_one_problem() {
        let rules = Rules::new(None, [process(1, "10"), process(2, "10"), process(3, "20")]);
        let sources: Vec<_> = rules.problems().iter().map(ToString::to_string).collect();
        let everything = "means 100 %: this SDK samples everything";
        assert_eq!(
            sources,
            [
                format!("process 1 (checkout) (and 1 more): OTEL_TRACES_SAMPLER_ARG=10 {everything}"),
                format!("process 3 (checkout): OTEL_TRACES_SAMPLER_ARG=20 {everything}"),
            ]
        );
    }

    #[test]
    fn two_files_that_say_the_same_are_no_conflict() {
        let rules = Rules::new(None, [tenant_rules("a.yaml", "default: 0.1"), tenant_rules("b.yaml", "default: 0.10")]);
        assert_eq!(rules.resolve("search", "a"), Resolution::Rule(0));
        assert!(rules.conflicts().is_empty());
    }

    #[test]
    fn a_tenant_that_one_file_sets_lacks_no_override() {
        let rules = Rules::new(
            None,
            [tenant_rules("a.yaml", FILE), tenant_rules("b.yaml", "tenants: {c: {sampler_override: 0.5}}")],
        );
        assert_eq!(rules.override_of("c"), Some(OverrideState::Set));
        assert_eq!(rules.override_of("b"), Some(OverrideState::Inherits));
        assert_eq!(rules.override_of("z"), None);
    }
}
