//! What travels beside a trace context.
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use expect_test::expect;

use super::super::arrived::Arrival;
use super::play;

#[test]
fn a_tracestate_is_dropped_where_nothing_of_it_goes_on() {
    expect![[r#"
        1 out / 7:2:1 tracestate=vendor=1,other=2 → continued cause=7:1 tenant=1 tracestate=on
        1 out / 7:2:1 tracestate=new=3,other=2 → continued cause=7:1 tenant=1 tracestate=on
        1 out / 7:1:1 tracestate=vendor=9 → passed_through cause=7:1 tenant=1 tracestate=on
        1 out / 7:2:0 tracestate=vendor=1 → flipped cause=7:1 tenant=1 tracestate=on
        1 out / 7:2:1            → continued cause=7:1 tenant=1 tracestate=dropped
        1 out / 7:1:1            → passed_through cause=7:1 tenant=1 tracestate=dropped
        1 out / 7:2:0            → flipped cause=7:1 tenant=1 tracestate=dropped
        1 out / 7:2:1 tracestate=new=3 → continued cause=7:1 tenant=1 tracestate=dropped
        2 out / 7:2:1 tracestate=bad → continued cause=7:1 tenant=1
        2 out / 7:2:1 cut        → continued cause=7:1 tenant=1
        2 out / 7:2:1 tracestate=new=3 cut → continued cause=7:1 tenant=1
        4 out / 8:2:1 tracestate=new=3 → continued cause=8:1 tenant=1
        4 out / 8:2:1            → continued cause=8:1 tenant=1
        6 out / 9:2:1            → continued cause=9:1 tenant=1
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:1 tracestate=vendor=1,other=2
         1 out / 7:2:1 tracestate=vendor=1,other=2
         1 out / 7:2:1 tracestate=new=3,other=2
         1 out / 7:1:1 tracestate=vendor=9
         1 out / 7:2:0 tracestate=vendor=1
         1 out / 7:2:1
         1 out / 7:1:1
         1 out / 7:2:0
         1 out / 7:2:1 tracestate=new=3
         2 out / 7:2:1 tracestate=bad
         2 out / 7:2:1 cut
         2 out / 7:2:1 tracestate=new=3 cut
         3 in b 8:1:1
         4 out / 8:2:1 tracestate=new=3
         4 out / 8:2:1
         5 in c 9:1:1 tracestate=bad
         6 out / 9:2:1",
    ));
}

#[test]
fn the_member_of_opentelemetry_may_be_removed_from_what_is_not_sampled() {
    expect![[r#"
        1 out / 7:2:1 tracestate=ot=th:c → continued cause=7:1 tenant=1 tracestate=on
        1 out / 7:2:1            → continued cause=7:1 tenant=1 tracestate=dropped
        1 out / 7:2:0            → flipped cause=7:1 tenant=1
        3 out / 8:2:1 tracestate=ot=th:c → continued cause=8:1 tenant=1 tracestate=dropped
        3 out / 8:2:0 tracestate=vendor=1 → flipped cause=8:1 tenant=1 tracestate=on
        3 out / 8:2:0            → flipped cause=8:1 tenant=1 tracestate=dropped
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:1 tracestate=ot=th:8
         1 out / 7:2:1 tracestate=ot=th:c
         1 out / 7:2:1
         1 out / 7:2:0
         2 in b 8:1:1 tracestate=ot=th:8,vendor=1
         3 out / 8:2:1 tracestate=ot=th:c
         3 out / 8:2:0 tracestate=vendor=1
         3 out / 8:2:0",
    ));
}

#[test]
fn what_a_list_has_no_room_for_may_be_left_out() {
    let long = format!("long={}", "v".repeat(124));
    let short = format!("short={}", "v".repeat(122));
    let told = play(&format!(
        "0 in a 7:1:1 tracestate={long}
         1 out / 7:2:1
         2 in b 8:1:1 tracestate={long},{short}
         3 out / 8:2:1 tracestate={short}
         3 out / 8:2:1 tracestate={short}{short}{short}
         3 out / 8:2:1 tracestate={long}
         3 out / 8:2:1"
    ));
    let told: Vec<_> = told.lines().map(|line| line.rsplit(" → ").next().unwrap()).collect();
    assert_eq!(
        told,
        [
            "continued cause=7:1 tenant=1",
            "continued cause=8:1 tenant=1 tracestate=on",
            "continued cause=8:1 tenant=1",
            "continued cause=8:1 tenant=1 tracestate=on",
            "continued cause=8:1 tenant=1 tracestate=dropped",
        ]
    );
}

#[test]
fn a_tracestate_belongs_to_a_traceparent() {
    expect![[r#"
        1 out / 7:2:1:b3         → continued cause=7:1 tenant=1
        3 out / 8:2:1            → continued cause=8:1 tenant=1
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:1 tracestate=vendor=1
         1 out / 7:2:1:b3
         2 in b 8:1:1:b3 tracestate=vendor=1
         3 out / 8:2:1",
    ));
}

