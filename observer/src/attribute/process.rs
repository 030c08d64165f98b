//! A pid comes in; what `/proc` tells of the process goes out, read once and kept. Its open files are read in `survey`.

use std::io::Read;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::boundary::{Boundary, placement};
use super::environment::{ENVIRONMENT_BYTES_MAX, Environment};
use super::program::{Language, language, program_name};
use crate::capture::cgroup;

/// The longest command line that is read, in bytes; a name is found at its beginning or not at all.
pub(super) const ARGUMENTS_BYTES_MAX: usize = 16 * 1024;
/// Small files of `/proc`: `stat`, `cgroup` (a line per hierarchy, each a path).
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// Set in the process flags between fork and exec: it runs its parent's program (`PF_FORKNOEXEC`, linux/sched.h).
const FORKED_NO_EXEC: u64 = 0x40;

/// Tells one program in one process from the next: a pid is reused, and `exec` replaces the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation {
    /// Start of the process in clock ticks since boot.
    pub started: u64,
    /// Where arguments and environment lie in memory (zero where that may not be read): they move on exec.
    image: (u64, u64),
}

/// The part of `/proc/PID/stat` (man 5 proc) that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Which program of which process.
    pub incarnation: Incarnation,
    /// The parent.
    pub parent: u32,
    /// Whether it still runs the program of the process that forked it.
    pub forked: bool,
}

impl Stat {
    /// Reads the text of `/proc/PID/stat`; `None` where it is cut.
    pub fn parse(text: &str) -> Option<Self> {
        // The command name may hold anything, closing brackets and spaces included.
        let (_, tail) = text.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        // Fields are numbered from one in the manual; the third is the first behind the name.
        let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
        Some(Self {
            incarnation: Incarnation {
                started: field(22)?,
                image: (field(48).unwrap_or_default(), field(50).unwrap_or_default()),
            },
            parent: u32::try_from(field(4)?).ok()?,
            forked: field(9)? & FORKED_NO_EXEC != 0,
        })
    }
}

/// What is kept of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    /// The pid in the initial pid namespace.
    pub pid: u32,
    /// Which program of which process with this pid.
    pub incarnation: Incarnation,
    /// The parent.
    pub parent: u32,
    /// Whether it still runs the program of the process that forked it.
    pub forked: bool,
    /// The path of its executable as the process sees it; the command name where the path may not be read.
    pub executable: Box<str>,
    /// What people call the program: see [`program_name`].
    pub program: Box<str>,
    /// What it is run by.
    pub language: Language,
    /// Its `OTEL_*` settings.
    pub environment: Environment,
    /// The container or unit it runs in.
    pub boundary: Option<Boundary>,
    /// Its path in the cgroup v2 hierarchy; where that says nothing, the longest path in the others.
    pub cgroup_path: Box<str>,
    /// The id of its cgroup v2; zero where it is not known.
    pub cgroup: u64,
    /// Inode number of its network namespace; zero where it may not be read.
    pub network: u64,
}

/// Programs that hold sockets for the services which they activate.
const MANAGERS: [&str; 3] = ["systemd", "inetd", "xinetd"];

impl ProcessFacts {
    /// Of a process that was not looked at.
    pub(super) fn of_unseen(pid: u32, command: &str) -> Self {
        Self {
            pid,
            incarnation: Incarnation { started: 0, image: (0, 0) },
            parent: 0,
            forked: false,
            executable: command.into(),
            program: program_name(command, &[]).into(),
            language: language(command),
            environment: Environment::default(),
            boundary: None,
            cgroup_path: "".into(),
            cgroup: 0,
            network: 0,
        }
    }

    /// Whether nothing but its name is known.
    pub(crate) fn is_unseen(&self) -> bool {
        self.incarnation.started == 0
    }

    /// The name of its executable, as people see it in lists of processes.
    pub(crate) fn command(&self) -> &str {
        self.executable.rsplit('/').next().unwrap_or(&self.executable)
    }

    /// Whether it only holds sockets on behalf of the services that it starts.
    pub fn is_manager(&self) -> bool {
        MANAGERS.contains(&&*self.program)
    }

    /// Whether sharing a socket with another process makes one workload of both: a container or unit is one by itself.
    pub fn may_share(&self) -> bool {
        self.boundary.is_none() && !self.is_manager()
    }
}

/// Where `/proc` and the cgroup v2 hierarchy are.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/proc` of the initial pid namespace.
    pub proc_root: PathBuf,
    /// The mount of the cgroup v2 hierarchy, where there is one.
    pub cgroup_root: Option<PathBuf>,
}

impl Places {
    /// `/proc`, and the cgroup v2 mount that `/proc/mounts` names.
    pub fn of_this_host() -> Self {
        let mounts = read_text(Path::new("/proc/self/mounts"), SMALL_BYTES_MAX).unwrap_or_default();
        Self { proc_root: PathBuf::from("/proc"), cgroup_root: cgroup::root_of(&mounts) }
    }

    /// The path of a file of a process.
    pub fn of_process(&self, pid: u32, file: &str) -> PathBuf {
        self.proc_root.join(pid.to_string()).join(file)
    }

    /// Which program runs under this pid now; `None`: no process has it.
    pub fn stat(&self, pid: u32) -> Option<Stat> {
        Stat::parse(&read_text(&self.of_process(pid, "stat"), SMALL_BYTES_MAX)?)
    }

