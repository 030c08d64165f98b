//! The shop itself, without an observer: each planted fault really happens, in its one place, and nothing else is wrong. What
//! the other tests and the demo hold a report against rests on this.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use testbed::shop::{Fault, Shop, names};
use testbed::site::Site;
use testbed::traffic::{Amount, Plan, Traffic};
use testbed::truth::{Facts, read};
use testbed::{install, scratch};

const ORDERS: u32 = 200;

fn facts_of_a_shop_with(faults: &[Fault], name: &str) -> Result<Facts> {
    let runtimes = install::runtimes()?;
    let site = Site::Host(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let shop = Shop::start(&runtimes, &site, faults, &scratch().join("tests").join(name))?;
    let plan = Plan {
        amount: Amount::Orders(ORDERS),
        connections: 4,
        gap_seconds: 0.0,
        mixed_contexts: false,
        warm_up: false,
    };
    let sent = Traffic::start(&runtimes, &shop.url(), plan, shop.logs())?.finish()?;
    assert_eq!(sent.statuses, BTreeMap::from([("200".to_owned(), u64::from(ORDERS))]));
    read(shop.logs(), names(), 0)
}

/// Every hop that is neither continued nor, at a service without an incoming context, rooted.
fn breaks(facts: &Facts) -> BTreeSet<(&str, &str, &str)> {
    let hops = facts.hops.iter().flat_map(|((service, peer), outcomes)| {
        outcomes.keys().map(move |outcome| (service.as_str(), peer.as_str(), *outcome))
    });
    hops.filter(|(service, _, outcome)| *outcome != "continued" && (*service, *outcome) != ("gateway", "rooted"))
        .collect()
}

#[test]
fn a_shop_without_faults_breaks_nothing() -> Result<()> {
    let facts = facts_of_a_shop_with(&[], "healthy")?;
    assert_eq!(breaks(&facts), BTreeSet::new());
    assert!(facts.errors.is_empty());
    assert!(facts.weights.values().all(|(_, missing)| *missing == 0), "{:?}", facts.weights);
    let starters: BTreeSet<&str> = facts.started.keys().map(|(service, _)| service.as_str()).collect();
    assert_eq!(starters, BTreeSet::from(["gateway"]));
    let tenants: BTreeSet<&str> = facts.requests.keys().map(|(_, tenant)| tenant.as_str()).collect();
    assert_eq!(tenants, BTreeSet::from(["acme", "globex", "initech", "umbrella"]));
    Ok(())
}

#[test]
fn every_planted_fault_happens_in_its_one_place() -> Result<()> {
    let facts = facts_of_a_shop_with(&Fault::ALL, "faulty")?;
    let expected = BTreeSet::from([
        ("pricing", "discounts", "restarted"),
        ("inventory", "warehouse", "lost"),
        // The warehouse is innocent: nothing arrives that it could continue.
        ("warehouse", "ledger", "rooted"),
    ]);
    assert_eq!(breaks(&facts), expected);
    let dropping: BTreeSet<&str> = facts
        .weights
        .iter()
        .filter(|(_, (_, missing))| *missing > 0)
        .map(|((service, _), _)| service.as_str())
        .collect();
    assert_eq!(dropping, BTreeSet::from(["payment"]));
    let failing: BTreeSet<&str> = facts.errors.keys().map(|(service, _)| service.as_str()).collect();
    assert_eq!(failing, BTreeSet::from(["payment"]));
    assert_eq!(facts.errors.values().map(|(responses, _)| responses).sum::<u64>(), u64::from(ORDERS) / 25);
    Ok(())
}
