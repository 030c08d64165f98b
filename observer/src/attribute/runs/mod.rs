//! A process comes in; what it runs goes out: runtime, version, and the libraries that make, carry or lose trace contexts. Files are
//! only read, as the process sees them, within bounds; nothing is executed. This may take a second and stands beside the line.

mod files;
mod found;
mod java;
mod native;
mod node;
mod python;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use observer_core::audit::runs::{Runs, Runtime};

use super::process::{Incarnation, Places, read_text};
use super::program::{Language, language};
use crate::tls::origin::constant_version;
use files::Files;
use found::Found;

/// The libraries of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Libraries {
    libraries: BTreeMap<String, Option<String>>,
    /// Why these are not all.
    unread: Option<String>,
}

impl Libraries {
    fn unread(why: &str) -> Self {
        Self { libraries: BTreeMap::new(), unread: Some(why.to_owned()) }
    }
}

/// What was seen of a process.
struct Look {
    runtime: Runtime,
    version: Option<String>,
    libraries: Libraries,
}

/// Bytes of a command name: 15 and the end of the line (`TASK_COMM_LEN`, linux/sched.h).
const COMMAND_BYTES_MAX: usize = 64;

/// What a process runs, if it is still the one of which `incarnation` was told; `command` is what it was called when it was heard of.
pub fn runs(places: &Places, pid: u32, incarnation: Incarnation, command: &str) -> Runs {
    let process = places.of_process(pid, "");
    let is_same = || places.stat(pid).is_some_and(|stat| stat.incarnation == incarnation);
    let gone = || Runs::unknown(pid, command.to_owned(), "it ended before it could be looked at".to_owned());
    if !is_same() {
        return gone();
    }
    let mapped: Vec<_> = crate::tls::mappings(pid).into_iter().map(|mapping| mapping.path.into()).collect();
    let (Some(found), Some(files)) = (Found::of(&process, &mapped), Files::of(&process)) else {
        return if is_same() {
            Runs::unknown(pid, command.to_owned(), "what it runs may not be read".to_owned())
        } else {
            gone()
        };
    };
    // Through this name a program that was deleted can be read, too.
    let program = File::open(process.join("exe")).ok();
    let look = look(&found, &files, program.as_ref(), &process);
    if !is_same() {
        // What was read may be of the next program.
        return gone();
    }
    let Look { runtime, version, libraries: Libraries { libraries, unread } } = look;
    let own = read_text(&process.join("comm"), COMMAND_BYTES_MAX).map(|name| name.trim_end().to_owned());
    let command = own.filter(|name| !name.is_empty()).unwrap_or_else(|| command.to_owned());
    Runs { runtime, version, libraries, command, pid, unread }
}

fn look(found: &Found, files: &Files, program: Option<&File>, process: &Path) -> Look {
    let unread =
        |runtime, version| Look { runtime, version, libraries: Libraries::unread("its libraries are not read") };
    let by_name = language(&found.executable.to_string_lossy());
    let is_python = by_name == Language::Python || found.maps("libpython").is_some();
    if is_python {
        let series = python::series(found);
        let begin = series.as_ref().map_or("3.".to_owned(), |series| format!("{series}."));
        let library = found.maps("libpython").and_then(|path| files.open(path));
        let version = library.as_ref().or(program).and_then(|file| constant_version(file, "", &begin));
        let libraries = python::libraries(found, files, series.as_deref().or(version.as_deref().map(major_minor)));
        return Look { runtime: Runtime::Python, version: version.or(series), libraries };
    }
    if found.maps("libjvm.so").is_some() {
        let version = java::version(found, files);
        return Look { runtime: Runtime::Java, version, libraries: java::libraries(found, files, process) };
    }
    match by_name {
        Language::JavaScript if found.name().starts_with("node") => {
            let library = found.maps("libnode").and_then(|path| files.open(path));
            let version = library.as_ref().or(program).and_then(|file| constant_version(file, "node.js/v", ""));
            return Look { runtime: Runtime::Node, version, libraries: node::libraries(found, files) };
        }
        Language::Ruby => return unread(Runtime::Ruby, found.maps("libruby").and_then(native::version_in_path)),
        Language::Php => return unread(Runtime::Php, series_of(found.name())),
        Language::Dotnet => {
            return unread(Runtime::Dotnet, found.maps("libcoreclr.so").and_then(native::version_in_path));
        }
        _ => {}
    }
    if found.maps("libcoreclr.so").is_some() {
        return unread(Runtime::Dotnet, found.maps("libcoreclr.so").and_then(native::version_in_path));
    }
    native::look(found, program)
}

/// `3.11.2` → 3.11.
fn major_minor(version: &str) -> &str {
    version.match_indices('.').nth(1).map_or(version, |(at, _)| &version[..at])
}

/// `php-fpm8.2` → 8.2.
fn series_of(name: &str) -> Option<String> {
    let series = name.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    (!series.is_empty()).then(|| series.to_owned())
}
