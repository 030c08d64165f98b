//! Classes of hops of one workload: hops without the context of a request come in; whether their class provably follows
//! requests, and so may be accused, goes out.
//!
//! A poller, an exporter or a cron job sends requests while others are in flight, too. Its times do not depend on them: at a
//! random moment the number in flight is, on average, the average number in flight. So with every hop the product of
//! (number in flight now ÷ average number in flight) is a bet that a poller cannot win (Ville's inequality: it exceeds 1/α
//! with a chance of at most α, ever), and that a class which follows requests does win. So is that of (whether any is in flight ÷ share
//! of the time in which any is), which wins sooner where many are in flight at once. And where threads prove the causes of hops
//! (`threads.rs`), a class of which all that were looked at follow requests does.

use std::time::Duration;

use rustc_hash::FxHashMap;

use super::correction::{Corrections, Example};
use super::load::{Load, Mark, Use, average};
use super::threads::Doubt;
use super::{Outcome, Route, shape};
use crate::context::TraceContext;
use crate::ids::ServiceId;
use crate::time::Timestamp;

/// The part of the stake that is bet on each hop. Less than all of it, so that one hop of a class that is also sent now and
/// then while nothing is in flight does not end the proof for good.
const STAKE: f64 = 0.9;
/// The most that one hop can count, as a ratio: some twelve hops are needed at the default rate, however idle the service.
const RATIO_MAX: f64 = 2.0;
/// Bettors of their own, of which one must win. Hops nearer than the first time to the last one that counted do not count: a poller that
/// sends a burst sends it once. But how many requests are in flight may change more slowly than hops follow each other, so others look
/// from further away; by up to the second time further, so that requests which come in step do not fall in step with what is looked at.
const APART: [(Duration, Duration); 3] = [
    (Duration::from_millis(20), Duration::ZERO),
    (Duration::from_millis(100), Duration::from_millis(200)),
    (Duration::from_secs(1), Duration::from_secs(2)),
];
/// Examples kept of a class that is not proven yet.
const EXAMPLES_MAX: usize = 3;
/// Routes kept of a class: the first that are met. What came by others counts without one.
const ROUTES_MAX: usize = 8;
/// The share of a class that may not follow requests at most, where it is shown by hops of which each is proven to do so: of a class
/// with a larger share, as many in a row would be rarer than a false alarm.
pub(super) const STRANGE_SHARE: f64 = 1.0 / 3.0;
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
    /// That of a hop which carries this.
    pub(super) fn of(sent: Option<TraceContext>) -> Self {
        if sent.is_some() { Self::NewTrace } else { Self::Bare }
    }

    /// What such a hop is where every request in flight had a context.
    pub(super) fn accusation(self) -> Outcome {
        match self {
            Self::Bare => Outcome::Lost,
            Self::NewTrace => Outcome::Restarted,
        }
    }
}

/// What was won so far by betting that hops follow requests.
#[derive(Debug, Default)]
struct Bettor {
    /// The logarithm of the product of what numbers in flight gave.
    by_requests: f64,
    /// The same by whether any were.
    by_busy: f64,
    /// How many hops counted.
    count: u32,
    /// The last of them.
    last: Option<Mark>,
}