#[test]
fn baggage_is_dropped_where_all_of_it_is_gone_or_the_tenant_is() {
    expect![[r#"
        1 out / 7:2:1 tenant=5 baggage=tenant=acme → continued cause=7:1 tenant=5 baggage=on
        1 out / 7:2:1 tenant=6 baggage=tenant=beta → continued cause=7:1 tenant=5 baggage=on
        1 out / 7:2:1:b3         → continued cause=7:1 tenant=5 baggage=dropped_with_tenant
        1 out / 7:1:1 tenant=5   → passed_through cause=7:1 tenant=5 baggage=dropped
        1 out / 7:2:1 tenant=6   → continued cause=7:1 tenant=5 baggage=dropped_with_tenant
        1 out / 7:2:1 baggage=b=2 → continued cause=7:1 tenant=5 baggage=tenant_dropped
        1 out / 7:2:1 tenant=6 baggage=b=2 → continued cause=7:1 tenant=5 baggage=tenant_dropped
        1 out / 7:2:1 tenant=5 baggage=b=2 → continued cause=7:1 tenant=5 baggage=on
        2 out / 7:2:1 cut        → continued cause=7:1 tenant=5
        2 out / 7:2:1 baggage=b=2 cut → continued cause=7:1 tenant=5
        2 out / 7:2:1 baggage=bad → continued cause=7:1 tenant=5
        4 out / 8:2:1 baggage=c=3 → continued cause=8:1 tenant=5 baggage=on
        4 out / 8:2:1            → continued cause=8:1 tenant=5 baggage=dropped
        6 out / 9:2:1            → continued cause=9:1 tenant=5
        8 out / 10:2:1           → continued cause=10:1 tenant=1
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:1 tenant=5 baggage=tenant=acme,b=2
         1 out / 7:2:1 tenant=5 baggage=tenant=acme
         1 out / 7:2:1 tenant=6 baggage=tenant=beta
         1 out / 7:2:1:b3
         1 out / 7:1:1 tenant=5
         1 out / 7:2:1 tenant=6
         1 out / 7:2:1 baggage=b=2
         1 out / 7:2:1 tenant=6 baggage=b=2
         1 out / 7:2:1 tenant=5 baggage=b=2
         2 out / 7:2:1 cut
         2 out / 7:2:1 baggage=b=2 cut
         2 out / 7:2:1 baggage=bad
         3 in b 8:1:1 tenant=5 baggage=b=2
         4 out / 8:2:1 baggage=c=3
         4 out / 8:2:1
         5 in c 9:1:1 tenant=5
         6 out / 9:2:1
         7 in d 10:1:1 baggage=tenant=acme cut
         8 out / 10:2:1",
    ));
}

#[test]
fn only_what_every_request_had_that_brought_the_trace_can_be_dropped() {
    expect![[r#"
        2 out / 7:2:1 tenant=5 tracestate=other=1 baggage=tenant=acme → continued tenant=5 tracestate=on baggage=on
        2 out / 7:2:1            → continued tenant=5 tracestate=dropped baggage=dropped_with_tenant
        4 out / 7:2:1            → continued tenant=5 tracestate=dropped baggage=dropped
        6 out / 7:2:1            → continued tenant=5
        9 out / 8:2:1            → continued tenant=1
        12 out / 9:2:1           → continued tenant=1 tracestate=dropped
        13 out / 9:2:0           → flipped tenant=1
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:1 tenant=5 tracestate=vendor=1 baggage=tenant=acme
         1 in b 7:3:1 tenant=5 tracestate=other=1 baggage=tenant=acme
         2 out / 7:2:1 tenant=5 tracestate=other=1 baggage=tenant=acme
         2 out / 7:2:1
         3 in c 7:3:1 tenant=6 tracestate=other=1 baggage=tenant=beta
         4 out / 7:2:1
         5 in d 7:3:1 tenant=5
         6 out / 7:2:1
         7 in e 8:1:1 tracestate=vendor=1 baggage=b=2
         8 in f 8:3:1 cut
         9 out / 8:2:1
         10 in g 9:1:1 tracestate=vendor=1
         11 in h 9:1:1 tracestate=ot=rv:1
         12 out / 9:2:1
         13 out / 9:2:0",
    ));
}

#[test]
fn what_is_not_seen_may_have_brought_the_trace_without() {
    expect![[r#"
        2 out / 7:2:1            → continued cause=7:1 tenant=1
        40000 out / 7:2:1        → continued cause=7:1 tenant=1 tracestate=dropped baggage=dropped
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:1 tracestate=vendor=1 baggage=b=2
         1 hide tls
         2 out / 7:2:1
         40000 out / 7:2:1",
    ));
}

#[test]
fn hops_without_a_trace_that_arrived_drop_nothing_more() {
    expect![[r#"
        1 out / 999:2:1          → continued cause=999:1 tenant=1
        4 out / -                → lost cause=7:1 tenant=1
        4 out / 8:1:1            → restarted started cause=7:1 tenant=1
    "#]]
    .assert_eq(&play(
        "0 in known 999:1:1
         1 out / 999:2:1
         2 end known 200
         3 in a 7:1:1 tracestate=vendor=1 baggage=b=2
         4 out / -
         4 out / 8:1:1",
    ));
}

#[test]
fn what_is_remembered_of_a_trace_is_small() {
    assert_eq!(size_of::<Option<Arrival>>(), 80);
}
