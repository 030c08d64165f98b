//! The line: events of a source come in, the report goes out. Every stage is called here, in order; stages never call each
//! other, and nothing on the way of a packet waits or reads a clock.
//!
//! One packet's way, top to bottom: connection table, decoder, then for each message the two ends, context, propagation,
//! sampling, ledger.

mod causes;
mod declared;
mod link;
mod parties;
mod prefetch;
mod sessions;
mod stages;
mod stream_use;
#[cfg(test)]
mod tests;

use observer_core::audit::report::{Capture, ObserverInfo, Report};
use observer_core::audit::{Auditor, Inputs, Loss, Settings};
use observer_core::connection::{Connection, Connections, Flow, Opaque, Packet, Tap};
use observer_core::decode::{Conversation, Fidelity, Piece, RecordBounds, Shared};
use observer_core::ids::SocketId;
use observer_core::limits::Limits;
use observer_core::message::End;
use observer_core::propagation::{self, Hidden};
use observer_core::time::Timestamp;
use observer_ebpf::flow::LeftOut;
use rustc_hash::FxHashSet;
use std::time::Duration;

use crate::attribute::Options;
use crate::capture::{Event, GoCall, Reading, SourceCounters, Work};
use crate::config::Config;
use crate::output::snapshot::{Extras, MalformedCount, TableUse};
use crate::tls::TlsProcess;
use causes::Causes;
use declared::Declared;
use link::Link;
use parties::{EndAt, Holder, Known, Parties};
use sessions::{SessionAt, Sessions};
use stages::Stages;
use stream_use::{StreamUse, looks_like_redis};

/// What the events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The kernel.
    Live,
    /// A capture file.
    File,
}

/// What has been found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Messages decoded.
    pub messages: u64,
    /// Services seen.
    pub services: u64,
    /// Tenants seen.
    pub tenants: u64,
    /// Breaks of propagation seen.
    pub breaks: u64,
}

/// A connection without a packet for so long is forgotten; its next packet begins it anew, joined in the middle.
const IDLE: Duration = Duration::from_mins(10);
/// The share of the memory limit for connections, one in this many, and what one takes with its decoder.
const CONNECTIONS_SHARE: usize = 4;
const CONNECTION_BYTES: usize = 1536;
/// The share of what they hold in buffers: tables of HTTP/2 (some 10 KiB a connection, at worst 900), heads that are not whole.
const BUFFERS_SHARE: usize = 4;
/// How often silent connections are asked for what waits too long, and workloads that ended are forgotten.
const OVERDUE_INTERVAL: Duration = Duration::from_secs(1);

/// Open sockets that are known to have begun while they were observed; others are taken for older than the observer.
const BEGUN_MAX: usize = 65_536;

/// How often a loss that goes on is logged.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// What is kept of a connection.
#[derive(Debug)]
struct Line {
    conversation: Conversation,
    known: Known,
    link: Link,
    stream: StreamUse,
    cgroups: [u64; 2],
    /// Of a session of a TLS library: what is known of its near end, and which that is.
    session: Option<(SessionAt, End)>,
    /// What the decoder held in buffers when it was last looked at.
    buffered_bytes: usize,
}

/// Every stage, in order.
#[derive(Debug)]
pub struct Pipeline {
    mode: Mode,
    connections: Connections<Line>,
    /// Of all connections.
    buffered_bytes: usize,
    buffered_bytes_max: usize,
    parties: Parties,
    stages: Stages,
    declared: Declared,
    causes: Causes,
    /// Nothing more comes: the next report is the last.
    is_concluded: bool,
    shared: Shared,
    auditor: Auditor,
    observer: ObserverInfo,
    environment: Option<String>,
    settings: Settings,
    window: Option<(Timestamp, Timestamp)>,
    lost: u64,
    warned_at: Timestamp,
    overdue_at: Timestamp,
    left_out: Vec<(u64, LeftOut)>,
    /// The processes whose reading threads are to be told, and whether the source knows.
    readers: (Vec<u32>, bool),
    /// The open sockets whose connections were seen to begin.
    begun: FxHashSet<SocketId>,
    sessions: Sessions,
}