    /// Everything kept of a process; `None`: no process has this pid. What may not be read is left empty.
    pub fn process(&self, pid: u32) -> Option<ProcessFacts> {
        let stat = self.stat(pid)?;
        let placement = placement(&read_text(&self.of_process(pid, "cgroup"), SMALL_BYTES_MAX).unwrap_or_default());
        let executable = std::fs::read_link(self.of_process(pid, "exe")).map_or_else(
            |_| read_text(&self.of_process(pid, "comm"), SMALL_BYTES_MAX).unwrap_or_default().trim_end().to_owned(),
            |path| path.to_string_lossy().into_owned(),
        );
        if executable.is_empty() {
            // It has just ended.
            return None;
        }
        let command_line = read_bytes(&self.of_process(pid, "cmdline"), ARGUMENTS_BYTES_MAX).unwrap_or_default();
        let command_line = String::from_utf8_lossy(&command_line);
        let arguments: Vec<&str> = command_line.split('\0').collect();
        let environment = read_bytes(&self.of_process(pid, "environ"), ENVIRONMENT_BYTES_MAX).unwrap_or_default();
        let unified = placement.unified.as_deref().unwrap_or_default();
        let longest = placement.others.iter().max_by_key(|path| path.len()).map_or(unified, |path| path);
        Some(ProcessFacts {
            pid,
            incarnation: stat.incarnation,
            parent: stat.parent,
            forked: stat.forked,
            program: program_name(&executable, &arguments).into(),
            language: language(&executable),
            executable: executable.trim_end_matches(" (deleted)").into(),
            environment: Environment::parse(&environment),
            cgroup: self.cgroup_id(unified),
            cgroup_path: if unified.len() > 1 { unified.into() } else { longest.into() },
            boundary: placement.boundary,
            network: self.network(pid),
        })
    }

    /// Inode number of the network namespace of a process; zero where it may not be read.
    pub fn network(&self, pid: u32) -> u64 {
        std::fs::metadata(self.of_process(pid, "ns/net")).map_or(0, |namespace| namespace.st_ino())
    }

    /// Inode number of the network namespace of this process itself.
    pub fn own_network(&self) -> u64 {
        std::fs::metadata(self.proc_root.join("self/ns/net")).map_or(0, |namespace| namespace.st_ino())
    }

    /// The container or unit of this process itself: what it shares with others tells nothing apart.
    pub fn own_boundary(&self) -> Option<Boundary> {
        placement(&read_text(&self.proc_root.join("self/cgroup"), SMALL_BYTES_MAX)?).boundary
    }

    /// The inode number of a cgroup's directory, which is what BPF programs call its id.
    fn cgroup_id(&self, path: &str) -> u64 {
        let Some(root) = self.cgroup_root.as_ref().filter(|_| !path.is_empty()) else {
            return 0;
        };
        std::fs::metadata(root.join(path.trim_start_matches('/'))).map_or(0, |directory| directory.st_ino())
    }

    /// All pids, in ascending order.
    pub fn pids(&self) -> Vec<u32> {
        let Ok(entries) = std::fs::read_dir(&self.proc_root) else {
            return Vec::new();
        };
        let mut pids: Vec<u32> =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok()).collect();
        pids.sort_unstable();
        pids
    }
}

/// At most `limit` bytes of a file.
pub(super) fn read_bytes(path: &Path, limit: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    std::fs::File::open(path).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// At most `limit` bytes of a file as text; what is no UTF-8 is replaced.
pub(super) fn read_text(path: &Path, limit: usize) -> Option<String> {
    read_bytes(path, limit).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_whatever_the_command_is_called() {
        let text = "4711 (a) R (b) S 1 4711 4711 0 -1 4194368 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1 18446744073709551615 1 1 1 \
                    0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 1 1 1 140001 140020 140021 141000 0";
        assert_eq!(
            Stat::parse(text),
            Some(Stat {
                incarnation: Incarnation { started: 987_654, image: (140_001, 140_021) },
                parent: 1,
                forked: true
            })
        );
        assert_eq!(Stat::parse("4711 (a"), None);
        assert_eq!(Stat::parse("4711 (a) S 1"), None);
    }

    #[test]
    fn a_process_is_read_from_a_recorded_tree() {
        let tree = tempfile::tempdir().unwrap();
        let directory = tree.path().join("42");
        std::fs::create_dir_all(&directory).unwrap();
        let id = "ab".repeat(32);
        let stat = "42 (python3) S 1 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 5 1 1";
        for (file, text) in [
            ("stat", stat),
            ("comm", "python3\n"),
            ("cgroup", &format!("0::/system.slice/docker-{id}.scope\n")),
            ("cmdline", "python3\0/srv/app.py\0"),
            ("environ", "PATH=/bin\0OTEL_SERVICE_NAME=checkout\0"),
        ] {
            std::fs::write(directory.join(file), text).unwrap();
        }
        std::os::unix::fs::symlink("/usr/bin/python3.11", directory.join("exe")).unwrap();
        let places = Places { proc_root: tree.path().to_owned(), cgroup_root: None };
        let facts = places.process(42).unwrap();
        assert_eq!((&*facts.executable, &*facts.program), ("/usr/bin/python3.11", "app.py"));
        assert_eq!(facts.environment.service_name(), Some("checkout"));
        assert_eq!(facts.boundary, Some(Boundary::Container { id: id.into(), pod: None }));
        assert!(!facts.forked);
        assert_eq!(places.pids(), [42]);
        assert_eq!(places.process(43), None);
    }
}
