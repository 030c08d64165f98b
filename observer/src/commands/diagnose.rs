//! `observer diagnose`: one look at this host, then the report.

use std::time::Instant;

use crate::cli::args::DiagnoseArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::{check_destination, deliver, stderr_is_terminal};
use crate::config::Only;
use crate::pipeline::{Mode, Pipeline};

use super::doctor::host::Host;
use super::edge::{Duties, Edge};
use super::progress::Meter;
use super::{configuration, line, live};

/// Looks for as long as asked, or until Ctrl-C.
///
/// # Errors
///
/// The configuration is wrong, or this host does not allow to look.
pub fn run(args: &DiagnoseArgs) -> Outcome {
    let mut config = configuration(args.config.as_deref())?;
    config.only = only(args, &Host::this())?;
    if let Some(port) = args.port {
        config.capture.ports = vec![port];
    }
    let mut source = live::open(&config)?;
    check_destination(args.report.report.as_deref())?;
    let mut pipeline = Pipeline::new(&config, Mode::Live);
    pipeline.tls_is_read(source.reads_tls());
    let edge = Edge::start(Duties::default())?;
    let milliseconds = u64::try_from(args.duration.as_millis()).unwrap_or(u64::MAX);
    let mut meter = Meter::new(format!("Looking for {:?}", args.duration), milliseconds);
    if !stderr_is_terminal() {
        eprintln!("Looking for {:?}; SIGINT ends it early and still reports", args.duration);
    }
    let started = Instant::now();
    line::observe(source.as_mut(), &mut pipeline, &mut |pipeline, _, _| {
        let elapsed = started.elapsed();
        meter.show(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), pipeline.progress());
        elapsed < args.duration && !edge.told.stop()
    })
    .map_err(|error| Failure::not_allowed(format!("capturing ended: {error:#}")))?;
    meter.finish();
    pipeline.conclude(line::now());
    let report = pipeline.report(line::now(), &source.counters());
    // The hooks leave the kernel before the report is read.
    drop(source);
    deliver(&report, &args.report)
}

/// What the command line restricts the look to, checked against the host.
fn only(args: &DiagnoseArgs, host: &Host) -> Result<Only, Failure> {
    if let Some(pid) = args.pid.filter(|pid| !host.path(&format!("proc/{pid}")).exists()) {
        return Err(Failure::wrong(format!("--pid {pid}: no such process")));
    }
    let cgroup = args.cgroup.as_deref().map(|path| cgroup(path, host)).transpose()?;
    Ok(Only { pid: args.pid, cgroup, port: args.port, service: args.service.clone() })
}

/// The path of a cgroup under the cgroup v2 mount; it may be given with the mount point in front, too.
fn cgroup(path: &str, host: &Host) -> Result<String, Failure> {
    let Some(mount) = host.cgroup2_mount() else {
        return Err(Failure::not_allowed(format!("--cgroup {path}: cgroup v2 is not mounted; leave the option out")));
    };
    let below = path.strip_prefix(mount.as_str()).filter(|below| below.is_empty() || below.starts_with('/'));
    let below = below.unwrap_or(path).trim_matches('/');
    let directory = format!("{}/{below}", mount.trim_matches('/'));
    if host.path(&directory).is_dir() {
        Ok(format!("/{below}"))
    } else {
        Err(Failure::wrong(format!("--cgroup {path}: no such cgroup below {mount}; systemd-cgls shows them")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_named_from_its_mount_or_from_the_root() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/self")).unwrap();
        std::fs::create_dir_all(root.path().join("sys/fs/cgroup/system.slice/nginx.service")).unwrap();
        std::fs::write(root.path().join("proc/self/mounts"), "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n").unwrap();
        let host = Host::pictured(root.path().to_owned(), "6.12.0");
        for spelled in
            ["/system.slice/nginx.service", "/sys/fs/cgroup/system.slice/nginx.service/", "system.slice/nginx.service"]
        {
            assert_eq!(cgroup(spelled, &host).unwrap(), "/system.slice/nginx.service", "{spelled}");
        }
        assert_eq!(cgroup("/", &host).unwrap(), "/");
        assert_eq!(
            cgroup("/nothing", &host).unwrap_err().to_string(),
            "--cgroup /nothing: no such cgroup below /sys/fs/cgroup; systemd-cgls shows them"
        );
    }
}