impl Line {
    fn new(mode: Mode, session: Option<(SessionAt, End)>) -> Self {
        let fidelity = if mode == Mode::File { Fidelity::Whole } else { Fidelity::Heads };
        Self {
            conversation: Conversation::new(fidelity),
            known: Known::default(),
            link: Link::default(),
            stream: StreamUse::default(),
            cgroups: [0; 2],
            session,
            buffered_bytes: 0,
        }
    }
}

impl Pipeline {
    /// A line for one run. Live, the processes and sockets that exist are read before it returns, so the source is to be
    /// open by then: what begins in between is told by it.
    pub fn new(config: &Config, mode: Mode) -> Self {
        let parties = match mode {
            Mode::Live => Parties::host(config, Options::of_this_host()),
            Mode::File => Parties::file(config),
        };
        let mut line = Self::among(parties, config, mode);
        if mode == Mode::Live
            && let Ok(processors) = aya::util::online_cpus()
        {
            line.stages.on_processors(u32::try_from(processors.len()).unwrap_or(u32::MAX));
        }
        line
    }

    fn among(parties: Parties, config: &Config, mode: Mode) -> Self {
        Self {
            mode,
            connections: Connections::new(connections_max(&config.limits)),
            buffered_bytes: 0,
            buffered_bytes_max: config.limits.memory_bytes / BUFFERS_SHARE,
            parties,
            stages: Stages::new(config),
            declared: Declared::new(config),
            causes: Causes::default(),
            is_concluded: false,
            shared: Shared::new(bounds(config)),
            auditor: Auditor::default(),
            observer: observer_info(),
            environment: config.environment.clone(),
            settings: settings(config),
            window: None,
            lost: 0,
            warned_at: Timestamp::default(),
            overdue_at: Timestamp::default(),
            left_out: Vec::new(),
            readers: (Vec::new(), true),
            begun: FxHashSet::default(),
            sessions: Sessions::default(),
        }
    }

    /// What passes through TLS libraries is told, or not: then connections of TLS wait for nothing.
    pub fn tls_is_read(&mut self, is_read: bool) {
        self.stages.tls_is_read(is_read);
    }

    /// Takes over a configuration that was read again. What was counted stays.
    pub fn reconfigure(&mut self, config: &Config) {
        self.declared = Declared::new(config);
        self.environment.clone_from(&config.environment);
        self.settings = settings(config);
        self.shared.bounds = bounds(config);
        self.stages.reconfigure(config);
        self.parties.reconfigure(config);
    }

