//! What the report makes of what is dropped beside a context.

use super::*;
use crate::propagation::Handed;

impl Shop {
    /// Hops that go on with a trace, and what becomes of its `tracestate` and baggage.
    fn handed(&mut self, (service, peer): (&str, &str), [tracestate, baggage]: [Option<Handed>; 2], count: u64) {
        let (service, peer) = (self.service(service), self.service(peer));
        for _ in 0..count {
            let (at, trace_id) = self.next();
            let context = context(trace_id, Sampled::Sampled);
            let hop = Hop {
                outcome: Outcome::Continued,
                sent: Some(context),
                brought: context.formats,
                cause: None,
                tenant: None,
                started: false,
                weight: None,
                promised: None,
                tracestate,
                baggage,
                hidden: None,
                route: Route::UNSEEN,
                reached: Route::UNSEEN,
            };
            let context = &MessageContext::of(TraceFact::Valid(context));
            self.ledger.hop(&DecidedHop { at, service, peer, context, hop: &hop, evidence: Evidence::Window });
        }
    }
}

const ON: Option<Handed> = Some(Handed::On);
const DROPPED: Option<Handed> = Some(Handed::Dropped);
const WITH_TENANT: Option<Handed> = Some(Handed::DroppedWithTenant);
const TENANT: Option<Handed> = Some(Handed::TenantDropped);

#[test]
fn what_is_dropped_is_told_of_each_pair_of_services() {
    let mut shop = Shop::new([]);
    shop.handed(("checkout", "inventory"), [DROPPED, WITH_TENANT], 30);
    shop.handed(("checkout", "inventory"), [ON, DROPPED], 10);
    shop.handed(("checkout", "inventory"), [None, None], 5);
    shop.handed(("checkout", "inventory"), [ON, ON], 2);
    shop.handed(("checkout", "search"), [None, WITH_TENANT], 3);
    shop.handed(("gateway", "inventory"), [ON, TENANT], 4);
    shop.handed(("gateway", "checkout"), [ON, TENANT], 4);
    shop.handed(("gateway", "checkout"), [ON, WITH_TENANT], 1);
    shop.handed(("inventory", "search"), [ON, DROPPED], 1);
    // What is kept from others is no fault.
    shop.handed(("gateway", "external:partner.example"), [DROPPED, WITH_TENANT], 7);
    let report = shop.report();
    check_findings(
        &report,
        &expect![[r"
        critical tracestate-dropped checkout - inventory 30/42
          checkout drops the tracestate on 30 of 42 requests to inventory, though it goes on with their traces: what vendors and samplers wrote there is gone
          let checkout send tracestate beside traceparent, wherever it hands that on itself
        critical baggage-dropped checkout - inventory 40/42
          checkout drops the baggage on 40 of 42 requests to inventory, and with it the tenant of 30, though it goes on with their traces
          name baggage among the propagators of checkout (OTEL_PROPAGATORS=tracecontext,baggage)
        critical baggage-dropped gateway - checkout 5/5
          gateway drops the baggage on 5 of 5 requests to checkout, and with it the tenant (of 4 no more than the tenant), though it goes on with their traces
          name baggage among the propagators of gateway (OTEL_PROPAGATORS=tracecontext,baggage)
        critical baggage-dropped gateway - inventory 4/4
          gateway takes the tenant out of the baggage on 4 of 4 requests to inventory: they are of another tenant or of none
          let gateway hand on the member of baggage that names the tenant
        info baggage-dropped checkout - search 3/3
          checkout drops the baggage on 3 of 3 requests to search, and with it the tenant, though it goes on with their traces
          name baggage among the propagators of checkout (OTEL_PROPAGATORS=tracecontext,baggage)
        info baggage-dropped inventory - search 1/1
          inventory drops the baggage on 1 of 1 request to search, though it goes on with their traces
          name baggage among the propagators of inventory (OTEL_PROPAGATORS=tracecontext,baggage)
    "]],
    );
    let dropped = report.findings.iter().find(|finding| finding.code == Code::BaggageDropped).unwrap();
    assert_eq!((dropped.examples.len(), dropped.examples[0].trace_id.is_some()), (3, true));
}

#[test]
fn what_goes_on_is_no_finding_and_nobody_is_looked_at_for_it() {
    let mut shop = Shop::new([]);
    shop.handed(("checkout", "inventory"), [ON, ON], 30);
    check_findings(&shop.report(), &expect![""]);
    assert!(shop.ledger.culprits().is_empty());
    shop.handed(("checkout", "inventory"), [DROPPED, ON], 1);
    let checkout = shop.service("checkout");
    assert_eq!(shop.ledger.culprits().into_iter().collect::<Vec<_>>(), [checkout]);
}
