//! `/proc/PID/cgroup` comes in; the container or systemd unit that the process runs in goes out. Nothing is read here.

/// The longest container id or unit name that is looked at, in bytes (a file name, `NAME_MAX` of linux/limits.h).
const SEGMENT_BYTES_MAX: usize = 255;
/// A container id of Docker, containerd, CRI-O and Podman: 32 random bytes in hex.
const CONTAINER_ID_CHARS: usize = 64;
/// Units that only launch what others asked for: what they start shares no sockets and is no service of that name.
const LAUNCHERS: [&str; 10] = [
    "ssh.service",
    "sshd.service",
    "cron.service",
    "crond.service",
    "atd.service",
    "docker.service",
    "containerd.service",
    "crio.service",
    "kubelet.service",
    "podman.service",
];
/// The same as templates: an instance follows the `@`.
const LAUNCHER_TEMPLATES: [&str; 5] = ["user@", "ssh@", "sshd@", "getty@", "serial-getty@"];

/// What separates processes that cannot hold each other's sockets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Boundary {
    /// A container.
    Container {
        /// The runtime's id; of LXC and nspawn the name.
        id: Box<str>,
        /// The uid of the Kubernetes pod, where the path tells it.
        pod: Option<Box<str>>,
    },
    /// A systemd service unit.
    Unit {
        /// The cgroup path up to and with the unit: tells units of the same name in two containers or users apart.
        path: Box<str>,
    },
}

impl Boundary {
    /// The name of a unit without `.service`, the id of a container cut to the twelve characters that `docker ps` shows.
    pub fn short_name(&self) -> &str {
        match self {
            Self::Container { id, .. } if is_container_id(id) => &id[..12],
            Self::Container { id, .. } => id,
            Self::Unit { path } => {
                let name = path.rsplit('/').next().unwrap_or(path);
                name.strip_suffix(".service").unwrap_or(name)
            }
        }
    }
}

/// What `/proc/PID/cgroup` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The container or unit.
    pub boundary: Option<Boundary>,
    /// The path in the cgroup v2 hierarchy (`0::`).
    pub unified: Option<Box<str>>,
    /// The paths in the other hierarchies that are not their root.
    pub others: Vec<Box<str>>,
}

/// Reads the text of `/proc/PID/cgroup` (man 7 cgroups).
pub fn placement(text: &str) -> Placement {
    let mut found = Placement::default();
    let mut paths: Vec<&str> = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if number == "0" && controllers.is_empty() {
            found.unified = Some(path.into());
            paths.insert(0, path);
        } else {
            if path != "/" && !found.others.iter().any(|other| &**other == path) {
                found.others.push(path.into());
            }
            paths.push(path);
        }
    }
    // On hybrid hosts the container is known to the v1 hierarchies only, while `0::` shows the runtime's unit.
    let boundaries: Vec<Boundary> = paths.iter().filter_map(|path| boundary(path)).collect();
    let container = boundaries.iter().find(|found| matches!(found, Boundary::Container { .. }));
    let nested = boundaries.iter().find(|found| matches!((found, container), (Boundary::Unit { path }, Some(Boundary::Container { id, .. })) if path.contains(&**id)));
    found.boundary = nested.or(container).or(boundaries.first()).cloned();
    found
}

/// The innermost container or unit on a cgroup path.
pub fn boundary(path: &str) -> Option<Boundary> {
    let mut innermost = None;
    let mut pod = None;
    let mut end = 0;
    let mut previous = "";
    for segment in path.split('/') {
        end += segment.len();
        if segment.len() <= SEGMENT_BYTES_MAX {
            if let Some(uid) = pod_uid(segment) {
                pod = Some(uid);
            }
            if let Some(id) = container(previous, segment) {
                innermost = Some(Boundary::Container { id: id.into(), pod: pod.clone() });
            } else if is_service(segment) {
                innermost = Some(Boundary::Unit { path: path[..end].into() });
            } else if segment.strip_suffix(".scope").is_some() && matches!(innermost, Some(Boundary::Unit { .. })) {
                // A session below a user's manager: whatever was started there by hand.
                innermost = None;
            }
        }
        previous = segment;
        end += 1;
    }
    innermost
}

fn is_service(segment: &str) -> bool {
    segment.ends_with(".service")
        && !LAUNCHERS.contains(&segment)
        && !LAUNCHER_TEMPLATES.iter().any(|template| segment.starts_with(template))
}

/// The id in `<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`, `crio-<id>`, `libpod-<id>.scope`,
/// `<slice>:cri-containerd:<id>`; the name in `lxc.payload.<name>`, `lxc/<name>`, `machine-<name>.scope`.
fn container<'a>(parent: &str, segment: &'a str) -> Option<&'a str> {
    if segment.contains("conmon") {
        // Podman's and CRI-O's monitor runs outside the container that it watches.
        return None;
    }
    let bare = segment.strip_suffix(".scope").unwrap_or(segment);
    let last = bare.rsplit(['-', ':']).next().unwrap_or(bare);
    if is_container_id(last) {
        return Some(last);
    }
    if let Some(name) = segment.strip_prefix("lxc.payload.") {
        return Some(name);
    }
    if matches!(parent, "lxc" | "lxc.payload") && !segment.is_empty() {
        return Some(segment);
    }
    let scope = segment.strip_suffix(".scope").filter(|_| parent == "machine.slice")?;
    scope.strip_prefix("machine-")
}