    /// Takes the next event.
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Packet { packet, cgroup } => self.packet(packet, *cgroup, None),
            Event::Opaque { at, flow, tap, cgroup, kind } => self.opaque(*at, flow, *tap, *cgroup, *kind),
            Event::Unasked { at, flow, tap, cgroup } => self.unasked(*at, flow, *tap, *cgroup),
            Event::SessionBegins { at, session, socket, flow, .. } => {
                self.saw(*at);
                self.sessions.begins(*session, *socket, *flow);
            }
            Event::Plain(plain) => {
                let session = self.sessions.of(plain.session);
                self.packet(&sessions::packet(plain), plain.cgroup, Some(session));
            }
            Event::SessionEnds { at, session, sent, received } => {
                let socket = sessions::socket(*session);
                if self.connections.holds(socket) {
                    let session_at = self.sessions.of(*session);
                    for end in sessions::ends(*at, *session, *sent, *received) {
                        self.packet(&end, 0, Some(session_at));
                    }
                    self.connections.released(socket, *at);
                }
                self.stages.session_ended(socket);
                self.sessions.ends(*session);
            }
            Event::TlsProcess(process) => self.tls_process(process),
            Event::Reads(reading) => {
                let Reading { at, socket, process, thread, up_to, is_awaited } = *reading;
                let place = self.connections.of_socket(socket).map(|(connection, end)| (connection.id, end));
                self.stages.reads(&propagation::Reading { at, process, thread, socket, place, up_to, is_awaited });
            }
            Event::GoCalls(call) => {
                let GoCall { at, socket, work, .. } = *call;
                let work = work.map(|Work { served, since, births, calls }| propagation::Work {
                    served,
                    since,
                    births,
                    calls,
                });
                self.stages.goroutine_calls(propagation::GoCall { at, socket, work });
            }
            Event::Socket(event) => {
                if let Some(attribution) = self.parties.attribution() {
                    attribution.event(event);
                }
                match event {
                    crate::capture::SocketEvent::Established { socket, flow, beginnings, .. } => {
                        self.connections.established(*socket, flow, *beginnings);
                        if self.begun.len() < BEGUN_MAX {
                            self.begun.insert(*socket);
                        }
                    }
                    crate::capture::SocketEvent::Released { socket } => {
                        let at = self.window.map_or(Timestamp::default(), |(_, end)| end);
                        if let Some((connection, end)) = self.connections.of_socket(*socket)
                            && connection.state.link.client == Some(end.other())
                        {
                            self.stages.connection_gone(connection.id);
                        }
                        self.connections.released(*socket, at);
                        self.stages.released(*socket);
                        self.begun.remove(socket);
                    }
                    crate::capture::SocketEvent::Connects { .. } | crate::capture::SocketEvent::Binds { .. } => {}
                }
            }
        }
    }

    fn packet(&mut self, packet: &Packet<'_>, cgroup: u64, session: Option<SessionAt>) {
        self.saw(packet.at);
        let Self { connections, parties, stages, shared, left_out, mode, buffered_bytes, begun, .. } = self;
        let sent = !matches!(packet.tap, Tap::Ingress { .. });
        let local = if sent { End::First } else { End::Second };
        let begin = || Line::new(*mode, session.map(|session| (session, local)));
        let gone = |gone: Connection<Line>| *buffered_bytes = buffered_bytes.saturating_sub(gone.state.buffered_bytes);
        let Some(sight) = connections.packet(packet, begin, gone) else { return };
        let is_repeat = sight.paired && matches!(packet.tap, Tap::Ingress { looped: true, .. });
        let (from, id) = (sight.from, sight.connection.id);
        let near = if sent { from } else { from.other() };
        if cgroup != 0 {
            sight.connection.state.cgroups[place(near)] = cgroup;
        }
        if let (Some(session), Some((known, _))) = (session, &mut sight.connection.state.session)
            && known.flow.is_none()
        {
            // Two threads may begin one together: what one of them sends is told before its beginning.
            *known = session;
        }
        let ends = ends(sight.connection);
        let Packet { at, seq, ack, wire_len, bytes, link, .. } = *packet;
        let piece = Piece { at, from, seq, ack, wire_len, bytes, link };
        let Line { conversation, known, link: between, buffered_bytes: before, stream, .. } =
            &mut sight.connection.state;
        between.packet_seq = session.is_none().then_some(packet.seq);
        let interest = stages.interest();
        let mut tell = |message: observer_core::message::Message<'_>| {
            stages.message(&message, id, (between, known), &ends, parties);
        };
        conversation.piece(&piece, &interest, shared, &mut tell);
        if packet.closes {
            conversation.closed(from, packet.at, &interest, shared, &mut tell);
        }
        between.client = between.client.or_else(|| conversation.client_of_broker());
        if let Some(protocol) = conversation.protocol().filter(|protocol| protocol.is_of_broker())
            && let Some(broker) = between.begins_to_serve_records()
        {
            stages.serves_records(protocol, broker, known, &ends, parties);
        }
        if conversation.fetches() {
            between.fetches();
        }
        if between.begins_to_fetch() && *mode == Mode::Live && is_older(begun, &ends) && !conversation.is_whole() {
            stages.joined_broker_late(at, known, &ends, parties);
        }
        // An answer that names a queue with the name of a command.
        let is_unasked = conversation.protocol().is_none() && looks_like_redis(bytes);
        if is_unasked && *mode == Mode::Live && is_older(begun, &ends) {
            stages.unasked(at, from.other(), &ends, parties);
        }
        if let (Some(session), Tap::Egress { socket, .. } | Tap::Ingress { socket, .. }) = (session, packet.tap)
            && between.client == Some(from)
            && !stages.is_placed(socket)
        {
            let serves = from != near;
            if let Some(owner) = parties.party(known, (near, serves), &ends, None, &mut stages.names).observed() {
                stages.session_asks((socket, session), (owner, serves));
            }
        }
        if packet.token != 0 {
            // The sender's sight shows all of it.
            let what = if is_repeat { Some(LeftOut::All) } else { stream.leaves_out(conversation, packet, from) };
            left_out.extend(what.map(|what| (packet.token, what)));
        }
        let now = conversation.buffered_bytes();
        *buffered_bytes = buffered_bytes.saturating_sub(std::mem::replace(before, now)).saturating_add(now);
        while self.buffered_bytes > self.buffered_bytes_max
            && let Some(gone) = self.connections.make_room()
        {
            self.buffered_bytes = self.buffered_bytes.saturating_sub(gone.state.buffered_bytes);
        }
    }

    fn tls_process(&mut self, process: &TlsProcess) {
        let TlsProcess { pid, command, observed, unfit, gone } = process;
        if *gone {
            self.sessions.process_ends(*pid);
        }
        let unread = unfit.iter().map(|(library, why)| format!("{command} (pid {pid}): {library}: {why}").into());
        let has_some = !(*gone || observed.is_empty() && unfit.is_empty());
        self.stages.reads_tls(*pid, has_some.then(|| unread.collect()));
    }

    fn opaque(&mut self, at: Timestamp, flow: &Flow, tap: Tap, cgroup: u64, kind: Opaque) {
        self.saw(at);
        let (ends, local) = ends_at(flow, tap, cgroup);
        self.stages.opaque(at, kind, &ends, local, &mut self.parties);
    }

    fn unasked(&mut self, at: Timestamp, flow: &Flow, tap: Tap, cgroup: u64) {
        self.saw(at);
        let (ends, _) = ends_at(flow, tap, cgroup);
        if is_older(&self.begun, &ends) {
            self.stages.unasked(at, End::Second, &ends, &mut self.parties);
        }
    }

    fn saw(&mut self, at: Timestamp) {
        let (start, end) = self.window.get_or_insert((at, at));
        *start = (*start).min(at);
        *end = (*end).max(at);
    }

    /// What is to be left out of which flow (`Source::leave_out`), since the last call.
    pub fn left_out(&mut self) -> std::vec::Drain<'_, (u64, LeftOut)> {
        self.left_out.drain(..)
    }

    /// The processes of which it is to be told which threads read (`Source::tell_readers`), where these are others than at the last call.
    pub fn new_readers(&mut self) -> Option<&[u32]> {
        let (readers, is_known) = &mut self.readers;
        (!std::mem::replace(is_known, true)).then_some(readers)
    }

    /// Lets time pass: some times a second.
    pub fn tick(&mut self, now: Timestamp, counters: &[SourceCounters]) {
        if self.mode == Mode::Live {
            self.saw(now);
        }
        let lost = counters.iter().flat_map(|counter| &counter.lost).map(|(_, lost)| lost).sum();
        if lost > self.lost {
            self.stages.hide_all(Hidden::Loss, now);
            if self.mode == Mode::Live && now.since(self.warned_at) >= WARNING_INTERVAL {
                self.warned_at = now;
                warn_of_loss(counters);
            }
        }
        self.lost = lost;
        self.parties.refresh();
        let buffered_bytes = &mut self.buffered_bytes;
        self.connections.expire(now, IDLE, |gone| {
            *buffered_bytes = buffered_bytes.saturating_sub(gone.state.buffered_bytes);
        });
        self.stages.tick(now);
        let mut readers: Vec<u32> =
            self.stages.watched().flat_map(|workload| self.parties.processes(workload)).collect();
        readers.sort_unstable();
        readers.dedup();
        if readers != self.readers.0 {
            self.readers = (readers, false);
        }
        if now.since(self.overdue_at) >= OVERDUE_INTERVAL {
            self.overdue_at = now;
            self.overdue(now);
            for workload in self.parties.behind_unix_sockets() {
                self.stages.hide(workload, Hidden::UnixSocket, now);
            }
            self.stages.forget(|workload| self.parties.knows(workload));
            // A process is looked at while it runs.
            if let Some(attribution) = self.parties.attribution() {
                let culprits = self.stages.culprits();
                self.causes.look(attribution, |service| culprits.contains(service));
            }
        }
        if let Some(attribution) = self.parties.attribution() {
            self.declared.refresh(attribution, &self.stages.names);
        }
    }

    /// Tells what has waited too long for bytes that never came.
    fn overdue(&mut self, now: Timestamp) {
        let Self { connections, parties, stages, shared, .. } = self;
        let interest = stages.interest();
        for connection in connections.iter_mut() {
            if connection.state.conversation.buffered_bytes() == 0 {
                continue;
            }
            let (ends, id) = (ends(connection), connection.id);
            let Line { conversation, known, link, .. } = &mut connection.state;
            conversation.overdue(now, &interest, shared, &mut |message| {
                stages.message(&message, id, (link, known), &ends, parties);
            });
        }
    }

    /// What has been found so far.
    pub fn progress(&self) -> Progress {
        self.stages.progress()
    }

    /// The observation ends: what is waited for will not come. To be called before the last report.
    pub fn conclude(&mut self, now: Timestamp) {
        self.stages.conclude(now);
        self.is_concluded = true;
    }

    /// The report as of `now`. Live, declared rules of processes that began since the last tick are read first.
    pub fn report(&mut self, now: Timestamp, counters: &[SourceCounters]) -> Report {
        if self.mode == Mode::Live {
            self.tick(now, counters);
        }
        self.stages.correct();
        self.stages.note_unread(&mut self.parties);
        let losses: Vec<Loss> = counters
            .iter()
            .flat_map(|counter| {
                counter.lost.iter().filter(|(_, count)| *count > 0).map(|(reason, count)| Loss {
                    source: counter.source.to_owned(),
                    reason: (*reason).to_owned(),
                    count: *count,
                })
            })
            .collect();
        let capture = Capture {
            sources: counters.iter().map(|counter| counter.source.to_owned()).collect(),
            messages: self.stages.messages,
            events: counters.iter().map(|counter| counter.events).sum(),
            lost: losses.iter().map(|loss| loss.count).sum(),
            undecodable: self.shared.anomalies.undecodable(),
        };
        let mut report = self.auditor.report(&Inputs {
            observer: &self.observer,
            environment: self.environment.as_deref(),
            window: self.window.unwrap_or((now, now)),
            capture: &capture,
            losses: &losses,
            names: &self.stages.names,
            ledger: &self.stages.ledger,
            traces: &self.stages.traces,
            routes: self.stages.routes(),
            rules: self.declared.rules(),
            settings: self.settings,
        });
        if let Some(attribution) = self.parties.attribution() {
            self.causes.explain(&mut report, attribution, self.is_concluded);
        }
        report
    }

    /// What the metrics show and the report does not.
    pub fn extras(&mut self, counters: &[SourceCounters]) -> Extras {
        let stages = &self.stages;
        let name = |service| stages.names.service_name(service).to_owned();
        let malformed = (stages.ledger.malformed().into_iter())
            .map(|((service, reason), count)| MalformedCount { service: name(service), reason, count })
            .collect();
        let (errors, slow) = (stages.errors(), stages.slow());
        let declared = self.declared.ratios(&stages.names, &stages.traces);
        let mut tables = stages.tables();
        let connections = self.connections.counters();
        let count = |tracked: usize| u64::try_from(tracked).unwrap_or(u64::MAX);
        tables.push(TableUse {
            table: "connections",
            tracked: count(connections.tracked),
            evicted: connections.evicted,
        });
        let established = self.connections.established_counters();
        tables.push(TableUse {
            table: "established_sockets",
            tracked: count(established.tracked),
            evicted: established.evicted,
        });
        let (sessions, evicted) = self.sessions.counters();
        tables.push(TableUse { table: "tls_sessions", tracked: count(sessions), evicted });
        let (processes, refused) = self.causes.counters();
        tables.push(TableUse { table: "culprits", tracked: count(processes), evicted: refused });
        tables.push(TableUse { table: "unresolved_ends", tracked: 0, evicted: self.parties.unresolved() });
        if let Some(attribution) = self.parties.attribution() {
            tables.extend(attribution.tables().into_iter().map(|table| TableUse {
                table: if table.table == "connections" { "addresses" } else { table.table },
                tracked: count(table.tracked),
                evicted: table.evicted,
            }));
        }
        Extras { sources: counters.to_vec(), declared, malformed, errors, slow, tables }
    }
}

