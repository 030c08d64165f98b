//! The capabilities of this process come in; whether each source can run with them goes out, and what is missing.

use std::path::PathBuf;

use super::host::Host;
use super::{Found, Reason, system};
use crate::config::SourceName;

/// Capabilities by their bit (linux/capability.h).
const CAP_NET_ADMIN: (u32, &str) = (12, "CAP_NET_ADMIN");
const CAP_NET_RAW: (u32, &str) = (13, "CAP_NET_RAW");
const CAP_SYS_PTRACE: (u32, &str) = (19, "CAP_SYS_PTRACE");
const CAP_SYS_ADMIN: (u32, &str) = (21, "CAP_SYS_ADMIN");
const CAP_PERFMON: (u32, &str) = (38, "CAP_PERFMON");
const CAP_BPF: (u32, &str) = (39, "CAP_BPF");

type Capability = (u32, &'static str);

/// Whether this source can run here.
pub(in crate::commands) fn can_run(source: SourceName, host: &Host) -> Found {
    match source {
        SourceName::Cgroup => {
            system::kernel(host)?;
            needs(host, &[CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON])?;
            let mount = system::cgroup(host)?;
            Ok(format!("plaintext of every container and network namespace, by {mount}"))
        }
        SourceName::SocketFilter => {
            system::kernel(host)?;
            // The least that the verifier and packet(7) take, found by trying on 6.18 (2026-11-21): without CAP_PERFMON pointer
            // arithmetic is refused.
            needs(host, &[CAP_BPF, CAP_NET_RAW, CAP_PERFMON])?;
            let owners = needs(host, &[CAP_NET_ADMIN]).and_then(|()| system::cgroup(host));
            Ok(match owners {
                Ok(_) => "plaintext of this network namespace; used where cgroup cannot be".to_owned(),
                Err(reason) => {
                    format!(
                        "plaintext of this network namespace, without the owners of short connections: {}",
                        reason.why
                    )
                }
            })
        }
        SourceName::Tls => {
            system::kernel(host)?;
            system::uprobes(host)?;
            needs(host, &[CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_PTRACE])?;
            Ok("what OpenSSL, BoringSSL, GnuTLS, Go and rustls carry, in clear, where they can be probed".to_owned())
        }
    }
}

/// The directory of `capture.cgroup`, below the mount of cgroup v2. Where it cannot be honoured nothing is captured: the whole
/// host was not asked for.
pub(in crate::commands) fn captured(path: &str, source: SourceName, host: &Host) -> Result<PathBuf, Reason> {
    if source != SourceName::Cgroup {
        return Err(Reason::new("it cannot tell one cgroup from another", "leave capture.cgroup out"));
    }
    let mount = host.cgroup2_mount().unwrap_or_default();
    Some(host.path(format!("{mount}/{path}").trim_start_matches('/')))
        .filter(|directory| directory.is_dir())
        .ok_or_else(|| Reason::new(format!("capture.cgroup {path} does not exist"), "systemd-cgls shows those that do"))
}

/// What this process may do, if any source can run with it.
pub(super) fn effective(host: &Host) -> Found {
    let attaches = if has(host, CAP_NET_RAW) && !has(host, CAP_NET_ADMIN) { CAP_NET_RAW } else { CAP_NET_ADMIN };
    let least = [CAP_BPF, attaches, CAP_PERFMON];
    needs(host, &least)?;
    let more = [CAP_SYS_ADMIN, CAP_NET_RAW].into_iter().filter(|more| has(host, *more) && !least.contains(more));
    let names: Vec<&str> = least.into_iter().chain(more).map(|(_, name)| name).collect();
    Ok(names.join(", "))
}

fn has(host: &Host, (bit, _): Capability) -> bool {
    host.capabilities() >> bit & 1 == 1
}

/// CAP_SYS_ADMIN stands in for the two that were split off it (capabilities(7)).
fn holds(host: &Host, capability: Capability) -> bool {
    has(host, capability) || ([CAP_BPF, CAP_PERFMON].contains(&capability) && has(host, CAP_SYS_ADMIN))
}

fn needs(host: &Host, capabilities: &[Capability]) -> Result<(), Reason> {
    let missing: Vec<&str> =
        capabilities.iter().filter(|capability| !holds(host, **capability)).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let all: Vec<&str> = capabilities.iter().map(|(_, name)| *name).collect();
    let remedy = format!(
        "run as root, or give the program {} (setcap, systemd AmbientCapabilities, or the pod's securityContext)",
        all.join(", ")
    );
    Err(Reason::new(format!("this process lacks {}", missing.join(", ")), remedy))
}
