//! What the front and the back of a scene logged and what the observer reported of the same requests, compared.

use observer_core::audit::report::Report;
use testbed::truth::Facts;

/// The services of a scene that are compared.
pub(crate) const SERVICES: [&str; 2] = ["front", "back"];

/// What the services logged and what the observer reported of the same requests.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) logged: Facts,
    pub(crate) told: Facts,
    pub(crate) report: Report,
}

impl Outcome {
    /// What nothing may be lost of.
    pub(crate) fn whole(self) -> Self {
        let capture = &self.report.capture;
        assert_eq!(capture.lost, 0, "the observer lost records: {capture:?}");
        self
    }

    /// Every request, context, trace, hop and error is as the services know it.
    pub(crate) fn assert_everything_is_exact(&self) {
        let Self { logged, told, .. } = self;
        assert_eq!(told.requests, logged.requests);
        assert_eq!(told.received, logged.received);
        assert_eq!(told.hops, logged.hops);
        assert_eq!(told.errors, logged.errors);
    }

    /// Every request since the observer began is counted and every context known, but for at most `awaited` of each service, for which
    /// it waited already; whether a request without context has none cannot be known where names of headers were told before.
    pub(crate) fn assert_nothing_is_wrong(&self, awaited: u64) {
        for service in SERVICES {
            let [valid, missing, malformed] = contexts(&self.logged, service);
            let [told_valid, told_missing, told_malformed] = contexts(&self.told, service);
            let unobserved = self.report.requests.iter().filter(|row| row.service == service);
            let unobserved: u64 = unobserved.map(|row| row.unobserved).sum();
            let told = told_valid + told_missing + told_malformed + unobserved;
            let all = valid + missing + malformed;
            assert!((all - awaited..=all).contains(&told), "{service}: {told} of {all}, {unobserved} not observed");
            assert!((valid - awaited.min(valid)..=valid).contains(&told_valid), "{service}: {told_valid} of {valid}");
            assert_eq!(told_malformed, malformed, "{service}");
            assert!(told_missing <= missing, "{service}: {told_missing} of {missing}");
        }
        let errors = |facts: &Facts| facts.errors.values().map(|(responses, _)| responses).sum::<u64>();
        // A status that a table of headers held before is not known.
        assert!(errors(&self.told) <= errors(&self.logged), "{:?}", self.told.errors);
        for (hop, outcomes) in &self.told.hops {
            for outcome in ["lost", "restarted", "flipped"] {
                let real = self.logged.hops.get(hop).and_then(|real| real.get(outcome));
                assert!(outcomes.get(outcome) <= real, "{hop:?}: {outcomes:?} where {real:?} were {outcome}");
            }
        }
    }
}

/// Valid, missing and malformed contexts of a service, whatever the tenant.
fn contexts(facts: &Facts, service: &str) -> [u64; 3] {
    let rows = facts.requests.iter().filter(|((name, _), _)| name == service);
    rows.fold([0; 3], |[valid, missing, malformed], (_, row)| {
        [valid + row.valid, missing + row.missing, malformed + row.malformed]
    })
}
