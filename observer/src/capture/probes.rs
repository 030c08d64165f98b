//! Programs for TLS libraries come in loaded, their links to files go out.

use std::os::fd::AsFd as _;
use std::path::Path;

use aya::Ebpf;
use aya::programs::ProbeKind;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeLink, UProbeScope};
use aya::programs::{ProgramError, UProbe};
use observer_ebpf::program::{Gives, Hook, PROGRAMS};
use rustc_hash::FxHashMap;

use super::attach::reason;
use super::definitions::{Definition, Definitions};
use super::kernel_memory::probe_handle;
use super::uretprobe;
use crate::tls::{Point, Prober, Scope};

/// Handles on the programs, which may be attached on another thread than that of the capture.
pub(super) struct Probes {
    programs: FxHashMap<&'static str, UProbe>,
    /// Why no return is probed, if none is.
    no_returns: Option<&'static str>,
    /// Made when the first is asked for.
    definitions: Option<Definitions>,
}

/// A program at a place in a file.
pub(super) enum ProbeLink {
    /// For all processes, as long as it is held.
    All { _link: UProbeLink },
    /// For those that are added.
    Added(Definition),
}

impl Probes {
    /// The programs, which must be loaded.
    pub(super) fn of(ebpf: &Ebpf) -> Result<Self, String> {
        let programs = PROGRAMS.iter().filter(|program| program.gives == Gives::Tls && program.hook == Hook::Probe);
        let handle = |name: &'static str| {
            let program = ebpf.program(name).ok_or_else(|| format!("{name} is not in the object"))?;
            let probe = <&UProbe>::try_from(program).and_then(|probe| probe_handle(probe, name));
            probe.map(|probe| (name, probe)).map_err(|error| reason(&error))
        };
        let programs = programs.map(|program| handle(program.name)).collect::<Result<_, _>>()?;
        Ok(Self { programs, no_returns: uretprobe::harm(), definitions: None })
    }
}

impl Prober for Probes {
    type Link = ProbeLink;

    fn probe(&mut self, program: &'static str, file: &Path, offset: u64, scope: Scope) -> Result<ProbeLink, String> {
        if let Some(why) = self.no_returns.filter(|_| (Point { program, offset }).at_return()) {
            return Err(why.to_owned());
        }
        let probe = self.programs.get_mut(program).ok_or_else(|| format!("{program} is no program"))?;
        match scope {
            Scope::All => {
                let location = UProbeAttachLocation::AbsoluteOffset(offset);
                let attached: Result<UProbeLink, ProgramError> =
                    probe.attach(location, file, UProbeScope::AllProcesses).and_then(|link| probe.take_link(link));
                attached.map(|link| ProbeLink::All { _link: link }).map_err(|error| reason(&error))
            }
            Scope::Added => {
                let definitions = match &mut self.definitions {
                    Some(definitions) => definitions,
                    none => none.insert(Definitions::open().map_err(|error| format!("tracefs: {error}"))?),
                };
                let at_return = matches!(probe.kind(), ProbeKind::Return);
                let loaded = probe.fd().map_err(|error| reason(&error))?;
                let defined = definitions.define(loaded.as_fd(), file, offset, at_return);
                defined.map(ProbeLink::Added).map_err(|error| error.to_string())
            }
        }
    }

    fn add(&mut self, link: &mut ProbeLink, pid: u32) -> Result<(), String> {
        match link {
            ProbeLink::All { .. } => Ok(()),
            ProbeLink::Added(definition) => definition.add(pid).map_err(|error| error.to_string()),
        }
    }

    fn remove(&mut self, link: &mut ProbeLink, pid: u32) {
        if let ProbeLink::Added(definition) = link {
            definition.remove(pid);
        }
    }
}
