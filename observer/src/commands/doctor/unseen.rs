//! What on a host may carry traffic that no source shows: each check tells that there is none, or what there is.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::host::Host;
use super::{Found, Reason};

const QUIC_PORT: u16 = 443;
/// Listeners named in one line.
const NAMED_MAX: usize = 4;

/// UDP sockets on port 443.
pub(super) fn quic(host: &Host) -> Found {
    if local_ports(host, &["proc/net/udp", "proc/net/udp6"]).contains(&QUIC_PORT) {
        Err(Reason::new(
            "a process listens on UDP 443: HTTP/3 is not observed",
            "what the proxy sends on over TCP is observed",
        ))
    } else {
        Ok("nothing listens on UDP 443".to_owned())
    }
}

/// Local ports of the sockets in these tables.
fn local_ports(host: &Host, tables: &[&str]) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for table in tables {
        // "  sl  local_address …": the address is hexadecimal, IP:port (Documentation/networking/proc_net_tcp.rst).
        for line in host.text(table).unwrap_or_default().lines().skip(1) {
            let local = line.split_ascii_whitespace().nth(1);
            ports.extend(local.and_then(|local| u16::from_str_radix(local.rsplit(':').next()?, 16).ok()));
        }
    }
    ports
}

/// Unix sockets that processes listen on.
pub(super) fn unix_sockets(host: &Host) -> Found {
    /// `__SO_ACCEPTCON` (linux net.h).
    const ACCEPTS: u64 = 1 << 16;
    let mut inodes = BTreeSet::new();
    // "Num RefCount Protocol Flags Type St Inode Path"; type 1 is a stream.
    for line in host.text("proc/net/unix").unwrap_or_default().lines().skip(1) {
        let fields: Vec<&str> = line.split_ascii_whitespace().take(7).collect();
        let [_, _, _, flags, kind, _, inode] = fields[..] else { continue };
        if kind == "0001" && u64::from_str_radix(flags, 16).is_ok_and(|flags| flags & ACCEPTS != 0) {
            inodes.insert(inode.to_owned());
        }
    }
    if inodes.is_empty() {
        return Ok("nothing listens on one".to_owned());
    }
    let processes = listeners(host, &inodes);
    let more = processes.len().saturating_sub(NAMED_MAX);
    let mut named = processes.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 {
        let _ = write!(named, " and {more} more");
    }
    Err(Reason::new(
        format!(
            "processes listen on Unix sockets ({}: {}): requests over them are not observed",
            inodes.len(),
            if named.is_empty() { "processes of other users" } else { &named }
        ),
        "let services that you want observed listen on TCP",
    ))
}

/// The names of the processes that hold one of these sockets.
fn listeners(host: &Host, inodes: &BTreeSet<String>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let Ok(processes) = std::fs::read_dir(host.path("proc")) else { return names };
    for process in processes.flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .map(str::to_owned)
        else {
            continue;
        };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok()).any(|target| {
            let target = target.to_string_lossy();
            target
                .strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'))
                .is_some_and(|inode| inodes.contains(inode))
        });
        if holds {
            names.extend(host.text(&format!("proc/{pid}/comm")).map(|name| name.trim().to_owned()));
        }
    }
    names
}

/// Programs that hand data from socket to socket past the network stack (Cilium and some meshes).
pub(super) fn sockmap(host: &Host) -> Found {
    use aya::maps::MapType;
    if !host.is_live() {
        return Ok("not looked at".to_owned());
    }
    let mut maps = BTreeSet::new();
    for map in aya::maps::loaded_maps() {
        let Ok(map) = map else {
            return Err(Reason::new(
                "loaded maps cannot be listed",
                "run doctor as root to know whether data bypasses the network stack",
            ));
        };
        if matches!(map.map_type(), Ok(MapType::SockMap | MapType::SockHash)) {
            maps.insert(map.name_as_str().unwrap_or("?").to_owned());
        }
    }
    if maps.is_empty() {
        return Ok("no program redirects between sockets".to_owned());
    }
    let named: Vec<String> = maps.into_iter().take(NAMED_MAX).collect();
    Err(Reason::new(
        format!("socket maps are loaded ({}): traffic that they redirect is not observed", named.join(", ")),
        "turn off socket-level redirection for observed services (Cilium: socketLB with sockmap, bpf.sockmap)",
    ))
}
