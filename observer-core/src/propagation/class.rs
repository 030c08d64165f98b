//! Classes of hops of one workload: hops without the context of a request come in; whether their class provably follows
//! requests, and so may be accused, goes out.
//!
//! A poller, an exporter or a cron job sends requests while others are in flight, too. Its times do not depend on them: at a
//! random moment the number in flight is, on average, the average number in flight. So with every hop the product of
//! (number in flight now ÷ average number in flight) is a bet that a poller cannot win (Ville's inequality: it exceeds 1/α
//! with a chance of at most α, ever), and that a class which follows requests does win.

use rustc_hash::FxHashMap;

use super::correction::{Corrections, Example};
use super::load::{Load, Mark, average};
use super::{Outcome, shape};
use crate::ids::ServiceId;
use crate::time::Timestamp;

/// The part of the stake that is bet on each hop. Less than all of it, so that one hop of a class that is also sent now and
/// then while nothing is in flight does not end the proof for good.
const STAKE: f64 = 0.9;
/// The most that one hop can count, as a ratio: some twelve hops are needed at the default rate, however idle the service.
const RATIO_MAX: f64 = 2.0;
/// Hops nearer to the last one that counted do not count: a poller that sends a burst sends it once.
const APART: std::time::Duration = std::time::Duration::from_millis(20);
/// Examples kept of a class that is not proven yet.
const EXAMPLES_MAX: usize = 3;
/// Classes of one workload. Hops of further ones stay ambiguous.
pub(super) const CLASSES_PER_WORKLOAD_MAX: usize = 256;

/// How a hop does not carry the trace of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It carries no context.
    Bare,
    /// It carries a trace that never arrived.
    NewTrace,
}

impl Manner {
    /// What such a hop is where every request in flight had a context.
    pub(super) fn accusation(self) -> Outcome {
        match self {
            Self::Bare => Outcome::Lost,
            Self::NewTrace => Outcome::Restarted,
        }
    }
}

/// The hops of one class and manner.
#[derive(Debug, Default)]
struct Ledger {
    /// The logarithm of the product.
    evidence: f64,
    /// The last hop that counted.
    last: Option<Mark>,
    /// Whether one was sent while nothing was in flight: then its hops may be a poller's, and that others of the class are
    /// continued proves nothing of them.
    seen_idle: bool,
    /// Whether the product has reached its goal.
    grows_with_requests: bool,
    /// Whether the class is accused.
    shown: bool,
    /// Hops that are, or would be, lost or restarted.
    accused: u64,
    /// Those of them that came while requests older than the observer may have been in flight.
    early: u64,
    examples: Vec<Example>,
}

#[derive(Debug)]
struct Class {
    service: ServiceId,
    peer: ServiceId,
    /// Whether a hop of it carried the trace of a request.
    continued: bool,
    bare: Ledger,
    new_trace: Ledger,
}

/// A hop that carries no trace of a request.
#[derive(Debug)]
pub(super) struct Stray {
    pub(super) manner: Manner,
    /// What the requests in flight make of it.
    pub(super) outcome: Outcome,
    pub(super) in_flight: u32,
    /// Whether it came while requests older than the observer may have been in flight.
    pub(super) early: bool,
    pub(super) example: Example,
}

/// The class of a hop.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClassName<'a> {
    pub(super) service: ServiceId,
    pub(super) peer: ServiceId,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
}

/// What becomes of a stray hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ruling {
    pub(super) outcome: Outcome,
    /// Whether hops like it were also sent while nothing was in flight.
    pub(super) seen_idle: bool,
}

/// What all workloads' classes share.
#[derive(Debug)]
pub(super) struct Court {
    /// The logarithm of 1/α: the product that proves.
    pub(super) goal: f64,
    /// Classes that may still be added.
    pub(super) room: usize,
    /// Hops whose class could not be kept.
    pub(super) refused: u64,
    pub(super) corrections: Corrections,
}

/// The classes of one workload.
#[derive(Debug, Default)]
pub(super) struct Classes {
    classes: FxHashMap<u64, Class>,
}

impl Classes {
    /// A hop of the class carries the trace of a request.
    pub(super) fn continued(&mut self, name: ClassName<'_>, court: &mut Court) {
        if let Some(class) = self.class(name, court)
            && !class.continued
        {
            class.continued = true;
            class.judge(court);
        }
    }

