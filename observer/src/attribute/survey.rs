//! A look at the whole host comes out: which TCP sockets exist in every network namespace, and which processes hold them.
//!
//! It reads `/proc/PID/fd` of every process, so it runs on a thread of its own, seldom, and only on demand. What the
//! sockets mean for workloads is decided elsewhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::DirEntryExt;
use std::path::Path;

use rustc_hash::{FxHashMap, FxHashSet};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::boundary::{Boundary, boundary};
use super::process::{Incarnation, Places, ProcessFacts, read_text};
use super::sock_diag::{self, TcpSocket};
use super::tables;

/// Tables of `/proc/PID/net` are read up to this size: some 200,000 sockets.
const TABLE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Open files looked at of one process; a busy proxy holds some 100,000.
const FILES_PER_PROCESS_MAX: usize = 262_144;
/// Network namespaces looked into: pods of a node number at most some 500 (the kubelet's default is 110).
pub(super) const NAMESPACES_MAX: usize = 2048;
/// Directories looked at in the cgroup v2 hierarchy.
const CGROUPS_MAX: usize = 16_384;

/// One network namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Namespace {
    /// Its own addresses, loopback among them where it is up.
    pub(super) addresses: Vec<IpAddr>,
    /// Its TCP sockets.
    pub(super) sockets: Vec<TcpSocket>,
    /// Inode and path of Unix stream sockets that listen there.
    pub(super) unix: Vec<(u64, Box<str>)>,
}

/// What a look at the host found.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// By the inode number of the namespace.
    pub(super) namespaces: BTreeMap<u64, Namespace>,
    /// The processes that hold a socket, by its inode; pids in ascending order.
    pub(super) holders: FxHashMap<u64, Vec<u32>>,
    /// What was read of holders that were not known yet, or have become another program.
    pub(super) processes: Vec<ProcessFacts>,
    /// Which program runs under each pid that exists.
    pub(super) alive: FxHashMap<u32, Incarnation>,
    /// The container or unit behind each cgroup id, where the path of the cgroup tells.
    pub(super) cgroups: Vec<(u64, Boundary)>,
    /// What could not be read.
    pub(super) refused: Refused,
}

/// What a survey could not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Namespaces that could not be entered (CAP_SYS_ADMIN): read from `/proc/PID/net/tcp` instead, without cookies.
    pub namespaces: u64,
    /// Processes whose open files could not be read (CAP_SYS_PTRACE).
    pub processes: u64,
    /// Namespaces and files past the bounds of this file.
    pub past_bounds: u64,
}

/// Looks at the host. Moves the calling thread between network namespaces: call it on a thread that then ends.
pub(super) fn survey(places: &Places, known: &FxHashMap<u32, Incarnation>) -> Survey {
    let mut found = Survey::default();
    let mut members: BTreeMap<u64, u32> = BTreeMap::new();
    let pids = places.pids();
    for &pid in &pids {
        let network = places.network(pid);
        if network != 0 && !members.contains_key(&network) {
            if members.len() < NAMESPACES_MAX {
                members.insert(network, pid);
            } else {
                found.refused.past_bounds += 1;
            }
        }
    }
    // This process's own namespace first: it is open to whoever may not enter others.
    let own = places.own_network();
    let in_order =
        members.get_key_value(&own).into_iter().chain(members.iter().filter(|(network, _)| **network != own));
    for (&network, &member) in in_order {
        let (namespace, entered) = namespace(places, network, member, network == own);
        found.refused.namespaces += u64::from(!entered);
        found.namespaces.insert(network, namespace);
    }
    let mut wanted: FxHashSet<u64> = FxHashSet::default();
    for namespace in found.namespaces.values() {
        wanted.extend(namespace.sockets.iter().map(|socket| socket.inode));
        wanted.extend(namespace.unix.iter().map(|(inode, _)| inode));
    }
    for &pid in &pids {
        let Some(stat) = places.stat(pid) else { continue };
        found.alive.insert(pid, stat.incarnation);
        let (inodes, past_bounds) = match socket_inodes(places, pid) {
            Ok(found) => found,
            Err(error) => {
                // Other errors: it has ended meanwhile.
                found.refused.processes += u64::from(error.kind() == std::io::ErrorKind::PermissionDenied);
                continue;
            }
        };
        found.refused.past_bounds += past_bounds;
        let mut holds = false;
        for inode in inodes.into_iter().filter(|inode| wanted.contains(inode)) {
            found.holders.entry(inode).or_default().push(pid);
            holds = true;
        }
        if holds && known.get(&pid) != Some(&stat.incarnation) {
            found.processes.extend(places.process(pid));
        }
    }
    if let Some(root) = &places.cgroup_root {
        let mut left = CGROUPS_MAX;
        boundaries_below(root, "", &mut left, &mut found.cgroups);
        found.refused.past_bounds += u64::from(left == 0);
    }
    found
}

