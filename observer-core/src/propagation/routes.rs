//! Routes: who handed a trace to whom comes in, one service after the other; the services through which it came goes out.
//!
//! Many traces go the same way, so ways are kept and not traces: a tree of services, of which a trace that arrived carries the number
//! of one node. A trace that is handed on takes one look at the tree, whichever way it came.

use rustc_hash::FxHashMap;

use crate::ids::ServiceId;

/// The share of the memory (1/n) for routes: at the default 1 MiB, some 27,000.
const MEMORY_SHARE: usize = 128;
/// A node, and its place in a map that may be half empty.
const NODE_BYTES: usize = size_of::<Node>() + 2 * (size_of::<((Route, ServiceId), Route)>() + 1);
/// The least routes, so that a tiny memory limit still tells some.
const ROUTES_MIN: usize = 64;
/// Services of a route, at the most; of a longer one the last ones are kept.
const SERVICES_MAX: usize = 16;

/// The way of a trace to a service, that one included: a node of [`Routes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route(u32);

impl Route {
    /// Nothing is known of the way.
    pub const UNSEEN: Self = Self(0);
    /// Before the service that started the trace.
    pub(crate) const STARTED: Self = Self(1);
    /// Before a sender who is not observed.
    pub(crate) const OUTSIDE: Self = Self(2);
    /// Before a service that several handed the trace to.
    pub(crate) const SEVERAL: Self = Self(3);

    /// Its number, from which [`Self::of_number`] makes it again.
    pub(super) fn number(self) -> u32 {
        self.0
    }

    pub(super) fn of_number(number: u32) -> Self {
        Self(number)
    }
}

/// What is known of how a trace came to the first service of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// It started the trace.
    Started,
    /// It is not observed: what came before it nobody sees.
    Outside,
    /// Several handed the trace to it.
    Several,
    /// Nothing is known.
    Unseen,
}

/// One service of a route, and where the way to it comes from.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: Route,
    service: ServiceId,
    /// Services up to this one; the nodes before the first service have none.
    depth: u8,
}

/// The ways that traces took, as far as there is room.
#[derive(Debug)]
pub struct Routes {
    nodes: Vec<Node>,
    steps: FxHashMap<(Route, ServiceId), Route>,
    limit: usize,
    refused: u64,
}

impl Routes {
    /// No routes yet, within their share of `memory_bytes`.
    pub(crate) fn new(memory_bytes: usize) -> Self {
        let limit = memory_bytes.wrapping_div(MEMORY_SHARE).wrapping_div(NODE_BYTES).max(ROUTES_MIN);
        let origin = Node { parent: Route::UNSEEN, service: ServiceId(0), depth: 0 };
        Self { nodes: vec![origin; 4], steps: FxHashMap::default(), limit, refused: 0 }
    }

    /// The route of a trace that came by `route` and is handed to `service`. Where it was there before, the way back is left out.
    /// [`Route::UNSEEN`] where there is no room.
    pub(crate) fn step(&mut self, route: Route, service: ServiceId) -> Route {
        if let Some(&known) = self.steps.get(&(route, service)) {
            return known;
        }
        if self.steps.len() >= self.limit {
            self.refused = self.refused.saturating_add(1);
            return Route::UNSEEN;
        }
        // A sender outside is not the service that it may be named like.
        let was_there = self.back(route).find(|(_, node)| node.service == service && node.parent != Route::OUTSIDE);
        let next = match was_there.map(|(there, _)| there) {
            Some(there) => there,
            None if self.depth(route) < SERVICES_MAX => self.add(route, service),
            None => {
                let kept = SERVICES_MAX.saturating_sub(1);
                let mut last: Vec<ServiceId> = self.back(route).take(kept).map(|(_, node)| node.service).collect();
                last.reverse();
                last.push(service);
                last.into_iter().fold(Route::UNSEEN, |route, service| self.step(route, service))
            }
        };
        if self.steps.len() < self.limit {
            self.steps.insert((route, service), next);
        }
        next
    }

    /// What two routes of a trace, or of traces that meet, share at the end; [`Route::UNSEEN`] where one of them is not known.
    pub(crate) fn merged(&mut self, one: Route, other: Route) -> Route {
        if one == other || [one, other].contains(&Route::UNSEEN) {
            return one.min(other);
        }
        let pairs = self.back(one).zip(self.back(other));
        let shared = pairs.map_while(|((_, one), (_, other))| (one.service == other.service).then_some(one.service));
        let shared: Vec<ServiceId> = shared.collect();
        // Where the beginning of one was not seen they may be the same, unless they end at different services.
        let may_be_one = !shared.is_empty() && [one, other].map(|route| self.origin(route)).contains(&Origin::Unseen);
        let start = if may_be_one { Route::UNSEEN } else { Route::SEVERAL };
        shared.into_iter().rev().fold(start, |route, service| self.step(route, service))
    }

    /// The services of a route, the first one first, and how the trace came to that one.
    pub fn services(&self, route: Route) -> (Origin, Vec<ServiceId>) {
        let mut services: Vec<ServiceId> = self.back(route).map(|(_, node)| node.service).collect();
        services.reverse();
        (self.origin(route), services)
    }

