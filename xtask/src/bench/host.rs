//! Where and when a figure was measured: nothing comes in; what a reader needs to judge it goes out.

use serde::Serialize;
use std::fs;
use std::process::Command;

/// The machine, the time and the command.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Host {
    /// UTC.
    pub(crate) date: String,
    /// As `uname -r`.
    pub(crate) kernel: String,
    /// As in /proc/cpuinfo.
    pub(crate) processor: String,
    /// How many of them.
    pub(crate) processors: usize,
    /// How this run was started.
    pub(crate) command: String,
    /// Tasks ready to run before it began: other work makes the figures wide.
    pub(crate) load_average: String,
}

/// Of this moment.
pub(crate) fn describe() -> Host {
    let printed = |program: &str, argument: &str| {
        let output = Command::new(program).arg("-u").arg(argument).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Host {
        date: printed("date", "+%Y-%m-%dT%H:%M:%SZ"),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        processor: model.map(|(_, name)| name.to_owned()).unwrap_or_default(),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        command: std::env::args().skip(1).fold("cargo xtask".to_owned(), |all, argument| all + " " + &argument),
        load_average: load.split(' ').next().unwrap_or_default().to_owned(),
    }
}