/// The cgroups below a directory of the cgroup v2 hierarchy that are in a container or unit.
fn boundaries_below(directory: &Path, path: &str, left: &mut usize, found: &mut Vec<(u64, Boundary)>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let below = format!("{path}/{}", entry.file_name().to_string_lossy());
        if let Some(boundary) = boundary(&below) {
            found.push((entry.ino(), boundary));
        }
        boundaries_below(&entry.path(), &below, left, found);
    }
}

/// What is in a namespace of which `member` is a process, and whether it could be entered.
fn namespace(places: &Places, network: u64, member: u32, already_there: bool) -> (Namespace, bool) {
    let table = |name: &str| read_text(&places.of_process(member, name), TABLE_BYTES_MAX).unwrap_or_default();
    let entered = already_there || enter(places, member);
    // The member may have ended and its pid may be in use by another meanwhile: then the tables are another namespace's.
    let dumped = if entered { sock_diag::dump().ok() } else { None };
    let sockets = dumped.map_or_else(
        || {
            let mut sockets = tables::tcp(&table("net/tcp"));
            sockets.extend(tables::tcp(&table("net/tcp6")));
            sockets
        },
        |(sockets, _)| sockets,
    );
    let unix = table("net/unix");
    let unix = tables::unix_listeners(&unix).into_iter().map(|(inode, path)| (inode, path.into())).collect();
    let addresses = local_addresses(places, member);
    if places.network(member) == network {
        (Namespace { addresses, sockets, unix }, entered)
    } else {
        (Namespace::default(), entered)
    }
}

fn enter(places: &Places, member: u32) -> bool {
    File::open(places.of_process(member, "ns/net"))
        .is_ok_and(|link| move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).is_ok())
}

/// The addresses of the network namespace of a process.
pub(super) fn local_addresses(places: &Places, pid: u32) -> Vec<IpAddr> {
    let table = |name: &str| read_text(&places.of_process(pid, name), TABLE_BYTES_MAX).unwrap_or_default();
    let mut addresses = tables::local_ipv4(&table("net/fib_trie"));
    addresses.extend(tables::local_ipv6(&table("net/if_inet6")));
    addresses
}

/// Inodes of the sockets that a process holds, and how many files were not looked at.
pub(super) fn socket_inodes(places: &Places, pid: u32) -> std::io::Result<(Vec<u64>, u64)> {
    let mut inodes = Vec::new();
    let mut past_bounds = 0;
    for (index, entry) in std::fs::read_dir(places.of_process(pid, "fd"))?.enumerate() {
        if index >= FILES_PER_PROCESS_MAX {
            past_bounds += 1;
            continue;
        }
        let Some(target) = entry.ok().and_then(|entry| std::fs::read_link(entry.path()).ok()) else { continue };
        let inode: Option<u64> =
            target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        inodes.extend(inode);
    }
    inodes.sort_unstable();
    inodes.dedup();
    Ok((inodes, past_bounds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::os::linux::fs::MetadataExt;

    #[test]
    fn a_survey_finds_who_holds_a_listener_and_reads_each_holder_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = std::fs::metadata(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap().st_ino();
        let places = Places::of_this_host();
        let look = |known: FxHashMap<u32, Incarnation>| {
            let places = places.clone();
            std::thread::spawn(move || survey(&places, &known)).join().unwrap()
        };
        let first = look(FxHashMap::default());
        let own = std::process::id();
        assert!(first.holders[&inode].contains(&own));
        assert!(first.processes.iter().any(|process| process.pid == own));
        let namespace = &first.namespaces[&places.network(own)];
        assert!(namespace.sockets.iter().any(|socket| socket.inode == inode && socket.listens));
        assert!(namespace.addresses.contains(&"127.0.0.1".parse().unwrap()));
        let again = look(first.alive.clone());
        assert!(again.holders[&inode].contains(&own));
        assert!(!again.processes.iter().any(|process| process.pid == own));
    }
}