/// Whether none of the sockets of a connection is known to have begun while it was observed.
fn is_older(begun: &FxHashSet<SocketId>, ends: &[EndAt; 2]) -> bool {
    ends.iter().filter_map(|end| end.socket).all(|socket| !begun.contains(&socket))
}

/// The ends of a flow as a tap sees them, and the one that it stands at; on an interface either may be of this host.
fn ends_at(flow: &Flow, tap: Tap, cgroup: u64) -> ([EndAt; 2], Option<End>) {
    let (socket, local) = match tap {
        Tap::Egress { socket, .. } => (Some(socket), Some(End::First)),
        Tap::Ingress { socket, .. } => (Some(socket), Some(End::Second)),
        Tap::Wire => (None, None),
    };
    // Zero: the socket did not exist yet.
    let socket = socket.filter(|socket| socket.0 != 0);
    let at_end = |address, end| {
        let socket = socket.filter(|_| local == Some(end));
        EndAt { address, socket, cgroup, holder: Holder::Socket }
    };
    ([at_end(flow.source, End::First), at_end(flow.destination, End::Second)], local)
}

fn warn_of_loss(counters: &[SourceCounters]) {
    for counter in counters {
        let reasons: Vec<String> = (counter.lost.iter().filter(|(_, count)| *count > 0))
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        if !reasons.is_empty() {
            tracing::warn!("{}: events were lost since the start: {}", counter.source, reasons.join(", "));
        }
    }
}

