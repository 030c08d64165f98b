//! Where real programs and libraries are to be probed, against what binutils say of them.
#![allow(missing_docs)]

mod broken;
mod go;
mod goroutines;
mod libraries;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use observer::tls::{Examined, Found, Library, examine};

type Points = BTreeSet<(&'static str, u64)>;

fn look(path: &Path) -> Examined {
    look_open(&File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())), path)
}

fn look_open(file: &File, path: &Path) -> Examined {
    examine(file, &path.display().to_string()).unwrap_or_else(|error| panic!("{error}"))
}

/// The one library that was found, and its points.
fn only(examined: &Examined) -> (Library, Option<String>, Points) {
    let [Found { library, version, points }] = &examined.found[..] else { panic!("{examined:?}") };
    let set: Points = points.iter().map(|point| (point.program, point.offset)).collect();
    assert_eq!(set.len(), points.len(), "each point once");
    (*library, version.clone(), set)
}

/// What a program of this machine prints.
fn output(program: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(path).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?} {}", path.display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The functions that a file defines, as places in the file, by `nm` and `readelf`.
fn functions(path: &Path, of: &[&str]) -> BTreeMap<String, u64> {
    let segments = output("readelf", &["-lW"], path);
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let loads = segments.lines().filter(|line| line.trim_start().starts_with("LOAD"));
    let loads: Vec<(u64, u64, u64)> = loads
        .map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            (number(fields[1]), number(fields[2]), number(fields[4]))
        })
        .collect();
    let symbols = output("nm", of, path);
    let defined = symbols.lines().filter_map(|line| {
        let (address, rest) = line.split_once(' ')?;
        let name = rest.strip_prefix("T ").or_else(|| rest.strip_prefix("t "))?;
        let address = number(address);
        let (offset, begins, _) = *loads.iter().find(|(_, begins, len)| (*begins..begins + len).contains(&address))?;
        Some((name.split('@').next()?.to_owned(), address - begins + offset))
    });
    defined.collect()
}

/// A file with C in it, built as a library or a program.
fn built(place: &Path, name: &str, source: &str, options: &[&str]) -> PathBuf {
    let (text, file) = (place.join(format!("{name}.c")), place.join(name));
    std::fs::write(&text, source).unwrap();
    let mut compiler = Command::new("cc");
    compiler.arg("-o").arg(&file).arg(&text).args(options);
    assert!(compiler.status().unwrap().success(), "{name}");
    file
}
