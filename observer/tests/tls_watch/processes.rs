//! Processes before, after and in between.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use observer::config::Pattern;
use observer::tls::{Bounds, Library, TlsProcess, survey};

use crate::hosts::{Host, LIBRARY, PATIENCE, POINTS, Place, Process, built, inode};

#[test]
fn a_process_is_found_that_ran_before_starts_after_or_loads_later_and_the_file_is_probed_once() {
    let place = Place::new();
    let before = place.process(&[&place.library]);
    let mut host = Host::watch(place.path());
    host.until("what ran before", |host| host.observes(before.pid()));
    let known = host.known(before.pid()).unwrap();
    assert_eq!((known.command.as_str(), &known.observed[..]), ("loads", &[(Library::OpenSsl, None)][..]));
    assert!(!known.gone);

    let after = place.process(&[&place.library]);
    let mut later = place.process(&[]);
    host.until("what starts", |host| host.observes(after.pid()));
    assert!(host.known(later.pid()).is_none());
    later.load(&place.library);
    host.until("what loads", |host| host.observes(later.pid()));
    assert_eq!((host.probed(), host.probes()), (vec![inode(&place.library)], POINTS));

    let pids = [before.pid(), after.pid(), later.pid()];
    drop((before, after));
    host.until("the end of two", |host| pids[..2].iter().all(|pid| host.is_gone(*pid)));
    assert_eq!(host.probes(), POINTS);
    drop(later);
    host.until("the end of all", |host| host.is_gone(pids[2]) && host.probes() == 0);
    assert_eq!(host.watch.counters().links, 0);

    let again = place.process(&[&place.library]);
    host.until("another one", |host| host.observes(again.pid()));
    assert_eq!(host.probes(), POINTS);
}

#[test]
fn what_a_process_makes_uses_its_files_until_it_runs_another_program() {
    let place = Place::new();
    let mut host = Host::watch(place.path());
    let mut first = place.process(&[&place.library]);
    host.until("the first", |host| host.observes(first.pid()));
    let made: u32 = first.say("fork").parse().unwrap();
    first.wait_for_first();
    host.until("the end of the first", |host| host.is_gone(first.pid()));
    assert!(host.observes(made));
    assert_eq!(host.probes(), POINTS);
    drop(first);
    host.until("the end", |host| host.is_gone(made) && host.probes() == 0);

    let library = place.library.display().to_string();
    let linked =
        built(place.path(), "linked", "int SSL_read(void); int main(void) { return !SSL_read(); }", &[&library]);
    let holder = place.process(&[&place.library]);
    host.until("the library", |host| host.observes(holder.pid()));
    let script = format!("{} && exec cat", linked.display());
    let mut shell =
        Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    host.until("a program of a shell", |host| {
        host.told.iter().any(|process| process.command == "linked" && process.gone)
    });
    assert!(host.known(shell.id()).is_none_or(|process| process.observed.is_empty()));
    drop(shell.stdin.take());
    shell.wait().unwrap();
}

#[test]
fn short_processes_by_the_hundreds_are_told_each_and_cost_one_probing() {
    const COUNT: usize = 300;
    let place = Place::new();
    let library = place.library.display().to_string();
    let short = built(place.path(), "short", "int SSL_read(void); int main(void) { return !SSL_read(); }", &[&library]);
    let bounds = Bounds { linger: Duration::from_secs(30), ..Bounds::default() };
    let mut host = Host::with(place.path(), bounds, "");
    let holder = place.process(&[&place.library]);
    host.until("the first", |host| host.observes(holder.pid()));
    let missed = host.watch.counters().missed;

    let runs = std::thread::spawn(move || {
        let children: Vec<_> = (0..COUNT).map(|_| Command::new(&short).spawn().unwrap()).collect();
        let pids: Vec<u32> = children.iter().map(std::process::Child::id).collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        pids
    });
    let ended = |host: &Host| host.told.iter().filter(|process| process.command == "short" && process.gone).count();
    host.until("all ends", |host| ended(host) >= COUNT);
    let mut each: BTreeMap<u32, Vec<(bool, bool)>> = BTreeMap::new();
    let has_news = |process: &&TlsProcess| process.gone || !process.observed.is_empty();
    for process in host.told.iter().filter(|process| process.command == "short").filter(has_news) {
        each.entry(process.pid).or_default().push((!process.observed.is_empty(), process.gone));
    }
    let mut pids = runs.join().unwrap();
    pids.sort_unstable();
    assert!(each.keys().eq(&pids));
    assert!(each.values().all(|told| told == &[(true, false), (false, true)]), "{each:?}");
    assert_eq!((host.probed(), host.probes()), (vec![inode(&place.library)], POINTS));
    assert_eq!(host.watch.counters().lost, 0);
    // The program itself was met once, whatever else ran meanwhile.
    assert!(host.watch.counters().missed < missed + COUNT as u64 / 2);
    drop(holder);
}