/// How much of a batch of records is read.
fn bounds(config: &Config) -> RecordBounds {
    let default = RecordBounds::default();
    let batch_bytes = config.capture.batch_bytes;
    // As many times its length when it is decompressed as by default.
    let records_bytes = default.records_bytes.max(batch_bytes * (default.records_bytes / default.batch_bytes));
    RecordBounds { batch_bytes, records_bytes }
}

/// What is known of the two ends of a connection.
fn ends(connection: &Connection<Line>) -> [EndAt; 2] {
    let Line { session, cgroups, .. } = &connection.state;
    [End::First, End::Second].map(|end| match session {
        Some((session, near)) => session.end(*near == end, cgroups[place(end)]),
        None => EndAt {
            address: connection.address(end),
            socket: connection.socket(end),
            cgroup: cgroups[place(end)],
            holder: Holder::Socket,
        },
    })
}

/// The place of an end in an array of both.
fn place(end: End) -> usize {
    match end {
        End::First => 0,
        End::Second => 1,
    }
}

fn connections_max(limits: &Limits) -> usize {
    (limits.memory_bytes / CONNECTIONS_SHARE / CONNECTION_BYTES).max(64)
}

fn settings(config: &Config) -> Settings {
    Settings { tolerance: config.tolerance, false_alarm_rate: config.false_alarm_rate }
}

fn observer_info() -> ObserverInfo {
    let uname = rustix::system::uname();
    ObserverInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: uname.nodename().to_string_lossy().into_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
    }
}
