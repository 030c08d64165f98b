//! The way that a report names of those on which traces came to a hop that breaks them.

use super::*;
use crate::audit::path::{Begins, Path};

impl Shop {
    fn way(&mut self, start: Route, services: &[&str]) -> Route {
        services.iter().fold(start, |route, name| {
            let service = self.service(name);
            self.routes.step(route, service)
        })
    }

    fn lost(&mut self, route: Route, count: u64) {
        self.hops_by(route, ("pricing", "discounts"), Outcome::Lost, Sampled::Sampled, count);
    }

    fn path(&mut self, code: Code) -> Option<Path> {
        self.report().findings.into_iter().find(|finding| finding.code == code).unwrap().path
    }

    fn line(&mut self, code: Code) -> String {
        self.path(code).map_or_else(String::new, |path| path.line(code))
    }
}

#[test]
fn the_way_that_most_took_is_named_and_how_many_did() {
    let mut shop = Shop::new([]);
    let [rare, usual] = [["search", "pricing"], ["checkout", "pricing"]].map(|way| shop.way(Route::STARTED, &way));
    shop.lost(rare, 4);
    shop.lost(usual, 5);
    shop.lost(Route::UNSEEN, 20);
    let services = ["checkout", "pricing"].map(str::to_owned).to_vec();
    let expected = Path { begins: Begins::Started, services, to: "discounts".into(), count: 5, of: 9 };
    assert_eq!(shop.path(Code::ContextLost), Some(expected));
    let line = "checkout → pricing ┄ discounts: the context ends at pricing (5 of 9 requests)";
    assert_eq!(shop.line(Code::ContextLost), line);
}

#[test]
fn senders_outside_are_one_way_and_a_single_one_is_named() {
    let mut shop = Shop::new([]);
    let by = ["203.0.113.1", "203.0.113.2", "203.0.113.3"]
        .map(|sender| shop.way(Route::OUTSIDE, &[sender, "gateway", "pricing"]));
    let within = shop.way(Route::STARTED, &["search", "pricing"]);
    shop.lost(by[0], 2);
    shop.lost(within, 2);
    let shorter = "search → pricing ┄ discounts: the context ends at pricing (2 of 4 requests)";
    assert_eq!(shop.line(Code::ContextLost), shorter, "of two that as many took");
    shop.lost(by[0], 1);
    let one = "203.0.113.1 → gateway → pricing ┄ discounts: the context ends at pricing (3 of 5 requests)";
    assert_eq!(shop.line(Code::ContextLost), one);
    shop.lost(by[1], 1);
    shop.lost(by[2], 1);
    let several = "(several) → gateway → pricing ┄ discounts: the context ends at pricing (5 of 7 requests)";
    assert_eq!(shop.line(Code::ContextLost), several);
}

#[test]
fn where_no_way_is_known_none_is_told() {
    let mut shop = Shop::new([]);
    shop.lost(Route::UNSEEN, 4);
    shop.lost(Route::SEVERAL, 4);
    assert_eq!(shop.path(Code::ContextLost), None);
    let cut = shop.way(Route::UNSEEN, &["pricing"]);
    shop.lost(cut, 4);
    assert_eq!(shop.line(Code::ContextLost), "… → pricing ┄ discounts: the context ends at pricing");
}

#[test]
fn what_is_withdrawn_goes_with_its_way_and_another_fault_of_the_hop_has_its_own() {
    let mut shop = Shop::new([]);
    let [first, second] = [["search", "pricing"], ["checkout", "pricing"]].map(|way| shop.way(Route::STARTED, &way));
    shop.lost(first, 5);
    shop.hops_by(second, ("pricing", "discounts"), Outcome::Flipped, Sampled::NotSampled, 3);
    let (service, peer) = (shop.service("pricing"), shop.service("discounts"));
    let correct = |shop: &mut Shop, from, to, routes: Vec<(Route, u64)>| {
        let count = routes.iter().map(|(_, count)| count).sum();
        shop.ledger.correct(&Correction {
            service,
            peer,
            from,
            to,
            evidence: Evidence::Window,
            count,
            bare: 0,
            examples: Vec::new(),
            routes,
        });
    };
    correct(&mut shop, Outcome::Ambiguous, Outcome::Lost, vec![(first, 1), (second, 2)]);
    correct(&mut shop, Outcome::Lost, Outcome::Ambiguous, vec![(first, 5)]);
    let lost = "checkout → pricing ┄ discounts: the context ends at pricing (2 of 3 requests)";
    assert_eq!(shop.line(Code::ContextLost), lost);
    let flipped = "checkout → pricing ┄ discounts: the decision is turned around at pricing";
    assert_eq!(shop.line(Code::DecisionFlipped), flipped);
}

#[test]
fn a_path_is_what_the_schema_says() {
    let mut shop = Shop::new([]);
    let way = shop.way(Route::STARTED, &["checkout", "pricing"]);
    shop.lost(way, 4);
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let made = shop.report();
    let mut json = serde_json::to_value(&made).unwrap();
    assert!(validator.is_valid(&json));
    assert_eq!(serde_json::from_value::<Report>(json.clone()).unwrap(), made);
    let lost = json["findings"].as_array_mut().unwrap().iter_mut().find(|finding| finding["code"] == "context-lost");
    lost.unwrap()["path"]["begins"] = "somewhere".into();
    assert!(!validator.is_valid(&json));
}