#[test]
fn what_the_kernel_could_not_tell_is_read_from_proc() {
    let place = Place::new();
    let bounds = Bounds { ring_bytes: 4096, linger: Duration::ZERO, ..Bounds::default() };
    let mut host = Host::with(place.path(), bounds, "");
    host.until("the first pass", |host| host.watch.counters().scans == 1);
    let ends = place.process(&[&place.library]);
    host.until("one that will end", |host| host.observes(ends.pid()));
    // More records than fit before any is read.
    for _ in 0..200 {
        assert!(Command::new("true").status().unwrap().success());
    }
    let ended = ends.pid();
    drop(ends);
    let stays = place.process(&[&place.library]);
    host.until("losses", |host| host.watch.counters().lost > 0);
    host.until("another pass", |host| host.watch.counters().scans > 1);
    host.until("who came and who went", |host| host.observes(stays.pid()) && host.is_gone(ended));
}

#[test]
fn a_library_is_probed_however_many_files_its_process_has_mapped() {
    const COUNT: usize = 1_500;
    let place = Place::new();
    let other = built(place.path(), "other.so", "int other(void) { return 1; }", &["-shared"]);
    let copy = |number: usize| {
        let copy = place.path().join(format!("{number}.so"));
        fs::copy(&other, &copy).unwrap();
        copy
    };
    let copies: Vec<PathBuf> = (0..COUNT).map(copy).collect();
    // What is mapped first has the highest address, and is read last.
    let libraries: Vec<&Path> = [&place.library].into_iter().chain(&copies).map(PathBuf::as_path).collect();
    let process = place.process(&libraries);
    let mut host = Host::watch(place.path());
    host.until("the library", |host| host.observes(process.pid()));
    assert_eq!(host.watch.counters().refused, 0);
    host.until("the rest", |host| host.watch.is_settled());
}

#[test]
fn a_process_whose_first_thread_ended_is_observed_as_long_as_others_run() {
    let place = Place::new();
    let bounds = Bounds { ring_bytes: 4096, linger: Duration::ZERO, ..Bounds::default() };
    let mut host = Host::with(place.path(), bounds, "");
    let mut process = place.process(&[&place.library]);
    host.until("the process", |host| host.observes(process.pid()));
    assert_eq!(process.say("thread"), "ok");
    let maps = format!("/proc/{}/maps", process.pid());
    host.until("the end of its first thread", |_| fs::read(&maps).is_ok_and(|maps| maps.is_empty()));
    let before = host.watch.counters().scans;
    // More records than fit before any is read.
    for _ in 0..200 {
        assert!(Command::new("true").status().unwrap().success());
    }
    host.until("another pass", |host| host.watch.counters().scans > before);
    assert!(host.observes(process.pid()) && host.probes() == POINTS, "{:?}", host.known(process.pid()));
}

#[test]
fn processes_of_other_cgroups_are_left_alone() {
    let place = Place::new();
    let group = Group::new();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("echo $$ > {}/cgroup.procs; exec \"$0\" \"$1\"", group.0.display())]);
    let inside = Process::start(command.arg(&place.program).arg(&place.library), 1);
    let path = group.0.file_name().unwrap().to_str().unwrap().to_owned();
    let bounds = Bounds { linger: Duration::ZERO, ..Bounds::default() };
    let mut host = Host::within(Some(path), &[], place.path(), bounds, "");
    let outside = place.process(&[&place.library]);
    let mut later = place.process(&[]);
    host.until("the one inside", |host| host.observes(inside.pid()));
    later.load(&place.library);
    fs::write(group.0.join("cgroup.procs"), later.pid().to_string()).unwrap();
    later.load(&built(place.path(), "another.so", LIBRARY, &["-shared"]));
    host.until("the one that came in", |host| host.observes(later.pid()));
    assert!(host.known(outside.pid()).is_none());
    drop((inside, later));
    host.until("their end", |host| host.probes() == 0);
}

#[test]
fn who_calls_itself_otherwise_is_told_by_that_name() {
    let place = Place::new();
    let mut host = Host::leaving(&["quiet"], place.path(), Bounds { linger: Duration::ZERO, ..Bounds::default() }, "");
    let mut process = place.process(&[&place.library]);
    host.until("the process", |host| host.observes(process.pid()));
    assert_eq!(process.say("name quiet"), "ok");
    let known = |host: &Host| host.known(process.pid()).cloned().unwrap();
    host.until("its new name", |host| known(host).command == "quiet" && host.probes() == 0);
    assert_eq!(known(&host).observed, []);
    let (found, _) = survey(PATIENCE, &[Pattern::new("quiet")], None);
    let surveyed = found.into_iter().find(|found| found.pid == process.pid()).unwrap();
    assert_eq!((surveyed.observed, surveyed.unfit), (vec![], known(&host).unfit));
}

/// A cgroup that is removed with the value.
struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let root = observer::capture::cgroup::root().expect("cgroup v2 is mounted");
        let path = root.join(format!("observer-tls-watch-{}", std::process::id()));
        fs::create_dir(&path).expect("cgroup v2 is writable");
        Self(path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A cgroup can be removed once its last process is reaped.
        while fs::remove_dir(&self.0).is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy) {
            std::thread::yield_now();
        }
    }
}
