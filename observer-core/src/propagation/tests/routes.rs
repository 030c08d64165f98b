//! Scenarios of several services that hand traces on, and the way on which each hop says that its trace came.

use expect_test::{Expect, expect};

use super::*;

/// Services by name, with what passes between them: `0 shop>cart 7:2:1` is a request that is seen at both ends, `1 shop<cart` the
/// response to the newest one. Of a name with an `@` only the far end is observed.
struct Town {
    propagation: Propagation,
    names: Vec<String>,
    /// Requests that wait for their response: from, to.
    open: Vec<(String, ExchangeId)>,
    told: String,
}

impl Town {
    fn new(memory_bytes: usize) -> Self {
        let propagation = Propagation::new(&Limits { memory_bytes, ..Limits::default() }, 0.001);
        Self { propagation, names: vec!["__overflow__".into()], open: Vec::new(), told: String::new() }
    }

    fn owner(&mut self, name: &str) -> Owner {
        let known = self.names.iter().position(|known| known == name);
        let number = known.unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        });
        let number = u32::try_from(number).unwrap();
        Owner { workload: WorkloadId(number), service: ServiceId(number) }
    }

    fn way(&self, route: Route) -> String {
        let (origin, services) = self.propagation.routes().services(route);
        let named: Vec<&str> = services.iter().map(|service| self.names[service.0 as usize].as_str()).collect();
        format!("{origin:?} {}", named.join(" ")).trim_end().to_owned()
    }

    fn play(&mut self, lines: &str) -> &mut Self {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.step(line);
        }
        self
    }

    fn step(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = Timestamp(1_000_000_000 + nanoseconds(words[0].parse().unwrap()));
        if let Some((asks, answers)) = words[1].split_once('<') {
            let name = format!("{asks}>{answers}");
            let newest = self.open.iter().rposition(|(open, _)| *open == name).unwrap();
            let ExchangeId { connection, number } = self.open.remove(newest).1;
            let workload = self.owner(answers).workload;
            let answer = Answer { at, workload, connection, number: Some(number), status: 200, slow_from: None };
            self.propagation.response_out(&answer);
            return;
        }
        let (from, to) = words[1].split_once('>').unwrap();
        let (sender, receiver) = (self.owner(from), self.owner(to));
        let (context, tenant) = context(words[2], &words[3..]);
        let route = if from.starts_with('@') {
            self.propagation.from_outside(sender.service)
        } else {
            let (owner, peer, method, path) = (sender, receiver.service, "GET", "/");
            let hop = self.propagation.request_out(&Outbound {
                socket: None,
                at,
                owner,
                peer,
                exchange: None,
                context: &context,
                tenant,
                method,
                path,
            });
            if matches!(hop.outcome, Outcome::Lost | Outcome::Restarted | Outcome::Flipped) {
                writeln!(self.told, "{line:<24} → {} by {}", hop.outcome.as_str(), self.way(hop.reached)).unwrap();
            }
            hop.route
        };
        if !to.starts_with('@') {
            let number = u64::try_from(self.told.len()).unwrap() << 32 | at.0 >> 10;
            let exchange = ExchangeId { connection: ConnectionId(u64::from(receiver.service.0)), number };
            self.open.push((words[1].to_owned(), exchange));
            let exchange = Some(exchange);
            self.propagation.request_in(&Inbound {
                socket: None,
                at,
                owner: receiver,
                exchange,
                context: &context,
                tenant,
                route,
            });
        }
    }

    fn finish(&mut self) -> String {
        for Correction { from, to, count, routes, .. } in self.propagation.corrections() {
            let routes = routes.iter().map(|&(route, count)| format!("{count} by {}", self.way(route)));
            let routes = routes.collect::<Vec<_>>().join(", ");
            writeln!(self.told, "{count} {} → {}: {routes}", from.as_str(), to.as_str()).unwrap();
        }
        std::mem::take(&mut self.told)
    }
}

/// A request of trace 1 goes on from price to stock, which shows that such requests follow those that arrive.
const SHOWN: &str = "
    0 @far>price 1:1:1
    1 price>stock 1:2:1
    2 price<stock
    3 @far<price";

fn check(lines: &str, expected: &Expect) {
    expected.assert_eq(&Town::new(Limits::default().memory_bytes).play(SHOWN).play(lines).finish());
}

