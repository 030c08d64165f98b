//! Processes with file systems of their own.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::hosts::{Host, POINTS, Place, Process, inode};

/// A root with the program, a library and what they need.
fn image(place: &Place, root: &Path) {
    let needs = Command::new("ldd").arg(&place.program).output().unwrap();
    let needs = String::from_utf8(needs.stdout).unwrap();
    let files = needs.split_ascii_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
    for file in files {
        let copy = root.join(file.strip_prefix("/").unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(file, copy).unwrap();
    }
    fs::create_dir_all(root.join("inside")).unwrap();
    fs::copy(&place.program, root.join("inside/loads")).unwrap();
    fs::copy(&place.library, root.join("inside/libssl.so")).unwrap();
}

/// A process in mount and pid namespaces of its own; `mounts` are made before its root is `root`.
fn contained(mounts: &str, root: &Path) -> Process {
    let script = format!("{mounts} exec chroot {} /inside/loads /inside/libssl.so", root.display());
    Process::start(Command::new("unshare").args(["-m", "-p", "-f", "--kill-child", "sh", "-c", &script]), 1)
}

/// The process that the container's file is mapped by, as this pid namespace knows it.
fn inner(host: &Host, outer: &Process) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", outer.pid())).unwrap();
    children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| host.observes(*pid))
}

#[test]
fn a_container_with_its_own_copy_is_probed_there() {
    let place = Place::new();
    let root = place.path().join("root");
    image(&place, &root);
    let before = contained("", &root);
    let mut host = Host::watch(place.path());
    host.until("what ran before", |host| inner(host, &before).is_some());
    assert_eq!((host.probed(), host.probes()), (vec![inode(&root.join("inside/libssl.so"))], POINTS));

    let other_root = place.path().join("other");
    image(&place, &other_root);
    let after = contained("", &other_root);
    host.until("what starts", |host| inner(host, &after).is_some());
    assert_eq!(host.probes(), 2 * POINTS);
    drop((before, after));
    host.until("the end", |host| host.probes() == 0);
}

#[test]
fn containers_above_one_image_share_its_probes() {
    let place = Place::new();
    let lower = place.path().join("lower");
    image(&place, &lower);
    let overlay = |name: &str| {
        let [upper, work, merged] = ["upper", "work", "merged"].map(|part| place.path().join(name).join(part));
        for directory in [&upper, &work, &merged] {
            fs::create_dir_all(directory).unwrap();
        }
        let (lower, upper, work) = (lower.display(), upper.display(), work.display());
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        contained(&format!("mount -t overlay overlay -o {options} {} &&", merged.display()), &merged)
    };
    let mut host = Host::watch(place.path());
    let (one, other) = (overlay("one"), overlay("other"));
    host.until("both", |host| inner(host, &one).is_some() && inner(host, &other).is_some());
    assert_eq!(host.probes(), POINTS);
    drop(one);
    host.until("the end of one", |host| host.told.iter().any(|process| process.gone));
    assert_eq!(host.probes(), POINTS);
    drop(other);
    host.until("the end", |host| host.probes() == 0);
}
