//! The two ends of a connection come in as addresses and sockets; who holds each goes out: an observed workload with its
//! service, or a peer by name. The answer is kept with the connection until what is known of workloads changes.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use observer_core::connection::Address;
use observer_core::ids::{ServiceId, SocketId, WorkloadId};
use observer_core::message::End;
use observer_core::names::Names;
use observer_core::propagation::Owner;
use rustc_hash::FxHashMap;

use crate::attribute::addresses::Addresses;
use crate::attribute::peers::{Peer, external_name, written};
use crate::attribute::workloads::Workload;
use crate::attribute::{Attribution, EndQuery, Options, Owner as Found, Refused};
use crate::config::{Config, External, Only};

/// An end that is looked for makes the line wait for a survey at most this often; twice as long after each that was in vain,
/// up to the longest.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);
const SETTLE_INTERVAL_MAX: Duration = Duration::from_mins(1);

/// What is known of an end without asking anybody.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndAt {
    /// [`UNSPECIFIED`] where it is not known.
    pub(super) address: Address,
    pub(super) socket: Option<SocketId>,
    /// The cgroup v2 id of its socket; zero: not known.
    pub(super) cgroup: u64,
    pub(super) holder: Holder,
}

/// What tells who holds an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Its socket and its address.
    Socket,
    /// This process, by a session of a TLS library.
    Process(u32),
    /// Somebody at the far end of such a session: even on this host it is another session that shows what happens there.
    Far,
}

/// The address of an end of which none is known.
pub(super) const UNSPECIFIED: Address = Address { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 0 };
/// What somebody is called of whom nothing is known.
const NOBODY: &str = "unknown";
/// The port of https (RFC 9110 section 4.2.2).
const HTTPS: u16 = 443;

/// Who holds an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    /// A workload that is observed.
    Observed(Owner),
    /// A workload of this host that is observed elsewhere: at another session.
    Far(Owner),
    /// Somebody who is not, or not yet known to be.
    Peer(ServiceId),
}

impl Party {
    /// What it is called.
    pub(super) fn service(self) -> ServiceId {
        match self {
            Self::Observed(owner) | Self::Far(owner) => owner.service,
            Self::Peer(service) => service,
        }
    }

    /// The workload, where it is observed at this end.
    pub(super) fn observed(self) -> Option<Owner> {
        match self {
            Self::Observed(owner) => Some(owner),
            Self::Far(_) | Self::Peer(_) => None,
        }
    }
}

/// An answer and what it was based on.
#[derive(Clone, Copy, Debug)]
struct Answer {
    party: Party,
    serves: bool,
    generation: u64,
}

/// What a connection keeps of its two ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    first: Option<Answer>,
    second: Option<Answer>,
}

/// Who holds which end, live or in a capture file.
#[derive(Debug)]
pub(super) struct Parties {
    from: From,
    only: Only,
    services: FxHashMap<WorkloadId, ServiceId>,
    generation: u64,
    settle_after: Option<Instant>,
    settle_interval: Duration,
    /// Messages at an end that was still looked for.
    unresolved: u64,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one")]
enum From {
    /// The processes of this host.
    Host(Attribution),
    /// The addresses of a capture file.
    File { addresses: Addresses, external: Vec<External> },
}

impl Parties {
    /// The workloads of a host. Reads what exists.
    pub(super) fn host(config: &Config, host: Options) -> Self {
        let options = Options { services: config.services.clone(), external: config.external.clone(), ..host };
        let mut attribution = Attribution::new(options);
        attribution.settle();
        warn_of_what_is_closed(attribution.refused());
        Self::new(From::Host(attribution), config)
    }

    /// The addresses of a capture file.
    pub(super) fn file(config: &Config) -> Self {
        Self::new(
            From::File { addresses: Addresses::new(config.services.clone()), external: config.external.clone() },
            config,
        )
    }

    fn new(from: From, config: &Config) -> Self {
        Self {
            from,
            only: config.only.clone(),
            services: FxHashMap::default(),
            generation: 0,
            settle_after: None,
            settle_interval: SETTLE_INTERVAL,
            unresolved: 0,
        }
    }