    /// Routes kept.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// How often there was no room for a route.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    fn add(&mut self, parent: Route, service: ServiceId) -> Route {
        let Ok(number) = u32::try_from(self.nodes.len()) else { return Route::UNSEEN };
        let depth = self.node(parent).map_or(0, |node| node.depth).saturating_add(1);
        self.nodes.push(Node { parent, service, depth });
        Route(number)
    }

    fn node(&self, route: Route) -> Option<&Node> {
        self.nodes.get(usize::try_from(route.0).ok()?)
    }

    fn depth(&self, route: Route) -> usize {
        self.node(route).map_or(0, |node| usize::from(node.depth))
    }

    /// From the last service of a route to its first. A parent is older than its node, so this ends.
    fn back(&self, route: Route) -> impl Iterator<Item = (Route, &Node)> {
        let mut route = route;
        std::iter::from_fn(move || {
            let node = self.node(route).filter(|node| node.depth > 0)?;
            let at = std::mem::replace(&mut route, node.parent);
            Some((at, node))
        })
    }

    fn origin(&self, route: Route) -> Origin {
        match self.back(route).last().map_or(route, |(_, first)| first.parent) {
            Route::STARTED => Origin::Started,
            Route::OUTSIDE => Origin::Outside,
            Route::SEVERAL => Origin::Several,
            _ => Origin::Unseen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn routes() -> Routes {
        Routes::new(1 << 24)
    }

    fn way(routes: &mut Routes, start: Route, services: &[u32]) -> Route {
        services.iter().fold(start, |route, &service| routes.step(route, ServiceId(service)))
    }

    fn told(routes: &Routes, route: Route) -> (Origin, Vec<u32>) {
        let (origin, services) = routes.services(route);
        (origin, services.into_iter().map(|service| service.0).collect())
    }

    #[test]
    fn the_same_way_is_kept_once() {
        let mut routes = routes();
        let first = way(&mut routes, Route::STARTED, &[1, 2, 3]);
        assert_eq!(way(&mut routes, Route::STARTED, &[1, 2, 3]), first);
        assert_eq!((told(&routes, first), routes.len()), ((Origin::Started, vec![1, 2, 3]), 3));
        assert_eq!(told(&routes, Route::UNSEEN), (Origin::Unseen, vec![]));
    }

    #[test]
    fn who_is_called_back_stands_where_the_trace_came_first() {
        let mut routes = routes();
        let there = way(&mut routes, Route::STARTED, &[1, 2]);
        let back = way(&mut routes, Route::STARTED, &[1, 2, 3, 2]);
        assert_eq!(back, there);
        let itself = way(&mut routes, Route::STARTED, &[1, 2, 2]);
        assert_eq!(itself, there);
        let outside = way(&mut routes, Route::OUTSIDE, &[7, 2, 7]);
        assert_eq!(told(&routes, outside), (Origin::Outside, vec![7, 2, 7]), "who calls from outside is somebody else");
    }

    #[test]
    fn ways_that_meet_share_what_comes_after() {
        let mut routes = routes();
        for (one, other, expected) in [
            (way(&mut routes, Route::STARTED, &[1, 3]), way(&mut routes, Route::STARTED, &[1, 2, 3]), vec![3]),
            (way(&mut routes, Route::OUTSIDE, &[1, 3, 4]), way(&mut routes, Route::STARTED, &[2, 3, 4]), vec![3, 4]),
            (way(&mut routes, Route::STARTED, &[3, 4]), way(&mut routes, Route::STARTED, &[1, 3, 4]), vec![3, 4]),
        ] {
            let both = routes.merged(one, other);
            assert_eq!(told(&routes, both), (Origin::Several, expected));
            assert_eq!((routes.merged(both, one), routes.merged(other, both)), (both, both));
        }
        let (seen, unseen) = (way(&mut routes, Route::STARTED, &[1, 2]), way(&mut routes, Route::UNSEEN, &[2]));
        assert_eq!(routes.merged(seen, unseen), unseen, "they may be one");
        let elsewhere = way(&mut routes, Route::UNSEEN, &[3]);
        assert_eq!(routes.merged(seen, elsewhere), Route::SEVERAL, "they end at two services");
        assert_eq!(routes.merged(seen, Route::UNSEEN), Route::UNSEEN);
    }

    #[test]
    fn of_a_long_way_the_end_is_kept() {
        let mut routes = routes();
        let long = way(&mut routes, Route::STARTED, &(1..=40).collect::<Vec<_>>());
        assert_eq!(told(&routes, long), (Origin::Unseen, (25..=40).collect()));
    }

    proptest! {
        /// Wherever services hand traces, and however little room there is: routes end, are short, and hold no service twice.
        #[test]
        fn routes_stay_short_and_few(steps in prop::collection::vec((0_usize..50, 0_u32..30, 0_usize..50), 1..2000), memory in 0..1_usize << 22) {
            let mut routes = Routes::new(memory);
            let mut met = vec![Route::UNSEEN, Route::STARTED, Route::SEVERAL];
            for (from, service, other) in steps {
                let (from, other) = (met[from % met.len()], met[other % met.len()]);
                let next = routes.step(from, ServiceId(service));
                met.push(next);
                let both = routes.merged(next, other);
                met.push(both);
                for route in [next, both] {
                    let (_, mut services) = told(&routes, route);
                    prop_assert!(services.len() <= SERVICES_MAX);
                    prop_assert!(route == Route::UNSEEN || services.is_empty() || route == both || services.last() == Some(&service));
                    services.sort_unstable();
                    prop_assert!(services.windows(2).all(|pair| pair[0] != pair[1]), "{services:?}");
                }
            }
            prop_assert!(routes.len() <= routes.limit && routes.nodes.len() <= routes.limit + 4);
        }
    }
}