fn is_container_id(text: &str) -> bool {
    text.len() == CONTAINER_ID_CHARS && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

/// The pod's uid in `pod<uid>` and `kubepods-burstable-pod<uid with _>.slice`.
fn pod_uid(segment: &str) -> Option<Box<str>> {
    let segment = segment.split(':').next().unwrap_or(segment);
    let bare = segment.strip_suffix(".slice").unwrap_or(segment);
    let tail = if bare.starts_with("kubepods") || bare.starts_with("kubelet-kubepods") {
        bare.rsplit_once("-pod")?.1
    } else {
        bare.strip_prefix("pod")?
    };
    let uid = tail.replace('_', "-");
    (uid.len() >= 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')).then(|| uid.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3f4a1b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718";
    const B: &str = "aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999";

    fn show(text: &str) -> String {
        match placement(&text.replace("<A>", A).replace("<B>", B)).boundary {
            None => String::from("-"),
            Some(Boundary::Container { id, pod }) => {
                let id = id.replace(A, "<A>").replace(B, "<B>");
                pod.map_or_else(|| format!("container {id}"), |pod| format!("container {id} of pod {pod}"))
            }
            Some(Boundary::Unit { path }) => format!("unit {}", path.replace(A, "<A>")),
        }
    }

    #[test]
    fn every_runtime_s_path_names_its_container_or_unit() {
        let cases = [
            ("0::/", "-"),
            ("0::/init.scope", "-"),
            ("0::/system.slice/docker-<A>.scope", "container <A>"),
            ("0::/docker/<A>", "container <A>"),
            ("4:memory:/docker/<A>\n1:name=systemd:/docker/<A>\n0::/system.slice/docker.service", "container <A>"),
            ("0::/docker/<A>/docker/<B>", "container <B>"),
            (
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12345678_1234_1234_1234_123456789abc.slice/cri-containerd-<A>.scope",
                "container <A> of pod 12345678-1234-1234-1234-123456789abc",
            ),
            (
                "5:cpu:/kubepods/besteffort/pod12345678-1234-1234-1234-123456789abc/<A>",
                "container <A> of pod 12345678-1234-1234-1234-123456789abc",
            ),
            (
                "5:cpu:/system.slice/containerd.service/kubepods-pod12345678_1234_1234_1234_123456789abc.slice:cri-containerd:<A>",
                "container <A> of pod 12345678-1234-1234-1234-123456789abc",
            ),
            ("0::/kubepods.slice/crio-<A>.scope", "container <A>"),
            ("0::/kubepods.slice/crio-<A>", "container <A>"),
            ("0::/kubepods.slice/crio-conmon-<A>.scope", "-"),
            ("0::/machine.slice/libpod-<A>.scope/container", "container <A>"),
            ("0::/libpod_parent/libpod-<A>", "container <A>"),
            ("0::/machine.slice/libpod-conmon-<A>.scope", "-"),
            ("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<A>.scope", "container <A>"),
            ("0::/lxc.payload.web/system.slice/nginx.service", "unit /lxc.payload.web/system.slice/nginx.service"),
            ("0::/lxc/web", "container web"),
            ("0::/machine.slice/machine-web.scope/payload", "container web"),
            ("0::/docker/<A>/system.slice/app.service", "unit /docker/<A>/system.slice/app.service"),
            ("0::/system.slice/nginx.service", "unit /system.slice/nginx.service"),
            ("0::/system.slice/nginx.service/workers", "unit /system.slice/nginx.service"),
            (
                "0::/system.slice/system-app.slice/app@blue.service",
                "unit /system.slice/system-app.slice/app@blue.service",
            ),
            ("1:name=systemd:/system.slice/nginx.service\n0::/", "unit /system.slice/nginx.service"),
            ("0::/user.slice/user-1000.slice/session-3.scope", "-"),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-1.scope", "-"),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
                "unit /user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
            ),
            ("0::/system.slice/ssh.service", "-"),
            ("0::/system.slice/cron.service", "-"),
            ("4:memory:/sandbox/81072b15c762c40400d4bc182c7a1f8e\n0::/", "-"),
            ("not a cgroup line", "-"),
            ("", "-"),
        ];
        for (text, expected) in cases {
            assert_eq!(show(text), expected, "{text}");
        }
    }

    #[test]
    fn a_boundary_has_a_name_that_people_know() {
        assert_eq!(boundary("/system.slice/web@blue.service").unwrap().short_name(), "web@blue");
        assert_eq!(boundary(&format!("/docker/{A}")).unwrap().short_name(), "3f4a1b5c6d7e");
        assert_eq!(boundary("/lxc/db").unwrap().short_name(), "db");
    }
}
