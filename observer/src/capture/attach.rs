//! Programs are loaded and attached one by one; each that cannot run here says why.

use std::fs::File;
use std::os::fd::OwnedFd;

use aya::Ebpf;
use aya::maps::ProgramArray;
use aya::programs::{
    CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSock, CgroupSockAddr, ProgramError, ProgramFd, SockOps,
    SocketFilter, UProbe,
};
use observer_ebpf::program::{Gives, Hook, PROGRAMS, Program};

use super::{cgroup, packet_socket};

/// Whether a program runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramState {
    /// The program.
    pub program: &'static str,
    /// `Err`: why it does not.
    pub outcome: Result<(), String>,
}

/// Attaches to the sockets of a cgroup and of all below it.
pub(super) fn at_sockets(ebpf: &mut Ebpf, directory: &File) -> Vec<ProgramState> {
    let programs =
        PROGRAMS.iter().filter(|program| !matches!(program.base(), Hook::Filter | Hook::Probe | Hook::Reading));
    programs.map(|program| state(program, attach(ebpf, program, directory))).collect()
}

/// Attaches to an interface, or to all, and, where this host has cgroup v2 and allows it, the socket hooks at its root: they
/// tell whose the connections are. The packets are seen as long as the socket is open.
pub(super) fn on_interface(ebpf: &mut Ebpf, interface: Option<&str>) -> (Vec<ProgramState>, Option<OwnedFd>) {
    let root = cgroup::root().and_then(|root| cgroup::open(&root)).map_err(|error| error.to_string());
    let mut packet_filter = None;
    let programs = PROGRAMS.iter().filter(|program| program.base() == Hook::Filter || program.gives == Gives::Owners);
    let states = programs.map(|program| {
        let outcome = match program.hook {
            Hook::Entry { array, .. } => enter(ebpf, program, array),
            Hook::Filter => attach_filter(ebpf, program, interface).map(|socket| packet_filter = Some(socket)),
            _ => root.as_ref().map_err(String::clone).and_then(|root| attach(ebpf, program, root)),
        };
        state(program, outcome)
    });
    let states = states.collect();
    (states, packet_filter)
}

/// Loads what is attached to TLS libraries once these are found.
pub(super) fn for_tls(ebpf: &mut Ebpf) -> Vec<ProgramState> {
    for_probes(ebpf, Gives::Tls)
}

/// Loads what is attached to Go programs while that is asked for.
pub(super) fn for_goroutines(ebpf: &mut Ebpf) -> Vec<ProgramState> {
    for_probes(ebpf, Gives::Goroutines)
}

fn for_probes(ebpf: &mut Ebpf, gives: Gives) -> Vec<ProgramState> {
    let load = |program: &Program| {
        let outcome = match program.hook {
            Hook::Entry { array, .. } => enter(ebpf, program, array),
            _ => load_probe(ebpf, program),
        };
        state(program, outcome)
    };
    PROGRAMS.iter().filter(|program| program.gives == gives).map(load).collect()
}

fn load_probe(ebpf: &mut Ebpf, program: &Program) -> Result<(), String> {
    let loaded = ebpf.program_mut(program.name).ok_or("it is not in the object")?;
    let loaded: Result<(), ProgramError> = loaded.try_into().and_then(|probe: &mut UProbe| probe.load());
    loaded.map_err(|error| reason(&error))
}

fn state(program: &Program, outcome: Result<(), String>) -> ProgramState {
    ProgramState { program: program.name, outcome }
}

fn attach(ebpf: &mut Ebpf, program: &Program, directory: &File) -> Result<(), String> {
    let loaded = ebpf.program_mut(program.name).ok_or("it is not in the object")?;
    let mode = CgroupAttachMode::Single;
    let attached: Result<(), ProgramError> = match program.hook {
        Hook::Egress | Hook::Ingress => loaded.try_into().and_then(|skb: &mut CgroupSkb| {
            let side =
                if program.hook == Hook::Egress { CgroupSkbAttachType::Egress } else { CgroupSkbAttachType::Ingress };
            skb.load()?;
            skb.attach(directory, side, mode).map(|_| ())
        }),
        Hook::Socket => loaded.try_into().and_then(|socket: &mut CgroupSock| {
            socket.load()?;
            socket.attach(directory, mode).map(|_| ())
        }),
        Hook::SocketAddress => loaded.try_into().and_then(|address: &mut CgroupSockAddr| {
            address.load()?;
            address.attach(directory, mode).map(|_| ())
        }),
        Hook::SocketOperations => loaded.try_into().and_then(|operations: &mut SockOps| {
            operations.load()?;
            operations.attach(directory, mode).map(|_| ())
        }),
        Hook::Filter => return Err("it is attached to a packet socket".into()),
        Hook::Probe => return Err("it is attached to a file".into()),
        Hook::Reading => return Err("it is attached while threads are asked for".into()),
        Hook::Entry { array, .. } => return enter(ebpf, program, array),
    };
    attached.map_err(|error| reason(&error))
}

/// Loads a program and enters it where another leaves for it.
fn enter(ebpf: &mut Ebpf, program: &Program, array: &str) -> Result<(), String> {
    let loaded = ebpf.program_mut(program.name).ok_or("it is not in the object")?;
    let entered: Result<ProgramFd, ProgramError> = match program.base() {
        Hook::Filter => loaded.try_into().and_then(|filter: &mut SocketFilter| {
            filter.load()?;
            filter.fd()?.try_clone().map_err(ProgramError::from)
        }),
        Hook::Probe => loaded.try_into().and_then(|probe: &mut UProbe| {
            probe.load()?;
            probe.fd()?.try_clone().map_err(ProgramError::from)
        }),
        _ => loaded.try_into().and_then(|skb: &mut CgroupSkb| {
            skb.load()?;
            skb.fd()?.try_clone().map_err(ProgramError::from)
        }),
    };
    let descriptor = entered.map_err(|error| reason(&error))?;
    // Borrowed: the kernel empties an array of programs once no process holds it any more.
    let map = ebpf.map_mut(array).ok_or("its array is not in the object")?;
    let mut array = ProgramArray::try_from(map).map_err(|error| error.to_string())?;
    array.set(0, &descriptor, 0).map_err(|error| error.to_string())
}

fn attach_filter(ebpf: &mut Ebpf, program: &Program, interface: Option<&str>) -> Result<OwnedFd, String> {
    let loaded = ebpf.program_mut(program.name).ok_or("it is not in the object")?;
    let filter: &mut SocketFilter = loaded.try_into().map_err(|error: ProgramError| reason(&error))?;
    filter.load().map_err(|error| reason(&error))?;
    let socket = packet_socket::open().map_err(|error| format!("no packet socket: {error}"))?;
    filter.attach(&socket).map_err(|error| reason(&error))?;
    packet_socket::bind(&socket, interface)
        .map_err(|error| format!("cannot see interface {}: {error}", interface.unwrap_or("(all)")))?;
    Ok(socket)
}

/// An error with its causes, in one line; of the verifier's log the end, which names the instruction it refused.
pub(super) fn reason(error: &ProgramError) -> String {
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let log = verifier_log.to_string();
        let end: Vec<_> = log.lines().rev().filter(|line| !line.is_empty()).take(4).collect();
        let end: Vec<_> = end.into_iter().rev().collect();
        return format!("the kernel refuses to load it: {io_error} ({})", end.join("; "));
    }
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
