//! Rules: what is declared comes in; the rules of the report go out, and what is wrong with declarations by themselves.

use std::collections::BTreeMap;

use super::desk::{Desk, Draft, tenants_seen};
use super::report::{Code, RuleUse};
use super::severity::Case;
use super::words;
use crate::declared::{OverrideState, Rule};
use crate::ids::TenantId;

/// The declared rules, each with the number of traces that it was compared with.
pub(super) fn rows(desk: &Desk<'_>, matched: &BTreeMap<usize, u64>) -> Vec<RuleUse> {
    let rules = desk.inputs.rules.rules().iter().enumerate();
    rules
        .map(|(place, rule)| RuleUse {
            environment: rule.environment.clone(),
            service: rule.service.clone(),
            tenant: rule.tenant.clone(),
            sampler: rule.sampler.as_str().to_owned(),
            ratio: rule.ratio,
            source: rule.source.clone(),
            matched: matched.get(&place).copied().unwrap_or_default(),
        })
        .collect()
}

/// Files `rule-invalid`, `rules-conflict`, `tenant-override-missing` and `tenant-undeclared`.
pub(super) fn findings(desk: &mut Desk<'_>) {
    let rules = desk.inputs.rules;
    for problem in rules.problems() {
        desk.file(Draft {
            service: problem.service.clone(),
            ..Draft::new(Code::RuleInvalid, problem.to_string(), format!("{} ({})", problem.remedy, problem.source))
        });
    }
    for conflict in rules.conflicts() {
        let sides: Vec<&Rule> = conflict.rules.iter().filter_map(|&place| rules.rule(place)).collect();
        let Some(first) = sides.first() else { continue };
        let said: Vec<String> = sides.iter().map(|rule| format!("{} says {}", rule.source, what(rule))).collect();
        let count = u64::try_from(sides.len()).unwrap_or(u64::MAX);
        desk.file(Draft {
            service: first.service.clone(),
            tenant: first.tenant.clone(),
            count,
            of: count,
            ..Draft::new(
                Code::RulesConflict,
                format!(
                    "{}: rules of the same rank disagree, so none can be judged: {}",
                    scope(first),
                    said.join(", ")
                ),
                format!("keep one of {}", sides.iter().map(|rule| rule.source.as_str()).collect::<Vec<_>>().join(", ")),
            )
        });
    }
    tenants(desk);
}

fn what(rule: &Rule) -> String {
    rule.ratio.map_or_else(|| rule.sampler.as_str().to_owned(), words::percent)
}

fn scope(rule: &Rule) -> String {
    match (&rule.service, &rule.tenant) {
        (Some(service), Some(tenant)) => format!("{service}, tenant {tenant}"),
        (Some(service), None) => service.clone(),
        (None, Some(tenant)) => format!("tenant {tenant}"),
        (None, None) => String::from("default"),
    }
}

fn tenants(desk: &mut Desk<'_>) {
    let rules = desk.inputs.rules;
    let mut requests: BTreeMap<TenantId, u64> = BTreeMap::new();
    for ((_, tenant, _), arrivals) in desk.inputs.ledger.requests() {
        let sum = requests.entry(tenant).or_default();
        *sum = sum.saturating_add(arrivals.total());
    }
    let seen: BTreeMap<String, u64> = tenants_seen(desk.inputs)
        .into_iter()
        .map(|tenant| (desk.tenant(tenant), requests.get(&tenant).copied().unwrap_or_default()))
        .collect();

    for missing in rules.overrides().filter(|named| named.state == OverrideState::Missing) {
        let (tenant, source) = (&missing.tenant, &missing.source);
        let traffic = seen.get(tenant).copied();
        let requests = traffic.unwrap_or_default();
        let inherited = "the more general rule holds for it, perhaps by mistake";
        let message = if traffic.is_some() {
            format!(
                "tenant {tenant} ({}) has no sampler_override at {source}: {inherited}",
                words::counted(requests, "request")
            )
        } else {
            format!("tenant {tenant} has no sampler_override at {source}: {inherited}; no request of it was seen")
        };
        desk.file(Draft {
            case: Case::InTraffic(traffic.is_some()),
            tenant: Some(tenant.clone()),
            count: requests,
            of: requests,
            ..Draft::new(
                Code::TenantOverrideMissing,
                message,
                format!("write sampler_override: RATIO at {source}, or null where {tenant} inherits on purpose"),
            )
        });
    }

    if rules.overrides().next().is_none() {
        return;
    }
    for (tenant, requests) in seen.iter().filter(|(tenant, _)| rules.override_of(tenant).is_none()) {
        desk.file(Draft {
            tenant: Some(tenant.clone()),
            count: *requests,
            of: *requests,
            ..Draft::new(
                Code::TenantUndeclared,
                format!("tenant {tenant} ({}) is named by no rule", words::counted(*requests, "request")),
                format!("add {tenant} under tenants: of the tenant rules, with null where it inherits on purpose"),
            )
        });
    }
}