#[test]
fn a_broken_hop_says_through_which_services_its_trace_came() {
    check(
        "
        10 gate>cart 7:2:1
        11 cart>price 7:3:1
        12 price>stock -
        13 price>stock 8:1:1
        14 price>stock 7:4:0
        ",
        &expect![[r"
            12 price>stock -         → lost by Started gate cart price
            13 price>stock 8:1:1     → restarted by Started gate cart price
            14 price>stock 7:4:0     → flipped by Started gate cart price
        "]],
    );
}

#[test]
fn who_is_not_observed_is_the_first_of_the_way() {
    check(
        "
        10 @10.0.0.9>cart 7:1:1
        11 cart>price 7:1:1
        12 price>stock -
        ",
        &expect![[r"
            12 price>stock -         → lost by Outside @10.0.0.9 cart price
        "]],
    );
}

#[test]
fn a_trace_that_begins_anew_comes_from_where_it_began() {
    check(
        "
        10 @user>cart -
        11 cart>price 7:1:1
        12 price>stock 8:1:1
        13 stock>ware 8:2:1
        14 ware>@else 8:3:0
        ",
        &expect![[r"
            12 price>stock 8:1:1     → restarted by Started cart price
            14 ware>@else 8:3:0      → flipped by Started price stock ware
        "]],
    );
}

#[test]
fn where_two_hand_on_one_trace_neither_is_chosen() {
    check(
        "
        10 gate>cart 7:2:1
        11 gate>price 7:3:1
        12 price>stock -
        13 cart>price 7:4:1
        14 price>stock 7:5:0
        15 price>stock -
        ",
        &expect![[r"
            12 price>stock -         → lost by Started gate price
            14 price>stock 7:5:0     → flipped by Several price
            15 price>stock -         → lost by Several price
        "]],
    );
}

#[test]
fn a_service_that_is_called_back_stands_once_on_the_way() {
    check(
        "
        10 gate>cart 7:2:1
        11 cart>gate 7:3:1
        12 gate>price 7:4:1
        13 price>price 7:5:1
        14 price>stock 7:6:0
        ",
        &expect![[r"
            14 price>stock 7:6:0     → flipped by Started gate price
        "]],
    );
}

#[test]
fn of_traces_in_flight_together_the_way_is_known_where_all_came_by_it() {
    check(
        "
        10 gate>price 7:2:1
        11 gate>price 8:2:1
        12 price>stock -
        13 cart>price 9:2:1
        14 price>stock -
        15 cart<price
        16 price>stock -
        ",
        &expect![[r"
            12 price>stock -         → lost by Started gate price
            14 price>stock -         → lost by Unseen
            16 price>stock -         → lost by Started gate price
        "]],
    );
}

#[test]
fn hops_that_are_decided_late_and_withdrawn_again_keep_their_ways() {
    let mut town = Town::new(Limits::default().memory_bytes);
    town.play(
        "
        0 gate>price 7:2:1
        1 price>stock -
        2 gate<price
        3 cart>price 8:2:1
        4 price>stock -
        5 price>stock -
        6 cart<price
        ",
    );
    expect![""].assert_eq(&town.finish());
    town.play(
        "
        7 gate>price 9:2:1
        8 price>stock 9:3:1
        ",
    );
    expect![[r"
        3 ambiguous → lost: 1 by Started gate price, 2 by Started cart price
    "]]
    .assert_eq(&town.finish());
    town.play(
        "
        9 price>stock -
        10 gate<price
        11 price>stock -
        ",
    );
    expect![[r"
        9 price>stock -          → lost by Started gate price
        4 lost → ambiguous: 2 by Started gate price, 2 by Started cart price
    "]]
    .assert_eq(&town.finish());
}

#[test]
fn a_trace_that_is_seen_only_where_it_arrives_is_asked_for_at_its_sender() {
    let mut town = Town::new(Limits::default().memory_bytes);
    town.play("0 gate>cart 7:2:1");
    let (cart, gate) = (town.owner("cart"), town.owner("gate"));
    let at = Timestamp(2_000_000_000);
    let mut way = |owner, trace| {
        let route = town.propagation.route_at(owner, TraceId(trace), at);
        town.way(route)
    };
    assert_eq!(way(cart, 7), "Started gate cart");
    assert_eq!((way(cart, 8), way(gate, 7)), ("Started cart".to_owned(), "Started gate".to_owned()));
    let hide = |town: &mut Town| town.propagation.hide(cart.workload, Hidden::Loss, at);
    hide(&mut town);
    let route = town.propagation.route_at(cart, TraceId(8), at);
    assert_eq!(town.way(route), "Unseen cart");
}

#[test]
fn where_there_is_no_room_for_ways_none_is_told_and_all_else_is_as_ever() {
    let mut town = Town::new(0);
    for number in 0..200 {
        town.play(&format!("0 shop{number}>cart {}:1:1\n1 shop{number}<cart", number + 100));
    }
    let counters = town.propagation.counters();
    assert_eq!((counters.routes, counters.routes_refused > 100), (64, true));
    town.play(
        "
        10 gate>ware 7:2:1
        11 ware>stock 7:3:1
        12 ware>stock -
        13 ware>stock 7:3:0
        ",
    );
    expect![[r"
        12 ware>stock -          → lost by Unseen
        13 ware>stock 7:3:0      → flipped by Unseen
    "]]
    .assert_eq(&town.finish());
}
