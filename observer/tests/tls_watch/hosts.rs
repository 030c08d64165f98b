//! A watch whose probes are written down instead of attached, and programs that load what looks like OpenSSL.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use observer::config::Pattern;
use observer::tls::{Bounds, Prober, Scope, TlsProcess, Watch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long to wait for what must come: a machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// All that is probed of OpenSSL.
pub const LIBRARY: &str = "int SSL_read(void) { return 1; } int SSL_write(void) { return 2; } void SSL_free(void) {}";
/// The probes of that.
pub const POINTS: usize = 5;
/// Loads what it is given, then what its input names line by line. A line `fork` makes a process that stays as long as the input
/// is open, and the parent ends; a line `thread` ends the first thread while another one reads on; `name …` renames the process.
const LOADS: &str = r#"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
static void load(const char *path) { puts(dlopen(path, RTLD_NOW) ? "ok" : dlerror()); fflush(stdout); }
static void *reads(void *nothing) {
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, "name ", 5)) { prctl(PR_SET_NAME, line + 5); puts("ok"); fflush(stdout); }
        else if (!strcmp(line, "thread")) {
            pthread_t other;
            puts("ok"); fflush(stdout);
            pthread_create(&other, 0, reads, 0);
            pthread_exit(0);
        }
        else if (strcmp(line, "fork")) load(line);
        else if (fork()) _exit(0);
        else { printf("%d\n", getpid()); fflush(stdout); }
    }
    _exit(0);
}
int main(int count, char **words) {
    for (int at = 1; at < count; at++) load(words[at]);
    puts("ready"); fflush(stdout);
    return !reads(0);
}
"#;

/// Probes as they are now: inode, program, offset.
pub type Attached = Arc<Mutex<Vec<(u64, &'static str, u64)>>>;

/// For which processes: one more time for each probe.
pub type Added = Arc<Mutex<Vec<u32>>>;

/// Writes down what is probed below a directory; `refused` programs cannot be attached.
struct Notes {
    below: PathBuf,
    refused: &'static str,
    attached: Attached,
    added: Added,
}

pub struct Note {
    probe: (u64, &'static str, u64),
    attached: Attached,
    /// None: for all processes.
    added: Option<Added>,
    processes: Vec<u32>,
}

impl Prober for Notes {
    type Link = Note;

    fn probe(&mut self, program: &'static str, file: &Path, offset: u64, scope: Scope) -> Result<Note, String> {
        if program == self.refused {
            return Err("refused".to_owned());
        }
        let name = std::fs::read_link(file).unwrap();
        // What a container names has another beginning.
        let ours = name.starts_with(&self.below) || name.starts_with("/inside");
        if !ours {
            return Err("not of this test".to_owned());
        }
        let probe = (std::fs::metadata(file).unwrap().ino(), program, offset);
        self.attached.lock().unwrap().push(probe);
        let added = (scope == Scope::Added).then(|| Arc::clone(&self.added));
        Ok(Note { probe, attached: Arc::clone(&self.attached), added, processes: Vec::new() })
    }

    fn add(&mut self, note: &mut Note, pid: u32) -> Result<(), String> {
        assert!(!note.processes.contains(&pid), "{pid} is added twice");
        note.added.as_ref().expect("a probe for those that are added").lock().unwrap().push(pid);
        note.processes.push(pid);
        Ok(())
    }

    fn remove(&mut self, note: &mut Note, pid: u32) {
        let Some(at) = note.processes.iter().position(|process| *process == pid) else { return };
        note.processes.remove(at);
        let mut added = note.added.as_ref().unwrap().lock().unwrap();
        let at = added.iter().position(|process| *process == pid).unwrap();
        added.remove(at);
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Some(added) = &self.added {
            added.lock().unwrap().retain(|pid| !self.processes.contains(pid));
        }
        let mut attached = self.attached.lock().unwrap();
        let at = attached.iter().position(|probe| *probe == self.probe).unwrap();
        attached.remove(at);
    }
}

/// A watch and all that it told.
pub struct Host {
    pub watch: Watch,
    pub told: Vec<TlsProcess>,
    attached: Attached,
    added: Added,
}

impl Host {
    /// Watches; files below `place` are probed.
    pub fn watch(place: &Path) -> Self {
        Self::with(place, Bounds { linger: Duration::ZERO, ..Bounds::default() }, "")
    }

    pub fn with(place: &Path, bounds: Bounds, refused: &'static str) -> Self {
        Self::leaving(&[], place, bounds, refused)
    }

    /// Watches but for processes whose command names are like these.
    pub fn leaving(leave: &[&str], place: &Path, bounds: Bounds, refused: &'static str) -> Self {
        Self::within(None, leave, place, bounds, refused)
    }

    /// The same, of the processes of a cgroup.
    pub fn within(cgroup: Option<String>, leave: &[&str], place: &Path, bounds: Bounds, refused: &'static str) -> Self {
        let leave = leave.iter().map(|text| Pattern::new(text)).collect();
        let (attached, added) = (Attached::default(), Added::default());
        let below = place.canonicalize().unwrap();
        let notes = Notes { below, refused, attached: Arc::clone(&attached), added: Arc::clone(&added) };
        let watch = Watch::open(bounds, leave, notes).expect("these tests need root").within(cgroup);
        Self { watch, told: Vec::new(), attached, added }
    }

    /// Goes on until this holds.
    #[track_caller]
    pub fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "{what}: {:?} {:?}", self.watch.counters(), self.told);
            let mut waits: Vec<_> =
                self.watch.wakeups().map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN)).collect();
            let _ = poll(&mut waits, Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 }));
            let told = &mut self.told;
            self.watch.refresh(Instant::now(), &mut |process| told.push(process));
        }
    }

    /// What was told last of a process.
    pub fn known(&self, pid: u32) -> Option<&TlsProcess> {
        self.told.iter().rev().find(|process| process.pid == pid)
    }

    /// Whether a process is observed.
    pub fn observes(&self, pid: u32) -> bool {
        self.known(pid).is_some_and(|process| !process.observed.is_empty())
    }

    pub fn is_gone(&self, pid: u32) -> bool {
        self.known(pid).is_some_and(|process| process.gone)
    }

    /// The inodes that are probed, in order, each probe once.
    pub fn probed(&self) -> Vec<u64> {
        let probes = self.attached.lock().unwrap();
        let mut inodes: Vec<u64> = probes.iter().map(|(inode, ..)| *inode).collect();
        inodes.sort_unstable();
        inodes.dedup();
        assert!(inodes.len() * POINTS >= probes.len(), "a file is probed twice: {probes:?}");
        inodes
    }

    /// The places that are probed.
    pub fn places(&self) -> Vec<u64> {
        self.attached.lock().unwrap().iter().map(|(.., offset)| *offset).collect()
    }

    /// At how many places a process is probed that was added.
    pub fn added(&self, pid: u32) -> usize {
        self.added.lock().unwrap().iter().filter(|added| **added == pid).count()
    }

    /// How many probes there are.
    pub fn probes(&self) -> usize {
        self.attached.lock().unwrap().len()
    }
}

