//! What is dropped beside a context: hops that carry a trace without the `tracestate` or the baggage that it arrived with come in;
//! findings go out.

use super::desk::{Desk, Draft};
use super::ledger::{Companion, Dropped};
use super::report::Code;
use super::severity::Case;
use super::words;

/// The remedy where a service has baggage among its propagators, and takes a member out.
pub(super) const KEEP_TENANT: &str = "hand on the member of baggage that names the tenant";

/// Files `tracestate-dropped` and `baggage-dropped`.
pub(super) fn findings(desk: &mut Desk<'_>) {
    let ledger = desk.inputs.ledger;
    for ((service, peer, companion), dropped) in ledger.dropped.sorted() {
        let row = ledger.hops.get(&(service, peer)).copied().unwrap_or_default();
        let (from, to) = (desk.service(service), desk.service(peer));
        let count = dropped.tally.count;
        let (code, of, what) = match companion {
            Companion::Tracestate => (Code::TracestateDropped, row.with_tracestate, "tracestate"),
            Companion::Baggage => (Code::BaggageDropped, row.with_baggage, "baggage"),
        };
        // A row that found no room is counted elsewhere.
        let of = of.max(count);
        let share = format!("{} of {}", words::count(count), words::counted(of, "request"));
        let (message, remedy) = match companion {
            Companion::Tracestate => (
                format!(
                    "{from} drops the {what} on {share} to {to}, though it goes on with their traces: what vendors \
                     and samplers wrote there is gone"
                ),
                format!("let {from} send tracestate beside traceparent, wherever it hands that on itself"),
            ),
            Companion::Baggage if dropped.tenant_alone == count => (
                format!(
                    "{from} takes the tenant out of the {what} on {share} to {to}: they are of another tenant or of none"
                ),
                format!("let {from} {KEEP_TENANT}"),
            ),
            Companion::Baggage => (
                format!(
                    "{from} drops the {what} on {share} to {to}{}, though it goes on with their traces",
                    tenant(dropped)
                ),
                format!("name baggage among the propagators of {from} (OTEL_PROPAGATORS=tracecontext,baggage)"),
            ),
        };
        desk.file(Draft {
            case: Case::Peer(desk.role(peer)),
            service: Some(from),
            peer: Some(to),
            count,
            of,
            examples: desk.examples(&dropped.tally.examples),
            ..Draft::new(code, message, remedy)
        });
    }
}

/// How many lost the tenant with the baggage: added to a message.
fn tenant(dropped: &Dropped) -> String {
    let of = match dropped.with_tenant {
        0 => return String::new(),
        all if all == dropped.tally.count => String::new(),
        some => format!(" of {}", words::count(some)),
    };
    let alone = match dropped.tenant_alone {
        0 => String::new(),
        alone => format!(" (of {} no more than the tenant)", words::count(alone)),
    };
    format!(", and with it the tenant{of}{alone}")
}
