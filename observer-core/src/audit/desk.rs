//! The desk at which findings are written: ids come in, names, examples and severities go out.

use std::collections::BTreeSet;

use super::Inputs;
use super::ledger::Sight;
use super::path::Path;
use super::report::{Code, Evidence, Example, Finding};
use super::severity::{Case, Role, severity};
use super::tally::Examples;
use crate::ids::{ServiceId, TenantId};
use crate::names::Names;

/// How services outside are named.
const EXTERNAL_PREFIX: &str = "external:";

/// What the findings of one report share.
pub(super) struct Desk<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    findings: Vec<Finding>,
}

/// A finding before its severity is known.
pub(super) struct Draft {
    pub(super) code: Code,
    pub(super) case: Case,
    pub(super) service: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) peer: Option<String>,
    pub(super) message: String,
    pub(super) remedy: String,
    pub(super) count: u64,
    pub(super) of: u64,
    pub(super) evidence: Option<Evidence>,
    pub(super) examples: Vec<Example>,
    pub(super) path: Option<Path>,
}

impl Draft {
    pub(super) fn new(code: Code, message: String, remedy: String) -> Self {
        Self {
            code,
            case: Case::Any,
            service: None,
            tenant: None,
            peer: None,
            message,
            remedy,
            count: 1,
            of: 1,
            evidence: None,
            examples: Vec::new(),
            path: None,
        }
    }
}

impl<'a> Desk<'a> {
    pub(super) fn new(inputs: &'a Inputs<'a>) -> Self {
        Self { inputs, findings: Vec::new() }
    }

    pub(super) fn service(&self, id: ServiceId) -> String {
        self.inputs.names.service_name(id).to_owned()
    }

    pub(super) fn tenant(&self, id: TenantId) -> String {
        self.inputs.names.tenant_name(id).to_owned()
    }

    pub(super) fn role(&self, id: ServiceId) -> Role {
        if self.inputs.names.service_name(id).starts_with(EXTERNAL_PREFIX) {
            Role::External
        } else if self.inputs.ledger.is_participant(id) {
            Role::Participant
        } else {
            Role::Bystander
        }
    }

    pub(super) fn examples(&self, examples: &Examples) -> Vec<Example> {
        examples.iter().map(|sight| self.example(sight)).collect()
    }

    fn example(&self, sight: &Sight) -> Example {
        Example {
            trace_id: sight.trace.map(|(trace_id, _)| trace_id.to_string()),
            parent_id: sight.trace.map(|(_, parent_id)| parent_id.to_string()),
            at: sight.at.to_rfc3339(),
            peer: Some(self.service(sight.peer)),
        }
    }

    /// Files a finding, unless it is none where it happened.
    pub(super) fn file(&mut self, draft: Draft) {
        let Some(severity) = severity(draft.code, draft.case) else { return };
        self.findings.push(Finding {
            code: draft.code,
            severity,
            service: draft.service,
            tenant: draft.tenant,
            peer: draft.peer,
            message: draft.message,
            remedy: draft.remedy,
            count: draft.count,
            of: draft.of,
            evidence: draft.evidence,
            examples: draft.examples,
            path: draft.path,
            runs: Vec::new(),
        });
    }

    /// The findings, the worst first.
    pub(super) fn finish(self) -> Vec<Finding> {
        let mut findings = self.findings;
        findings.sort_by(|a, b| {
            let key = |finding: &Finding| {
                let Finding { service, tenant, peer, message, .. } = finding;
                (finding.code, service.clone(), tenant.clone(), peer.clone(), message.clone())
            };
            b.severity.cmp(&a.severity).then_with(|| key(a).cmp(&key(b)))
        });
        findings
    }
}

/// The names of the tenants that were seen, without those that are none.
pub(super) fn tenants_seen(inputs: &Inputs<'_>) -> BTreeSet<TenantId> {
    let requests = inputs.ledger.requests().map(|((_, tenant, _), _)| tenant);
    let series = inputs.traces.series().iter().map(|(_, tenant, ..)| tenant);
    requests.chain(series).filter(|tenant| ![Names::OVERFLOW_TENANT, Names::UNKNOWN_TENANT].contains(tenant)).collect()
}

/// The one of `values`, where there is only one.
pub(super) fn only<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let mut values = values.into_iter();
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}
