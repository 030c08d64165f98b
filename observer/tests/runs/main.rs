//! What real processes run, told from outside while they run: the interpreters and libraries of the demo's services, programs in Go
//! and Rust, Java, nginx, and one with a root of its own.
#![allow(missing_docs)]

mod containers;
mod interpreters;
mod programs;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use observer::attribute::process::Places;
use observer::attribute::runs::runs;
use observer_core::audit::runs::Runs;

/// A process that says a line when it is ready and ends with this.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), "ready", "{command:?}");
        Self(child)
    }

    fn runs(&self) -> Runs {
        runs_of(self.0.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn runs_of(pid: u32) -> Runs {
    let places = Places::of_this_host();
    let stat = places.stat(pid).unwrap();
    runs(&places, pid, stat.incarnation, "fallback")
}

/// Waits for a condition.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a program prints, without the end of the line.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