/// A place with the program and a library.
pub struct Place {
    pub directory: tempfile::TempDir,
    pub program: PathBuf,
    pub library: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = built(directory.path(), "loads", LOADS, &["-pthread"]);
        let library = built(directory.path(), "libssl.so", LIBRARY, &["-shared"]);
        Self { directory, program, library }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A process that has loaded these.
    pub fn process(&self, libraries: &[&Path]) -> Process {
        Self::process_of(&self.program, libraries)
    }

    /// The same, called otherwise.
    pub fn process_called(&self, name: &str, libraries: &[&Path]) -> Process {
        let program = self.path().join(name);
        std::fs::copy(&self.program, &program).unwrap();
        Self::process_of(&program, libraries)
    }

    fn process_of(program: &Path, libraries: &[&Path]) -> Process {
        let mut command = Command::new(program);
        command.args(libraries);
        Process::start(&mut command, libraries.len())
    }
}

/// A process; it ends with this value.
pub struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts one and waits until it has loaded so many libraries.
    pub fn start(command: &mut Command, libraries: usize) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..libraries {
            assert_eq!(line(&mut output), "ok");
        }
        assert_eq!(line(&mut output), "ready");
        Self { child, output }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Says a line and returns the answer.
    pub fn say(&mut self, words: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{words}").unwrap();
        line(&mut self.output)
    }

    pub fn load(&mut self, library: &Path) {
        assert_eq!(self.say(&library.display().to_string()), "ok");
    }

    /// Waits for the process itself, which what it made may outlive.
    pub fn wait_for_first(&mut self) {
        let input = self.child.stdin.take();
        self.child.wait().unwrap();
        self.child.stdin = input;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn line(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// A file with C in it, built as a library or a program.
pub fn built(place: &Path, name: &str, source: &str, options: &[&str]) -> PathBuf {
    let (text, file) = (place.join(format!("{name}.c")), place.join(name));
    std::fs::write(&text, source).unwrap();
    let mut compiler = Command::new("cc");
    compiler.arg("-o").arg(&file).arg(&text).args(options);
    assert!(compiler.status().unwrap().success(), "{name}");
    file
}

pub fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}