    /// Takes over a configuration that was read again.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        match &mut self.from {
            From::Host(attribution) => attribution.reconfigure(config.services.clone(), config.external.clone()),
            From::File { addresses, external } => {
                *addresses = Addresses::new(config.services.clone());
                external.clone_from(&config.external);
            }
        }
        self.forget_answers();
    }

    /// The processes of this host; `None` for a capture file.
    pub(super) fn attribution(&mut self) -> Option<&mut Attribution> {
        match &mut self.from {
            From::Host(attribution) => Some(attribution),
            From::File { .. } => None,
        }
    }

    /// Whether a workload still exists or ended a short while ago. Addresses of a capture file stay.
    pub(super) fn knows(&self, workload: WorkloadId) -> bool {
        match &self.from {
            From::Host(attribution) => attribution.workload(workload).is_some(),
            From::File { .. } => true,
        }
    }

    /// The Kubernetes namespace of a workload, where it has one and its container's runtime tells it.
    pub(super) fn namespace(&self, workload: WorkloadId) -> Option<&str> {
        match &self.from {
            From::Host(attribution) => attribution.workload(workload)?.namespace.as_deref(),
            From::File { .. } => None,
        }
    }

    /// Whether the workload that received the first payload of a connection at an address serves it. The kernel tells of
    /// clients, too; a capture file shows who opened the connection.
    pub(super) fn serves(&self, workload: WorkloadId, at: Address) -> bool {
        match &self.from {
            From::Host(attribution) => {
                // A listener may name every address of the host by none.
                let listens = |workload: &Workload| workload.listens.iter().any(|address| address.port == at.port);
                attribution.workload(workload).is_some_and(listens)
            }
            From::File { .. } => true,
        }
    }

    /// The workloads that listen on Unix sockets: nothing here sees what reaches them there.
    pub(super) fn behind_unix_sockets(&self) -> impl Iterator<Item = WorkloadId> {
        let attribution = match &self.from {
            From::Host(attribution) => Some(attribution),
            From::File { .. } => None,
        };
        attribution
            .into_iter()
            .flat_map(Attribution::workloads)
            .filter(|workload| !workload.hidden.is_empty())
            .map(|workload| workload.id)
    }

    /// The processes of a workload that are known; of an address in a capture file none are.
    pub(super) fn processes(&self, workload: WorkloadId) -> impl Iterator<Item = u32> + use<'_> {
        let found = match &self.from {
            From::Host(attribution) => attribution.workload(workload),
            From::File { .. } => None,
        };
        found.into_iter().flat_map(|workload| workload.processes.keys().copied())
    }

    /// The service that a process belongs to.
    pub(super) fn service_of(&mut self, process: u32, names: &mut Names) -> Option<ServiceId> {
        let From::Host(attribution) = &mut self.from else { return None };
        let Found::Workload(workload) = attribution.owner_of_process(process, 0) else { return None };
        attribution.workload(workload).map(|workload| names.service(&workload.service))
    }

    /// Messages that were counted for a peer because their end was still looked for.
    pub(super) fn unresolved(&self) -> u64 {
        self.unresolved
    }

    /// Lets waiting work be done. Returns whether names or owners may have changed.
    pub(super) fn refresh(&mut self) -> bool {
        let From::Host(attribution) = &mut self.from else { return false };
        let changed = attribution.refresh(Instant::now());
        if changed {
            self.forget_answers();
        }
        changed
    }

    fn forget_answers(&mut self) {
        self.services.clear();
        self.generation += 1;
    }

    /// Who holds `end`, which takes requests (`serves`) or sends them; `authority` is what the request calls the serving end,
    /// with its port where it names one (RFC 9110 section 7.2).
    pub(super) fn party(
        &mut self,
        known: &mut Known,
        (end, serves): (End, bool),
        ends: &[EndAt; 2],
        authority: Option<&str>,
        names: &mut Names,
    ) -> Party {
        let kept = match end {
            End::First => &mut known.first,
            End::Second => &mut known.second,
        };
        if let Some(answer) = kept
            && answer.generation == self.generation
            && answer.serves == serves
        {
            return answer.party;
        }
        let [first, second] = ends;
        let (near, far) = if end == End::First { (first, second) } else { (second, first) };
        let host = authority.map(|authority| host_and_port(authority).0);
        let (party, sure) = match (&self.from, near.holder) {
            (From::File { .. }, _) => (self.in_file(near, serves, host, names), true),
            (From::Host(_), Holder::Socket) => self.on_host(near, far, serves, host, names),
            (From::Host(_), Holder::Process(pid)) => self.of_process(pid, near, far, names),
            (From::Host(_), Holder::Far) => self.far(near, far, serves, authority, names),
        };
        // Each request may call a far end otherwise of which nothing else is known.
        let by_request = near.holder == Holder::Far && near.address == UNSPECIFIED && serves;
        if sure && !by_request {
            *kept = Some(Answer { party, serves, generation: self.generation });
        }
        if !sure {
            self.unresolved += 1;
        }
        party
    }

    fn on_host(
        &mut self,
        near: &EndAt,
        far: &EndAt,
        serves: bool,
        host: Option<&str>,
        names: &mut Names,
    ) -> (Party, bool) {
        let From::Host(attribution) = &mut self.from else { return (Party::Peer(Names::OVERFLOW_SERVICE), false) };
        let query = EndQuery { socket: near.socket, cgroup: near.cgroup, local: near.address, remote: far.address };
        let mut found = if near.socket.is_some() || attribution.is_local(near.address) {
            attribution.owner(&query)
        } else {
            Found::Unknown
        };
        if found == Found::Pending && self.settle_after.is_none_or(|after| after <= Instant::now()) {
            attribution.settle();
            found = attribution.owner(&query);
            self.settle_interval = if matches!(found, Found::Workload(_)) {
                SETTLE_INTERVAL
            } else {
                (self.settle_interval * 2).min(SETTLE_INTERVAL_MAX)
            };
            self.settle_after = Some(Instant::now() + self.settle_interval);
        }
        match found {
            Found::Workload(workload) => (self.workload(workload, near, far, names), true),
            Found::Pending => (Party::Peer(names.peer(&written(near.address))), false),
            Found::Unknown => match attribution.peer(None, near.address, serves, host) {
                Peer::Local(workload) if near.socket.is_none() => (self.workload(workload, near, far, names), true),
                Peer::Local(_) => (Party::Peer(names.peer(&written(near.address))), true),
                Peer::Named(name) | Peer::External(name) | Peer::Address(name) => {
                    (Party::Peer(names.peer(&name)), true)
                }
            },
        }
    }

    /// The end of a session that a process holds.
    fn of_process(&mut self, pid: u32, near: &EndAt, far: &EndAt, names: &mut Names) -> (Party, bool) {
        let From::Host(attribution) = &mut self.from else { return (Party::Peer(Names::OVERFLOW_SERVICE), false) };
        match attribution.owner_of_process(pid, near.cgroup) {
            Found::Workload(workload) => (self.workload(workload, near, far, names), true),
            Found::Pending => (Party::Peer(names.peer(NOBODY)), false),
            Found::Unknown => (Party::Peer(names.peer(NOBODY)), true),
        }
    }

    /// The far end of a session whose near end is a process of this host. Its address may be known by what the request calls it.
    fn far(
        &mut self,
        end: &EndAt,
        near: &EndAt,
        serves: bool,
        authority: Option<&str>,
        names: &mut Names,
    ) -> (Party, bool) {
        let From::Host(attribution) = &mut self.from else { return (Party::Peer(Names::OVERFLOW_SERVICE), false) };
        let (host, port) = authority.filter(|_| serves).map(host_and_port).unzip();
        let mut address = end.address;
        if address == UNSPECIFIED {
            let Some(host) = host else { return (Party::Peer(names.peer(NOBODY)), true) };
            match ip_of(host) {
                Some(ip) => address = Address { ip, port: port.flatten().unwrap_or(HTTPS) },
                None => return (Party::Peer(names.peer(&attribution.called(host))), true),
            }
        }
        let found = if !serves && attribution.is_local(address) {
            attribution.owner(&EndQuery { socket: None, cgroup: 0, local: address, remote: near.address })
        } else {
            Found::Unknown
        };
        let peer = match found {
            Found::Workload(workload) => Peer::Local(workload),
            Found::Pending | Found::Unknown => {
                let near = match near.holder {
                    Holder::Process(pid) => attribution.owner_of_process(pid, near.cgroup),
                    Holder::Socket | Holder::Far => Found::Unknown,
                };
                let near = if let Found::Workload(workload) = near { Some(workload) } else { None };
                attribution.peer(near, address, serves, host)
            }
        };
        let service = match peer {
            Peer::Local(workload) => {
                attribution.workload(workload).map_or(Names::OVERFLOW_SERVICE, |found| names.service(&found.service))
            }
            Peer::Named(name) | Peer::External(name) | Peer::Address(name) => names.peer(&name),
        };
        let party = match found {
            Found::Workload(workload) => Party::Far(Owner { workload, service }),
            Found::Pending | Found::Unknown => Party::Peer(service),
        };
        (party, found != Found::Pending)
    }

    fn workload(&mut self, id: WorkloadId, near: &EndAt, far: &EndAt, names: &mut Names) -> Party {
        let From::Host(attribution) = &self.from else { return Party::Peer(Names::OVERFLOW_SERVICE) };
        let Some(workload) = attribution.workload(id) else {
            return Party::Peer(names.peer(&written(near.address)));
        };
        let wanted = wanted(&self.only, workload, [near.address.port, far.address.port]);
        if !wanted || workload.processes.contains_key(&std::process::id()) {
            return Party::Peer(names.peer(&workload.service));
        }
        let service = *self.services.entry(id).or_insert_with(|| names.service(&workload.service));
        Party::Observed(Owner { workload: workload.id, service })
    }

    fn in_file(&mut self, near: &EndAt, serves: bool, host: Option<&str>, names: &mut Names) -> Party {
        let From::File { addresses, external } = &mut self.from else {
            return Party::Peer(Names::OVERFLOW_SERVICE);
        };
        // Whose addresses the public ones are a capture file does not tell.
        if let Some(name) = external_name(external, false, near.address.ip, host.filter(|_| serves)) {
            return Party::Peer(names.peer(&name));
        }
        match addresses.workload(near.address, serves) {
            Some(id) => {
                let name = addresses.name(id).map_or_else(String::new, |(name, _)| name.to_owned());
                Party::Observed(Owner { workload: id, service: names.service(&name) })
            }
            None => Party::Peer(names.peer(&written(near.address))),
        }
    }

    /// Whether what the end sends may be another service's: an address that serves several ports.
    pub(super) fn is_ambiguous(&self, end: &EndAt) -> bool {
        match &self.from {
            From::Host(_) => false,
            From::File { addresses, .. } => addresses.is_ambiguous(end.address.ip),
        }
    }
}

