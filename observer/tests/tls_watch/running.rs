//! The program itself: what it attaches to processes, and that nothing of it is left however it ends.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::hosts::{PATIENCE, Place};

/// The breakpoint that stands in for the first byte of a function that is probed.
const BREAKPOINT: u8 = 0xcc;

/// Held by a test with an agent, which probes the processes of the others too.
static ALONE: Mutex<()> = Mutex::new(());

/// What is probed.
const FUNCTIONS: [&str; 3] = ["SSL_read", "SSL_write", "SSL_free"];

/// The first bytes of these in the memory of a process.
fn first_bytes(pid: u32, library: &Path) -> [u8; 3] {
    FUNCTIONS.map(|name| first_byte(pid, library, name))
}

/// The first byte of a function in the memory of a process.
fn first_byte(pid: u32, library: &Path, name: &str) -> u8 {
    let symbols = Command::new("nm").arg("-D").arg(library).output().unwrap();
    let symbols = String::from_utf8(symbols.stdout).unwrap();
    let symbol = symbols.lines().find(|line| line.ends_with(&format!(" T {name}"))).unwrap();
    let address = u64::from_str_radix(symbol.split(' ').next().unwrap(), 16).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    // The first mapping of a library begins at its address zero.
    let first = maps.lines().find(|line| line.ends_with(&library.display().to_string())).unwrap();
    let base = u64::from_str_radix(first.split('-').next().unwrap(), 16).unwrap();
    let mut byte = [0];
    File::open(format!("/proc/{pid}/mem")).unwrap().read_exact_at(&mut byte, base + address).unwrap();
    byte[0]
}

/// The agent with such a section `capture`.
fn agent(place: &Place, capture: &str) -> Child {
    let config = place.path().join("observer.yaml");
    std::fs::write(&config, format!("prometheus: false\ncapture: {capture}\n")).unwrap();
    let mut agent = Command::new(env!("CARGO_BIN_EXE_observer"));
    agent.arg("run").arg("--config").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[track_caller]
fn until(agent: &mut Child, what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: {:?}", agent.try_wait());
        std::thread::yield_now();
    }
}

#[test]
fn the_agent_probes_what_runs_and_killed_it_leaves_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let place = Place::new();
    let process = place.process(&[&place.library]);
    let bytes = || first_bytes(process.pid(), &place.library);
    let before = bytes();
    assert!(before.iter().all(|byte| *byte != BREAKPOINT));
    let mut agent = agent(&place, "{}");
    until(&mut agent, "breakpoints", || bytes() == [BREAKPOINT; 3]);
    agent.kill().unwrap();
    agent.wait().unwrap();
    until(&mut agent, "none", || bytes() == before);
}

#[test]
fn in_a_process_that_is_left_alone_is_no_breakpoint_whoever_else_uses_its_library() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let place = Place::new();
    let left = place.process_called("left", &[&place.library]);
    let before = first_bytes(left.pid(), &place.library);
    let mut other = place.process(&[&place.library]);
    let mut agent = agent(&place, "{tls_leave: [left]}");
    until(&mut agent, "the other", || first_bytes(other.pid(), &place.library) == [BREAKPOINT; 3]);
    let made: u32 = other.say("fork").parse().unwrap();
    other.wait_for_first();
    // What it was made with may be taken away before it is added.
    until(&mut agent, "what it made", || first_bytes(made, &place.library) == [BREAKPOINT; 3]);
    let late = place.process_called("left-not", &[&place.library]);
    until(&mut agent, "another one", || first_bytes(late.pid(), &place.library) == [BREAKPOINT; 3]);
    assert_eq!(first_bytes(left.pid(), &place.library), before);

    let process = rustix::process::Pid::from_raw(agent.id().try_into().unwrap()).unwrap();
    let group = format!("observer_{}_", agent.id());
    let tracefs = Path::new("/sys/kernel/tracing/uprobe_events");
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    agent.wait().unwrap();
    for pid in [made, late.pid(), left.pid()] {
        assert_eq!(first_bytes(pid, &place.library), before);
    }
    assert!(!std::fs::read_to_string(tracefs).is_ok_and(|list| list.contains(&group)));
}
