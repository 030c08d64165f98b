//! Contexts in several formats.
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use expect_test::expect;

use super::Script;
use crate::context::{Format, Formats};

/// A class that is continued at other times, so that its hops may be accused at once.
const KNOWN: &str = "
    0 in known 999:1:1
    1 out / 999:2:1
    2 end known 200";

fn play_known(lines: &str) -> String {
    Script::new().play(false, KNOWN).play(true, lines).finish()
}

#[test]
fn a_trace_goes_on_in_another_format_and_with_the_low_half_of_its_id() {
    expect![[r#"
        11 out / H7:2:1:b3       → continued cause=18446744073709551623:1 tenant=5
        12 out / 7:3:1:x-datadog-trace-id → continued cause=18446744073709551623:1 tenant=5
        13 out / H7:1:1:uber-trace-id → passed_through cause=18446744073709551623:1 tenant=5
        14 out / 7:2:0:x-datadog-trace-id → flipped cause=18446744073709551623:1 tenant=5
        17 out / 8:2:1           → continued cause=8:1 tenant=1
        18 out / H8:2:1          → continued cause=8:1 tenant=1
    "#]]
    .assert_eq(&play_known(
        "10 in a H7:1:1 tenant=5
         11 out / H7:2:1:b3
         12 out / 7:3:1:x-datadog-trace-id
         13 out / H7:1:1:uber-trace-id
         14 out / 7:2:0:x-datadog-trace-id
         15 end a 200
         16 in b 8:1:1:x-datadog-trace-id
         17 out / 8:2:1
         18 out / H8:2:1
         19 end b 200",
    ));
}

#[test]
fn traces_that_share_no_more_than_the_low_half_are_not_taken_for_one() {
    let other = (2_u128 << 64) + 7;
    expect![[r#"
        11 out / 36893488147419103239:2:1 → ambiguous tenant=1
        13 out / 36893488147419103239:2:1 → continued cause=36893488147419103239:1 tenant=1
        14 out / H7:2:1          → ambiguous tenant=1
    "#]]
    .assert_eq(&play_known(&format!(
        "10 in a H7:1:1
         11 out / {other}:2:1
         12 in b {other}:1:1
         13 out / {other}:2:1
         14 out / H7:2:1"
    )));
}

#[test]
fn a_decision_that_was_left_open_is_no_flip_whatever_becomes_of_it() {
    expect![[r#"
        11 out / 7:2:1:b3        → continued cause=7:1 tenant=1
        12 out / 7:3:0:b3        → continued cause=7:1 tenant=1
        13 end a 500             → error tenant=Some(1) unsampled=Some(false)
        15 out / 8:2:d:b3        → continued cause=8:1 tenant=1
    "#]]
    .assert_eq(&play_known(
        "10 in a 7:1:d:b3
         11 out / 7:2:1:b3
         12 out / 7:3:0:b3
         13 end a 500
         14 in b 8:1:1
         15 out / 8:2:d:b3",
    ));
}

#[test]
fn each_trace_that_a_message_carries_has_arrived_and_either_may_go_on() {
    expect![[r#"
        11 out / 7:2:1           → continued cause=7:1 tenant=1
        12 out / 8:2:0:b3        → continued cause=8:1 tenant=1
        13 out / 9:2:1+8:2:0:b3  → continued cause=8:1 tenant=1
        14 out / -               → lost cause=7:1 tenant=1
        15 out / 9:3:1           → restarted started cause=7:1 tenant=1
        18 out / 20:2:0          → continued tenant=1
        19 out / 20:2:1          → continued tenant=1
        22 out / 30:2:1+30:2:0:b3 → continued cause=30:1 tenant=1
        23 out / 30:2:0+30:2:0:b3 → flipped cause=30:1 tenant=1
    "#]]
    .assert_eq(&play_known(
        "10 in a 7:1:1+8:1:0:b3
         11 out / 7:2:1
         12 out / 8:2:0:b3
         13 out / 9:2:1+8:2:0:b3
         14 out / -
         15 out / 9:3:1
         16 end a 200
         17 in b 20:1:1+20:1:0:b3
         18 out / 20:2:0
         19 out / 20:2:1
         20 end b 200
         21 in c 30:1:1
         22 out / 30:2:1+30:2:0:b3
         23 out / 30:2:0+30:2:0:b3",
    ));
}

#[test]
fn where_one_format_is_malformed_the_receiver_may_have_had_no_context() {
    expect![[r#"
        11 out / -               → ambiguous cause=7:1 tenant=1
        12 out / 9:1:1           → ambiguous started cause=7:1 tenant=1
        13 out / 7:2:1           → continued cause=7:1 tenant=1
        16 out / -               → lost cause=8:1 tenant=1
    "#]]
    .assert_eq(&play_known(
        "10 in a 7:1:1+bad
         11 out / -
         12 out / 9:1:1
         13 out / 7:2:1
         14 end a 200
         15 in b 8:1:1
         16 out / -",
    ));
}

#[test]
fn a_decision_without_a_trace_may_mean_the_one_that_arrived() {
    expect![[r#"
        11 out / -+deny          → ambiguous tenant=1
        12 out / -               → lost cause=7:1 tenant=1
    "#]]
    .assert_eq(&play_known(
        "10 in a 7:1:0:b3
         11 out / -+deny
         12 out / -",
    ));
}

#[test]
fn what_a_load_balancer_writes_counts_only_for_who_reads_it() {
    expect![[r#"
        11 out / -               → rooted cause=7:1 tenant=1
        11 out / 9:1:1           → rooted started cause=7:1 tenant=1
        13 out / -               → ambiguous tenant=1
        14 out / 9:1:1           → ambiguous started tenant=1
        15 out / 7:2:1:x-cloud-trace-context → continued cause=7:1 tenant=1
        16 out / -               → lost tenant=1
        17 out / 9:1:1           → restarted started tenant=1
    "#]]
    .assert_eq(&play_known(
        "10 in a 7:1:1:x-cloud-trace-context
         11 out / -
         11 out / 9:1:1
         12 in b 8:1:1
         13 out / -
         14 out / 9:1:1
         15 out / 7:2:1:x-cloud-trace-context
         16 out / -
         17 out / 9:1:1",
    ));
}

#[test]
fn a_hop_tells_the_formats_that_all_its_causes_brought() {
    let mut script = Script::new();
    let brought = |script: &mut Script, lines: &str| {
        script.brought.clear();
        script.play(false, lines);
        script.brought.clone()
    };
    let of = |format| Formats::of(format);
    let (w3c, b3) = (of(Format::W3c), of(Format::B3));
    assert_eq!(brought(&mut script, "0 in a 7:1:1:b3\n1 out / 9:1:1\n2 out / 7:2:1"), [b3, b3]);
    assert_eq!(brought(&mut script, "3 in b 8:1:1\n4 out / 9:1:1\n5 out / 8:2:1"), [Formats::NONE, w3c]);
    assert_eq!(brought(&mut script, "6 end a 200\n7 out / 9:1:1\n8 in c -\n9 out / 9:1:1"), [w3c, Formats::NONE]);
    assert_eq!(brought(&mut script, "10 end b 200\n11 end c 200\n12 out / 9:1:1"), [Formats::NONE]);
}
