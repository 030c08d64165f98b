//! Declared files and the environments of observed processes come in; the rules that ratios are compared with go out.

use std::collections::BTreeMap;

use observer_core::declared::{
    Declarations, Language, ProcessEnvironment, Resolution, Rules, process_environment, tenant_rules,
};
use observer_core::ids::WorkloadId;
use observer_core::names::Names;
use observer_core::sampling::traces::Traces;

use crate::attribute::Attribution;
use crate::attribute::program;
use crate::config::Config;
use crate::output::snapshot::DeclaredRatio;

/// Processes whose declarations are kept. Those that live are bounded by attribution; of those that ended the newest are kept
/// beside them.
const PROCESSES_MAX: usize = 4096;

/// What each process declares.
type ByProcess = BTreeMap<(WorkloadId, u32), Declarations>;

/// What is declared, from everywhere.
#[derive(Debug)]
pub(super) struct Declared {
    environment: Option<String>,
    files: Vec<Declarations>,
    from_processes: bool,
    processes: ByProcess,
    generation: Option<u64>,
    services: usize,
    rules: Rules,
}

impl Declared {
    /// What the files that the configuration names declare.
    pub(super) fn new(config: &Config) -> Self {
        let files = config.declared.files.iter().map(|file| tenant_rules(&file.name, &file.text)).collect();
        let mut declared = Self {
            environment: config.environment.clone(),
            files,
            from_processes: config.declared.process_environment,
            processes: BTreeMap::new(),
            generation: None,
            services: 0,
            rules: Rules::default(),
        };
        declared.put_together();
        declared
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Takes in the environments of processes of services that were observed, where any changed.
    pub(super) fn refresh(&mut self, attribution: &Attribution, names: &Names) {
        let generation = attribution.generation();
        let services = names.services();
        if !self.from_processes || (self.generation == Some(generation) && self.services == services) {
            return;
        }
        self.generation = Some(generation);
        self.services = services;
        let mut processes = ByProcess::new();
        for workload in attribution.workloads().filter(|workload| names.is_service(&workload.service)) {
            for process in workload.processes.values() {
                let setting = |key: &str| process.environment.otel.get(key).map(|value| &**value);
                let declarations = process_environment(&ProcessEnvironment {
                    pid: process.pid,
                    service: &workload.service,
                    language: language(process.language),
                    sampler: setting("OTEL_TRACES_SAMPLER"),
                    sampler_arg: setting("OTEL_TRACES_SAMPLER_ARG"),
                });
                processes.insert((workload.id, process.pid), declarations);
            }
        }
        keep_ended(&mut processes, &self.processes);
        if processes != self.processes {
            self.processes = processes;
            self.put_together();
        }
    }

    fn put_together(&mut self) {
        let sources = self.files.iter().chain(self.processes.values()).cloned();
        self.rules = Rules::new(self.environment.as_deref(), sources);
    }

    /// The ratio that holds for each service and tenant with traces.
    pub(super) fn ratios(&self, names: &Names, traces: &Traces) -> Vec<DeclaredRatio> {
        let mut ratios = BTreeMap::new();
        for (service, tenant, ..) in traces.series().iter() {
            let (service, tenant) = (names.service_name(service), names.tenant_name(tenant));
            if let Resolution::Rule(place) = self.rules.resolve(service, tenant)
                && let Some(rule) = self.rules.rule(place)
                && let Some(ratio) = rule.ratio
            {
                ratios.insert((service, tenant), (rule.kind, ratio));
            }
        }
        ratios
            .into_iter()
            .map(|((service, tenant), (kind, ratio))| DeclaredRatio {
                service: service.to_owned(),
                tenant: tenant.to_owned(),
                kind,
                ratio,
            })
            .collect()
    }
}

/// Adds processes that were known `before` and have ended: they declared what they did while they ran.
fn keep_ended(living: &mut ByProcess, before: &ByProcess) {
    // Workloads are numbered as they appear: the youngest are the last.
    for (key, declarations) in before.iter().rev() {
        if living.len() >= PROCESSES_MAX {
            break;
        }
        living.entry(*key).or_insert_with(|| declarations.clone());
    }
}

/// The language of the SDK that a program can run.
fn language(language: program::Language) -> Language {
    match language {
        program::Language::Python => Language::Python,
        program::Language::JavaScript => Language::JavaScript,
        program::Language::Java => Language::Java,
        program::Language::Ruby => Language::Ruby,
        program::Language::Php => Language::Php,
        program::Language::Dotnet => Language::DotNet,
        program::Language::Perl | program::Language::Shell | program::Language::Native => Language::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_of_ended_processes_are_bounded_and_the_newest_stay() {
        let process = |number: u32| ((WorkloadId(number), 1000 + number), Declarations::default());
        let total = u32::try_from(PROCESSES_MAX).unwrap() + 500;
        let mut kept = ByProcess::from([process(total)]);
        keep_ended(&mut kept, &(0..total).map(process).collect());
        assert_eq!(kept.len(), PROCESSES_MAX);
        assert_eq!(kept, (501..=total).map(process).collect());
    }

    #[test]
    fn what_living_processes_declare_is_kept_however_many_there_are() {
        let process = |number: u32| ((WorkloadId(number), 1000 + number), Declarations::default());
        let total = u32::try_from(PROCESSES_MAX).unwrap() + 500;
        let mut living: ByProcess = (0..total).map(process).collect();
        keep_ended(&mut living, &ByProcess::from([process(total)]));
        assert_eq!(living, (0..total).map(process).collect());
    }
}
