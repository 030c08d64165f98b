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
        let goes_on = beside(pipeline, source, now);
        if !goes_on && more {
            // What happened until now may have come since the poll: a report alone takes milliseconds.
            source.poll(PATIENCE, &mut |event| pipeline.event(&event))?;
        }
        if !goes_on || !more {
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use observer_core::connection::{Address, Flow, Packet, Tap};

    use super::*;
    use crate::capture::SourceCounters;
    use crate::config::Config;
    use crate::pipeline::Mode;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n";

    /// A source of which a request has just arrived, where that is set.
    struct Arrives(Rc<Cell<bool>>);

    impl Source for Arrives {
        fn poll(&mut self, _patience: Duration, tell: &mut dyn FnMut(Event<'_>)) -> anyhow::Result<bool> {
            if self.0.take() {
                let end = |port| Address { ip: [127, 0, 0, 1].into(), port };
                let packet = Packet {
                    at: now(),
                    flow: Flow { source: end(50_000), destination: end(80) },
                    seq: 1,
                    ack: None,
                    wire_len: u32::try_from(REQUEST.len())?,
                    bytes: REQUEST,
                    link: None,
                    tap: Tap::Wire,
                    closes: false,
                    resets: false,
                    token: 0,
                };
                tell(Event::Packet { packet, cgroup: 0 });
            }
            Ok(true)
        }

        fn counters(&self) -> Vec<SourceCounters> {
            Vec::new()
        }
    }

    #[test]
    fn what_arrives_until_it_is_told_to_stop_is_observed() {
        let mut pipeline = Pipeline::new(&Config::default(), Mode::File);
        let arrived = Rc::new(Cell::new(false));
        observe(&mut Arrives(Rc::clone(&arrived)), &mut pipeline, &mut |_, _, _| {
            arrived.set(true);
            false
        })
        .unwrap();
        assert_eq!(pipeline.report(now(), &[]).requests.len(), 1);
    }
}
