//! Processes that are to be left alone.

use std::process::Command;
use std::time::Duration;

use observer::tls::{Bounds, Library};

use crate::hosts::{Host, POINTS, Place, Process};

const LEAVE: [&str; 1] = ["left*"];

fn watch(place: &Place) -> Host {
    Host::leaving(&LEAVE, place.path(), Bounds { linger: Duration::ZERO, ..Bounds::default() }, "")
}

fn is_left(host: &Host, pid: u32) -> bool {
    let why = (Library::OpenSsl, "left alone by capture.tls_leave".to_owned());
    host.known(pid).is_some_and(|known| known.unfit == [why] && known.observed.is_empty())
}

#[test]
fn what_only_processes_use_that_are_left_alone_is_not_probed() {
    let place = Place::new();
    let before = place.process_called("left-before", &[&place.library]);
    let mut host = watch(&place);
    host.until("the one that ran before", |host| is_left(host, before.pid()));
    let mut after = place.process_called("left-after", &[]);
    after.load(&place.library);
    host.until("the one that came after", |host| is_left(host, after.pid()));
    let made = after.say("fork").parse().unwrap();
    host.until("the one that it made", |host| is_left(host, made));
    assert_eq!(host.probes(), 0);
    after.wait_for_first();
}

#[test]
fn what_others_use_too_is_probed_for_them_and_what_they_make_alone() {
    let place = Place::new();
    let left = place.process_called("left", &[&place.library]);
    let before = place.process(&[&place.library]);
    let mut host = watch(&place);
    host.until("both that ran before", |host| is_left(host, left.pid()) && host.observes(before.pid()));
    host.until("the probes of one", |host| host.added(before.pid()) == POINTS);
    let mut after = place.process(&[&place.library]);
    host.until("one that came after", |host| host.observes(after.pid()) && host.added(after.pid()) == POINTS);
    let made: u32 = after.say("fork").parse().unwrap();
    after.wait_for_first();
    host.until("what it made, and its end", |host| {
        host.observes(made) && host.added(made) == POINTS && host.added(after.pid()) == 0
    });
    assert!(is_left(&host, left.pid()));
    assert_eq!((host.probes(), host.added(left.pid()), host.watch.counters().links), (POINTS, 0, 3 * POINTS));
    drop((before, after));
    host.until("the end of all but one", |host| host.probes() == 0);
    host.until("no links", |host| host.watch.counters().links == 0);
    assert!(is_left(&host, left.pid()));
}

#[test]
fn processes_beyond_the_bound_are_told() {
    let place = Place::new();
    let bounds = Bounds { links: 2 * POINTS, ..Bounds::default() };
    let mut host = Host::leaving(&LEAVE, place.path(), bounds, "");
    let first = place.process(&[&place.library]);
    host.until("the first", |host| host.added(first.pid()) == POINTS);
    let second = place.process(&[&place.library]);
    let why = format!("it cannot be probed: {} probes are attached already: no more fit", 2 * POINTS);
    host.until("the second", |host| {
        host.known(second.pid()).is_some_and(|known| known.unfit == [(Library::OpenSsl, why.clone())])
    });
    assert!(host.observes(first.pid()));
}

#[test]
fn who_runs_another_program_is_another() {
    let place = Place::new();
    let mut host = watch(&place);
    let mut shell = Command::new("sh");
    std::fs::copy(&place.program, place.path().join("left")).unwrap();
    shell.args(["-c", "exec \"$0\" \"$1\""]).arg(place.path().join("left")).arg(&place.library);
    let left = Process::start(&mut shell, 1);
    host.until("what the shell became", |host| is_left(host, left.pid()));
    assert_eq!(host.probes(), 0);
}