/// The two parts of an authority (RFC 3986 section 3.2): `shop:8443`, `[::1]:8443`, `shop`.
fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

/// The address that a host stands for without asking anybody.
fn ip_of(host: &str) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn warn_of_what_is_closed(refused: Refused) {
    let Refused { namespaces, processes, past_bounds } = refused;
    if namespaces > 0 {
        tracing::warn!(
            "{namespaces} network namespaces cannot be entered: sockets that exist there may have no owner; \
             run as root or with CAP_SYS_ADMIN"
        );
    }
    if processes > 0 {
        tracing::warn!(
            "open files of {processes} processes cannot be read: sockets that exist there may have no owner; \
             run as root or with CAP_SYS_PTRACE"
        );
    }
    if past_bounds > 0 {
        tracing::warn!("{past_bounds} namespaces, files or cgroups of this host were left out: there are too many");
    }
}

/// Whether the command line's selection takes the workload in.
fn wanted(only: &Only, workload: &Workload, ports: [u16; 2]) -> bool {
    let under = |path: &str, root: &str| {
        path.strip_prefix(root.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    only.pid.is_none_or(|pid| workload.processes.contains_key(&pid))
        && only.port.is_none_or(|port| ports.contains(&port))
        && only.service.as_deref().is_none_or(|service| workload.service == service)
        && only
            .cgroup
            .as_deref()
            .is_none_or(|root| workload.processes.values().any(|process| under(&process.cgroup_path, root)))
}
