//! Files that are replaced, written to, or cannot be probed.

use std::fs;

use observer::tls::{Bounds, Library};

use crate::hosts::{Host, LIBRARY, POINTS, Place, built, inode};

#[test]
fn a_library_that_is_replaced_is_probed_as_it_was_and_as_it_is() {
    let place = Place::new();
    let old_inode = inode(&place.library);
    let old = place.process(&[&place.library]);
    fs::rename(built(place.path(), "new.so", LIBRARY, &["-shared"]), &place.library).unwrap();
    // The old file has no name any more when the watch begins.
    let mut host = Host::watch(place.path());
    host.until("the old one", |host| host.observes(old.pid()));
    assert_eq!(host.probed(), [old_inode]);

    let new = place.process(&[&place.library]);
    host.until("the new one", |host| host.observes(new.pid()));
    let mut both = [old_inode, inode(&place.library)];
    both.sort_unstable();
    assert_eq!((host.probed(), host.probes()), (both.to_vec(), 2 * POINTS));

    drop(old);
    host.until("the end of the old one", |host| host.probes() == POINTS);
    assert_eq!(host.probed(), [inode(&place.library)]);

    // Replaced while the watch runs.
    fs::rename(built(place.path(), "newer.so", LIBRARY, &["-shared"]), &place.library).unwrap();
    let newer = place.process(&[&place.library]);
    host.until("the newer one", |host| host.observes(newer.pid()) && host.probes() == 2 * POINTS);
    drop((new, newer));
    host.until("the end", |host| host.probes() == 0);
}

#[test]
fn a_library_that_is_written_to_is_probed_where_its_functions_are_then() {
    let place = Place::new();
    let mut host = Host::watch(place.path());
    let mut process = place.process(&[&place.library]);
    host.until("before", |host| host.observes(process.pid()));
    let before = host.places();
    let source = format!("__asm__(\".text\\n.skip 4096, 0x90\\n\"); {LIBRARY}");
    let other = built(place.path(), "other.so", &source, &["-shared"]);
    drop(process);
    host.until("the end", |host| host.probes() == 0);
    fs::copy(other, &place.library).unwrap();
    process = place.process(&[&place.library]);
    host.until("after", |host| host.observes(process.pid()));
    assert_eq!((host.probed(), host.probes()), (vec![inode(&place.library)], POINTS));
    assert!(host.places().iter().all(|place| !before.contains(place)));
}

#[test]
fn a_library_is_probed_at_all_of_its_points_or_at_none() {
    let place = Place::new();
    let mut host = Host::with(place.path(), Bounds::default(), "tls_writes");
    let process = place.process(&[&place.library]);
    host.until("why not", |host| host.known(process.pid()).is_some());
    let known = host.known(process.pid()).unwrap();
    assert_eq!(known.observed, []);
    assert_eq!(known.unfit, [(Library::OpenSsl, "it cannot be probed: refused".to_owned())]);
    assert_eq!(host.probes(), 0);
}

#[test]
fn bounds_hold_and_are_counted() {
    let place = Place::new();
    let bounds = Bounds { links: POINTS - 1, ..Bounds::default() };
    let mut host = Host::with(place.path(), bounds, "");
    let process = place.process(&[&place.library]);
    host.until("why not", |host| host.known(process.pid()).is_some());
    let known = host.known(process.pid()).unwrap();
    assert_eq!(known.unfit[0].1, "it cannot be probed: 0 probes are attached already: no more fit");

    let mut host = Host::with(place.path(), Bounds { files: 0, ..Bounds::default() }, "");
    host.until("a refusal", |host| host.watch.counters().refused > 0 && host.watch.counters().scans == 1);
    assert!(host.told.is_empty());
}

#[test]
fn java_is_told_and_not_probed() {
    let place = Place::new();
    let machine = built(place.path(), "libjvm.so", "int JNI_CreateJavaVM(void) { return 0; }", &["-shared"]);
    let mut host = Host::watch(place.path());
    let process = place.process(&[&machine]);
    host.until("Java", |host| host.known(process.pid()).is_some());
    let why = "its TLS is compiled at run time and cannot be probed".to_owned();
    assert_eq!(host.known(process.pid()).unwrap().unfit, [(Library::Java, why)]);
}