/// The hops of one class and manner.
#[derive(Debug, Default)]
struct Ledger {
    /// One for each of [`APART`].
    bettors: [Bettor; APART.len()],
    /// Whether one was sent while nothing was in flight: then its hops may be a poller's, and that others of the class are
    /// continued proves nothing of them.
    seen_idle: bool,
    /// Hops in a row of which it is proven that a request caused each.
    caused: u32,
    /// Whether these were enough, or a product has reached its goal.
    follows_requests: bool,
    /// Whether the class is accused.
    shown: bool,
    /// Hops that are, or would be, lost or restarted.
    accused: u64,
    /// Those of them that came while requests older than the observer may have been in flight.
    early: u64,
    examples: Vec<Example>,
    /// How the traces that those did not go on with came here, with how many came so.
    routes: Vec<(Route, u64)>,
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
    /// How the trace that should have gone on came here.
    pub(super) reached: Route,
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
    /// How the trace that should have gone on came here, where that is counted.
    pub(super) reached: Route,
    /// The class, and whether it counts the hop among those to be accused; `None` where there was no room for it.
    pub(super) class: Option<(u64, bool)>,
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
        let key = shape::class_of(name.service, name.peer, name.method, name.path);
        if let Some(class) = self.class(key, name, court)
            && !class.continued
        {
            class.continued = true;
            class.judge(court);
        }
    }

    /// A hop of the class carries none.
    pub(super) fn stray(&mut self, name: ClassName<'_>, stray: &Stray, load: &mut Load, court: &mut Court) -> Ruling {
        let accused = stray.outcome == stray.manner.accusation();
        let key = shape::class_of(name.service, name.peer, name.method, name.path);
        let Some(class) = self.class(key, name, court) else {
            court.refused = court.refused.saturating_add(1);
            let outcome = if accused { Outcome::Ambiguous } else { stray.outcome };
            return Ruling { outcome, seen_idle: true, reached: Route::UNSEEN, class: None };
        };
        let ledger = class.ledger(stray.manner);
        ledger.follows_requests |= ledger.weigh(stray.example.at, stray.in_flight, load) >= court.goal;
        ledger.seen_idle |= stray.outcome == Outcome::Background;
        class.judge(court);
        let ledger = class.ledger(stray.manner);
        let mut reached = Route::UNSEEN;
        if accused {
            ledger.accused = ledger.accused.saturating_add(1);
            ledger.early = ledger.early.saturating_add(u64::from(stray.early));
            if ledger.examples.len() < EXAMPLES_MAX {
                ledger.examples.push(stray.example);
            }
            reached = ledger.count_route(stray.reached);
        }
        let outcome = if accused && !ledger.shown { Outcome::Ambiguous } else { stray.outcome };
        Ruling { outcome, seen_idle: ledger.seen_idle, reached, class: Some((key, accused)) }
    }

    /// It is proven what caused a hop that was told as ambiguous: a request that makes it what `outcome` says, or, with `None`, nothing
    /// that is known. Returns whether that decides it.
    pub(super) fn proven(
        &mut self,
        doubt: &Doubt,
        outcome: Option<Outcome>,
        cause: Option<TraceContext>,
        court: &mut Court,
    ) -> bool {
        let Some(class) = self.classes.get_mut(&doubt.class) else { return false };
        let ledger = class.ledger(doubt.manner);
        let Some(outcome) = outcome else {
            ledger.caused = 0;
            return false;
        };
        if outcome == doubt.manner.accusation() {
            ledger.caused = ledger.caused.saturating_add(1);
            ledger.follows_requests |= f64::from(ledger.caused) * -libm::log1p(-STRANGE_SHARE) >= court.goal;
        }
        if doubt.is_counted {
            if ledger.shown || ledger.accused == 0 {
                // It was decided with its class, or taken back.
                return false;
            }
            ledger.forget(doubt);
        }
        let example = Example { cause, ..doubt.example };
        court.corrections.prove(doubt.peers, (Outcome::Ambiguous, outcome), &example, doubt.reached);
        class.judge(court);
        true
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
                    let routes = std::mem::take(&mut ledger.routes);
                    court.corrections.add((service, peer), (from, Outcome::Unattributed), early, (&[], &routes));
                    ledger.examples.clear();
                }
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.classes.len()
    }

    fn class(&mut self, key: u64, name: ClassName<'_>, court: &mut Court) -> Option<&mut Class> {
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
            let shown = ledger.follows_requests || (continued && !ledger.seen_idle);
            if shown == ledger.shown {
                continue;
            }
            ledger.shown = shown;
            let (accusation, doubt) = (manner.accusation(), Outcome::Ambiguous);
            let change = if shown { (doubt, accusation) } else { (accusation, doubt) };
            court.corrections.add(peers, change, ledger.accused, (&ledger.examples, &ledger.routes));
        }
    }
}

impl Ledger {
    /// Counts a route, and returns it; [`Route::UNSEEN`] where there is no room, so that what is told now is what a correction moves.
    fn count_route(&mut self, route: Route) -> Route {
        if route == Route::UNSEEN {
            return route;
        }
        if let Some((_, count)) = self.routes.iter_mut().find(|(known, _)| *known == route) {
            *count = count.saturating_add(1);
        } else if self.routes.len() < ROUTES_MAX {
            self.routes.push((route, 1));
        } else {
            return Route::UNSEEN;
        }
        route
    }

    /// A hop that was counted is decided by itself.
    fn forget(&mut self, doubt: &Doubt) {
        self.accused = self.accused.saturating_sub(1);
        self.early = self.early.saturating_sub(u64::from(doubt.early));
        self.examples.retain(|example| *example != doubt.example);
        if let Some((_, count)) = self.routes.iter_mut().find(|(route, _)| *route == doubt.reached) {
            *count = count.saturating_sub(1);
        }
    }

    /// Bets on a hop; tells the logarithm of what was won by all bets together, each with an equal part of the stake.
    fn weigh(&mut self, at: Timestamp, in_flight: u32, load: &mut Load) -> f64 {
        let (now, usual) = (load.mark(at), load.long_average(at));
        let mut most = f64::NEG_INFINITY;
        for (bettor, apart) in self.bettors.iter_mut().zip(APART) {
            if bettor.is_due(now, apart) {
                bettor.bet(now, Use::at_once(in_flight), usual);
            }
            most = most.max(bettor.by_requests).max(bettor.by_busy);
        }
        // The best of them has won at least its part.
        most - libm::log(2.0 * APART.len() as f64)
    }
}

impl Bettor {
    /// Whether a hop counts. The further time takes in turn all values, evenly (multiples of the golden ratio, modulo one).
    fn is_due(&self, now: Mark, (nearest, further): (Duration, Duration)) -> bool {
        const GOLDEN: u32 = 0x9e37_79b9;
        let share = f64::from(self.count.wrapping_mul(GOLDEN)) / f64::from(u32::MAX);
        self.last.is_none_or(|last| now.since(last) >= nearest.saturating_add(further.mul_f64(share)))
    }

    fn bet(&mut self, now: Mark, at_hop: Use, long_average: Use) {
        // The larger of two averages, so that neither a change of the load nor a short look back is taken for a proof.
        let usual = self.last.map_or(Use::NONE, |last| average(last, now)).max(long_average);
        self.last = Some(now);
        self.count = self.count.wrapping_add(1);
        if usual.busy > 0.0 {
            let won = |ratio: f64| libm::log1p(STAKE * (ratio.min(RATIO_MAX) - 1.0));
            self.by_requests += won(at_hop.requests / usual.requests);
            self.by_busy += won(at_hop.busy / usual.busy);
        }
    }
}
