use std::time::SystemTime;

use super::*;
use crate::tls::watch::proc::Device;
use crate::tls::{Found, Point};

const NO_NAME: fn() -> String = String::new;

fn mapping(inode: u64) -> Mapping {
    let place = Place { device: Device { major: 8, minor: 1 }, inode };
    Mapping { place, generation: Some(1), range: 0x1000..0x2000, path: "/lib.so".into() }
}

/// A file with a library in it.
fn sight(inode: u64) -> Sight {
    let points = vec![Point { program: "tls_begins", offset: 64 }];
    let found = vec![Found { library: Library::OpenSsl, version: None, points }];
    let examined = Arc::new(Examined { machine: Machine::X86_64, found, unfit: Vec::new() });
    let identity = Identity { device: 8, inode, born: Some(SystemTime::UNIX_EPOCH) };
    Sight { identity, content: Content { bytes: 9, modified: (1, 2) }, examined: Some(examined) }
}

fn table(leave: &[&str]) -> (Table, Instant) {
    let scope = if leave.is_empty() { Scope::All } else { Scope::Added };
    (Table::new(Bounds::default(), leave.iter().map(|text| Pattern::new(text)).collect(), scope), Instant::now())
}

#[test]
fn a_file_that_could_not_be_opened_through_one_process_is_looked_at_through_the_others() {
    let (mut table, now) = table(&[]);
    let (file, place) = (mapping(7), mapping(7).place);
    let id = table.mapped(1, &file, NO_NAME, now).unwrap();
    for pid in [2, 3] {
        assert_eq!(table.mapped(pid, &file, NO_NAME, now), None, "it is being looked at");
    }
    table.missed(id, 1, place);
    let next = table.again().pop_first().unwrap();
    // That one ends before it is read again.
    table.exits(next, now);
    let last = 5 - next;
    assert_eq!(table.again(), BTreeSet::from([last]));
    assert_eq!(table.mapped(last, &file, NO_NAME, now), Some(id));
    assert!(matches!(&table.seen(id, last, place, sight(7), now)[..], [Order::Probe(..)]));
    assert_eq!(table.users(id), [last]);
}

#[test]
fn a_file_that_nobody_could_open_is_forgotten_until_another_process_maps_it() {
    let (mut table, now) = table(&[]);
    let id = table.mapped(1, &mapping(7), NO_NAME, now).unwrap();
    table.missed(id, 1, mapping(7).place);
    assert!(table.again().is_empty() && table.files.is_empty() && table.places.is_empty());
    assert!(table.mapped(2, &mapping(7), NO_NAME, now).is_some());
}

#[test]
fn a_file_that_found_no_room_is_asked_for_again() {
    let (mut table, now) = table(&[]);
    let id = table.mapped(1, &mapping(7), NO_NAME, now).unwrap();
    table.postpone(id, 1);
    assert_eq!(table.again(), BTreeSet::from([1]));
    assert_eq!(table.mapped(1, &mapping(7), NO_NAME, now), Some(id));
}

#[test]
fn a_file_that_cannot_be_read_is_tried_again_and_not_for_ever() {
    let (mut table, now) = table(&[]);
    let id = table.mapped(1, &mapping(7), NO_NAME, now).unwrap();
    for _ in 1..READS_MAX {
        assert!(table.fails(id));
        assert_eq!(table.mapped(1, &mapping(7), NO_NAME, now), Some(id));
    }
    assert!(!table.fails(id));
}

#[test]
fn a_file_whose_last_user_has_another_one_by_now_is_left_after_a_while() {
    let (mut table, now) = table(&[]);
    let (file, place) = (mapping(7), mapping(7).place);
    let id = table.mapped(1, &file, NO_NAME, now).unwrap();
    table.seen(id, 1, place, sight(7), now);
    table.probed(id, vec![(Library::OpenSsl, Ok(()))]);
    // Another file is found at the place of the first, whose only user turns out to have mapped that one.
    let later = now + CHECK_EVERY;
    assert_eq!(table.mapped(1, &file, NO_NAME, later), Some(id));
    assert!(matches!(&table.seen(id, 1, place, sight(8), later)[..], [Order::Probe(new, _)] if *new != id));
    let orders = table.sweep(later + LINGER, LINGER);
    assert!(matches!(orders[..], [Order::Leave(left)] if left == id), "{orders:?}");
}

#[test]
fn who_calls_itself_otherwise_is_left_alone_or_not_by_its_new_name() {
    let (mut table, now) = table(&["quiet"]);
    let id = table.mapped(1, &mapping(7), || "worker".to_owned(), now).unwrap();
    table.seen(id, 1, mapping(7).place, sight(7), now);
    table.probed(id, vec![(Library::OpenSsl, Ok(()))]);
    assert_eq!(table.uses(), [(id, 1, true)]);
    table.renamed(1, "quiet", now);
    assert_eq!(table.uses(), [(id, 1, false)]);
    assert!(matches!(table.sweep(now + LINGER, LINGER)[..], [Order::Leave(_)]));
    let known = |table: &mut Table| table.changes().pop().unwrap();
    assert_eq!(known(&mut table).unfit, [(Library::OpenSsl, LEFT_ALONE.to_owned())]);

    table.renamed(1, "worker", now);
    assert_eq!(table.again(), BTreeSet::from([1]));
    assert_eq!(table.mapped(1, &mapping(7), NO_NAME, now), Some(id));
    assert!(matches!(table.seen(id, 1, mapping(7).place, sight(7), now)[..], [Order::Probe(..)]));
}

#[test]
fn places_keep_their_bound_where_all_of_them_are_of_files_that_are_known() {
    let (mut table, now) = table(&[]);
    table.bounds.places = 4;
    for inode in 0..40 {
        // The same file at many places.
        if let Some(id) = table.mapped(1, &mapping(inode), NO_NAME, now) {
            table.seen(id, 1, mapping(inode).place, sight(7), now);
        }
        assert!(table.places.len() <= 4, "{}", table.places.len());
    }
    assert_eq!(table.files.len(), 1);
}
