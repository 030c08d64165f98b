//! `observer diagnose`: one look at this host, then the report.

use std::time::Instant;

use crate::cli::args::DiagnoseArgs;
use crate::cli::deliver;
use crate::cli::exit::{Failure, Outcome};
use crate::config::Only;
use crate::pipeline::{Mode, Pipeline};

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
    config.only = Only { pid: args.pid, cgroup: args.cgroup.clone(), port: args.port, service: args.service.clone() };
    if let Some(pid) = args.pid.filter(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
        return Err(Failure::wrong(format!("--pid {pid}: no such process")));
    }
    let mut source = live::open(&config)?;
    let mut pipeline = Pipeline::new(&config, Mode::Live)?;
    let edge = Edge::start(Duties::default())?;
    let milliseconds = u64::try_from(args.duration.as_millis()).unwrap_or(u64::MAX);
    let mut meter = Meter::new(format!("Looking for {:?}", args.duration), milliseconds);
    let started = Instant::now();
    line::observe(source.as_mut(), &mut pipeline, &mut |pipeline, _, _| {
        let elapsed = started.elapsed();
        meter.show(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), pipeline.progress());
        elapsed < args.duration && !edge.told.stop()
    })
    .map_err(|error| Failure::not_allowed(format!("capturing ended: {error:#}")))?;
    meter.finish();
    let report = pipeline.report(line::now(), &source.counters());
    // The hooks leave the kernel before the report is read.
    drop(source);
    deliver(&report, &args.report)
}
