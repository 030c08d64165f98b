//! The line at work: a source is polled and the pipeline runs, on one thread. What happens beside it comes in as flags, what
//! it finds goes out through a callback.

use std::time::{Duration, SystemTime};

use observer_core::time::Timestamp;

use crate::capture::{Event, Source};
use crate::pipeline::Pipeline;

/// How long a poll waits for events: a flag is noticed within it.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often the pipeline's time passes.
const TICK: Duration = Duration::from_millis(250);

/// The time of this host.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Observes live until `beside`, called some times a second, says to stop.
pub(super) fn observe(
    source: &mut dyn Source,
    pipeline: &mut Pipeline,
    beside: &mut dyn FnMut(&mut Pipeline, &dyn Source, Timestamp) -> bool,
) -> anyhow::Result<()> {
    let mut ticked = Timestamp::default();
    loop {
        let more = source.poll(PATIENCE, &mut |event| pipeline.event(&event))?;
        for (token, what) in pipeline.left_out() {
            source.leave_out(token, what);
        }
        let now = now();
        if now.since(ticked) >= TICK || now < ticked {
            pipeline.tick(now, &source.counters());
            ticked = now;
            if let Some(processes) = pipeline.new_readers() {
                source.tell_readers(processes);
            }
        }
        if !beside(pipeline, source, now) || !more {
            return Ok(());
        }
    }
}

/// Replays a source to its end or until `beside` says to stop. Time passes by the packets, so that every replay is the same.
pub(super) fn replay<S: Source>(
    source: &mut S,
    pipeline: &mut Pipeline,
    beside: &mut dyn FnMut(&Pipeline, &S) -> bool,
) -> anyhow::Result<Timestamp> {
    let mut ticked = None;
    let mut newest = Timestamp::default();
    loop {
        let more = source.poll(PATIENCE, &mut |event| {
            if let Some(at) = time_of(&event) {
                newest = newest.max(at);
                if newest.since(*ticked.get_or_insert(newest)) >= TICK {
                    pipeline.tick(newest, &[]);
                    ticked = Some(newest);
                }
            }
            pipeline.event(&event);
        })?;
        if !beside(pipeline, source) || !more {
            pipeline.tick(newest, &[]);
            return Ok(newest);
        }
    }
}

fn time_of(event: &Event<'_>) -> Option<Timestamp> {
    match event {
        Event::Packet { packet, .. } => Some(packet.at),
        Event::Reads(reading) => Some(reading.at),
        Event::GoCalls(call) => Some(call.at),
        Event::Plain(plain) => Some(plain.at),
        Event::Opaque { at, .. }
        | Event::Unasked { at, .. }
        | Event::SessionBegins { at, .. }
        | Event::SessionEnds { at, .. } => Some(*at),
        Event::Socket(_) | Event::TlsProcess(_) => None,
    }
}
