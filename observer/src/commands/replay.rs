//! `observer replay`: a capture file comes in, its report goes out.

use crate::capture::Source as _;
use crate::capture::file::FileCapture;
use crate::cli::args::ReplayArgs;
use crate::cli::exit::Outcome;
use crate::cli::{check_destination, deliver};
use crate::pipeline::{Mode, Pipeline};

use super::edge::{Duties, Edge};
use super::progress::Meter;
use super::{configuration, line};

/// Replays a file. Ctrl-C ends it early and still reports.
///
/// # Errors
///
/// The configuration or the file is wrong.
pub fn run(args: &ReplayArgs) -> Outcome {
    let config = configuration(args.config.as_deref())?;
    let mut capture = FileCapture::open(&args.file)?;
    check_destination(args.report.report.as_deref())?;
    let mut pipeline = Pipeline::new(&config, Mode::File);
    let edge = Edge::start(Duties::default())?;
    let (_, total) = capture.progress();
    let mut meter = Meter::new(format!("Reading {}", args.file.display()), total.unwrap_or(0));
    let newest = line::replay(&mut capture, &mut pipeline, &mut |pipeline, capture| {
        meter.show(capture.progress().0, pipeline.progress());
        !edge.told.stop()
    })?;
    meter.finish();
    let report = pipeline.report(newest, &capture.counters());
    deliver(&report, &args.report)
}
