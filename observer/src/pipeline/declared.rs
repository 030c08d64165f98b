//! Declared files and the environments of observed processes come in; the rules that ratios are compared with go out.

use std::collections::BTreeMap;

use observer_core::declared::{Declarations, Language, ProcessEnvironment, Resolution, Rules, process_environment};
use observer_core::ids::WorkloadId;
use observer_core::names::Names;
use observer_core::sampling::traces::Traces;

use crate::attribute::Attribution;
use crate::attribute::program;
use crate::config::Config;
use crate::output::snapshot::DeclaredRatio;

/// Processes whose environment is kept, those that ended included; of ended ones past it the rules are forgotten.
const PROCESSES_MAX: usize = 4096;

/// What is declared, from everywhere.
#[derive(Debug)]
pub(super) struct Declared {
    environment: Option<String>,
    files: Vec<Declarations>,
    from_processes: bool,
    processes: BTreeMap<(WorkloadId, u32), Declarations>,
    generation: Option<u64>,
    services: usize,
    rules: Rules,
}

impl Declared {
    /// Reads the files that the configuration names.
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for file in &config.declared.files {
            let text = std::fs::read_to_string(&file.path).map_err(|error| {
                anyhow::anyhow!("declared.files: {}: {error}; give a file that can be read", file.path.display())
            })?;
            files.push(observer_core::declared::tenant_rules(&file.name, &text));
        }
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
        Ok(declared)
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
        let mut processes = BTreeMap::new();
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
        // A process that ended declared what it did while it ran.
        for (key, declarations) in &self.processes {
            if processes.len() >= PROCESSES_MAX {
                break;
            }
            processes.entry(*key).or_insert_with(|| declarations.clone());
        }
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
        for (service, tenant, _, _) in traces.series().iter() {
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