    /// A hop of the class carries none.
    pub(super) fn stray(&mut self, name: ClassName<'_>, stray: &Stray, load: &mut Load, court: &mut Court) -> Ruling {
        let accused = stray.outcome == stray.manner.accusation();
        let Some(class) = self.class(name, court) else {
            court.refused = court.refused.saturating_add(1);
            let outcome = if accused { Outcome::Ambiguous } else { stray.outcome };
            return Ruling { outcome, seen_idle: true };
        };
        let ledger = class.ledger(stray.manner);
        ledger.weigh(stray.example.at, stray.in_flight, load);
        ledger.grows_with_requests |= ledger.evidence >= court.goal;
        ledger.seen_idle |= stray.outcome == Outcome::Background;
        class.judge(court);
        let ledger = class.ledger(stray.manner);
        if accused {
            ledger.accused = ledger.accused.saturating_add(1);
            ledger.early = ledger.early.saturating_add(u64::from(stray.early));
            if ledger.examples.len() < EXAMPLES_MAX {
                ledger.examples.push(stray.example);
            }
        }
        let outcome = if accused && !ledger.shown { Outcome::Ambiguous } else { stray.outcome };
        Ruling { outcome, seen_idle: ledger.seen_idle }
    }

    /// A request older than the observer was in flight: whatever was accused before may have been its doing.
    pub(super) fn withdraw_early(&mut self, court: &mut Court) {
        for class in self.classes.values_mut() {
            let (service, peer) = (class.service, class.peer);
            for manner in [Manner::Bare, Manner::NewTrace] {
                let ledger = class.ledger(manner);
                let early = std::mem::take(&mut ledger.early);
                if early > 0 {
                    ledger.accused = ledger.accused.saturating_sub(early);
                    let from = if ledger.shown { manner.accusation() } else { Outcome::Ambiguous };
                    court.corrections.add((service, peer), (from, Outcome::Unattributed), early, &[]);
                    ledger.examples.clear();
                }
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.classes.len()
    }

    fn class(&mut self, name: ClassName<'_>, court: &mut Court) -> Option<&mut Class> {
        let key = shape::class_of(name.service, name.peer, name.method, name.path);
        if !self.classes.contains_key(&key) {
            if court.room == 0 || self.classes.len() >= CLASSES_PER_WORKLOAD_MAX {
                return None;
            }
            court.room = court.room.saturating_sub(1);
            let class = Class {
                service: name.service,
                peer: name.peer,
                continued: false,
                bare: Ledger::default(),
                new_trace: Ledger::default(),
            };
            self.classes.insert(key, class);
        }
        self.classes.get_mut(&key)
    }
}

impl Class {
    fn ledger(&mut self, manner: Manner) -> &mut Ledger {
        match manner {
            Manner::Bare => &mut self.bare,
            Manner::NewTrace => &mut self.new_trace,
        }
    }

    /// Draws the conclusions: earlier hops of a class that is now proven are accused, those of one that is no longer are not.
    fn judge(&mut self, court: &mut Court) {
        let (continued, peers) = (self.continued, (self.service, self.peer));
        for manner in [Manner::Bare, Manner::NewTrace] {
            let ledger = self.ledger(manner);
            let shown = ledger.grows_with_requests || (continued && !ledger.seen_idle);
            if shown == ledger.shown {
                continue;
            }
            ledger.shown = shown;
            let (accusation, doubt) = (manner.accusation(), Outcome::Ambiguous);
            let change = if shown { (doubt, accusation) } else { (accusation, doubt) };
            court.corrections.add(peers, change, ledger.accused, &ledger.examples);
        }
    }
}

impl Ledger {
    fn weigh(&mut self, at: Timestamp, in_flight: u32, load: &mut Load) {
        let now = load.mark(at);
        if self.last.is_some_and(|last| now.since(last) < APART) {
            return;
        }
        // The larger of two averages, so that neither a change of the load nor a short look back is taken for a proof.
        let recent = self.last.map_or(0.0, |last| average(last, now));
        let usual = load.long_average(at).max(recent);
        self.last = Some(now);
        if usual > 0.0 {
            let ratio = (f64::from(in_flight) / usual).min(RATIO_MAX);
            self.evidence += libm::log1p(STAKE * (ratio - 1.0));
        }
    }
}
