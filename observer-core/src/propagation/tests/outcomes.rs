//! Every outcome.
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use expect_test::expect;

use super::{Script, play};

/// A class that is continued at other times, so that its hops may be accused at once.
const KNOWN: &str = "
    0 in known 999:1:1
    1 out / 999:2:1
    2 end known 200";

fn play_known(lines: &str) -> String {
    Script::new().play(false, KNOWN).play(true, lines).finish()
}

#[test]
fn a_hop_with_the_trace_that_arrived_is_continued_or_passed_through() {
    expect![[r#"
        1 out / 7:2:1            → continued cause=7:1 tenant=5
        1 out / 7:1:1            → passed_through cause=7:1 tenant=5
        3 out / 7:3:1            → continued cause=7:1 tenant=5
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:1 tenant=5
         1 out / 7:2:1
         1 out / 7:1:1
         2 end a 200
         3 out / 7:3:1",
    ));
}

#[test]
fn a_trace_is_remembered_for_ten_minutes_after_its_last_message() {
    expect![[r#"
        599999 out / 7:2:1       → continued cause=7:1 tenant=1
        600000 out / 7:2:1       → background started
        1200000 out / 7:4:1      → continued cause=7:3 tenant=1
        1200001 out / 7:3:1      → background started
        1800001 out / 7:4:1      → background started
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:1
         1 end a 200
         599999 out / 7:2:1
         600000 out / 7:2:1
         600001 in b 7:3:1
         600002 end b 200
         1200000 tick
         1200000 out / 7:4:1
         1200001 out / 7:3:1
         1800000 tick
         1800001 out / 7:4:1",
    ));
}

#[test]
fn a_hop_without_context_is_lost_where_every_cause_had_one() {
    expect![[r#"
        11 out / -               → lost cause=7:1 tenant=5
        13 out / -               → lost tenant=5
        15 out / bad             → lost
    "#]]
    .assert_eq(&play_known(
        "10 in a 7:1:1 tenant=5
         11 out / -
         12 in b 8:1:1 tenant=5
         13 out / -
         14 in c 9:1:1 tenant=6
         15 out / bad",
    ));
}

#[test]
fn a_hop_with_a_trace_that_never_arrived_is_restarted_where_every_cause_had_a_context() {
    expect![[r#"
        11 out / 70:1:1          → restarted started cause=7:1 tenant=5
        13 out / 71:1:1          → restarted started
        13 out / 71:2:1          → restarted started
    "#]]
    .assert_eq(&play_known(
        "10 in a 7:1:1 tenant=5
         11 out / 70:1:1
         12 in b 8:1:1
         13 out / 71:1:1
         13 out / 71:2:1",
    ));
}

#[test]
fn a_hop_is_rooted_where_no_cause_had_a_context() {
    expect![[r#"
        11 out / 70:1:1          → rooted started cause=- tenant=5
        13 out / -               → rooted tenant=5
        14 out / 71:1:0          → rooted started tenant=5
    "#]]
    .assert_eq(&play_known(
        "10 in a - tenant=5
         11 out / 70:1:1
         12 in b bad tenant=5
         13 out / -
         14 out / 71:1:0",
    ));
}

#[test]
fn a_hop_is_ambiguous_where_some_causes_had_a_context_and_some_had_none() {
    expect![[r#"
        13 out / -               → ambiguous
        14 out / 70:1:1          → ambiguous started
        15 out / 8:2:1           → continued cause=8:1 tenant=6
        18 out / -               → lost cause=8:1 tenant=6
    "#]]
    .assert_eq(&play_known(
        "10 in a - tenant=4
         11 in b 8:1:1 tenant=6
         12 in c bad tenant=5
         13 out / -
         14 out / 70:1:1
         15 out / 8:2:1
         16 end a 200
         17 end c 200
         18 out / -",
    ));
}

#[test]
fn sixty_four_requests_that_agree_decide_a_hop_and_one_that_does_not_opens_it() {
    let mut script = Script::new();
    script.play(false, KNOWN);
    for number in 0..64 {
        script.play(false, &format!("10 in r{number} {}:1:1 tenant=5", 100 + number));
    }
    script.play(true, "11 out / -\n 11 out / 70:1:1\n 11 out / 120:2:1\n 11 out / 121:2:0");
    script.play(true, "12 in other - tenant=5\n 13 out / -\n 13 out / 70:1:1\n 13 out / 122:2:1");
    for number in 0..64 {
        script.play(false, &format!("14 end r{number} 200"));
    }
    script.play(true, "15 out / -\n 16 end other 200\n 17 out / -");
    expect![[r#"
        11 out / -               → lost tenant=5
        11 out / 70:1:1          → restarted started tenant=5
        11 out / 120:2:1         → continued cause=120:1 tenant=5
        11 out / 121:2:0         → flipped cause=121:1 tenant=5
        13 out / -               → ambiguous tenant=5
        13 out / 70:1:1          → ambiguous started tenant=5
        13 out / 122:2:1         → continued cause=122:1 tenant=5
        15 out / -               → rooted cause=- tenant=5
        17 out / -               → background
        1 lost → ambiguous, 1 examples
    "#]]
    .assert_eq(&script.finish());
}

#[test]
fn a_hop_is_background_where_nothing_is_in_flight() {
    expect![[r#"
        0 out / 70:1:1           → background started
        1 out / -                → background
        4 out / 71:1:1           → background started
        5 out / -                → background
    "#]]
    .assert_eq(&play(
        "0 out / 70:1:1
         1 out / -
         2 in a 7:1:1
         3 end a 200
         4 out / 71:1:1
         5 out / -",
    ));
}

#[test]
fn the_other_sampled_flag_is_a_flip_unless_it_was_left_open_or_arrived_both_ways() {
    expect![[r#"
        1 out / 7:2:0            → flipped cause=7:1 tenant=1
        2 out / 7:1:0            → flipped cause=7:1 tenant=1
        4 out / 8:2:1            → flipped cause=8:1 tenant=1
        6 out / 9:2:1            → continued cause=9:1 tenant=1
        7 out / 9:2:0            → continued cause=9:1 tenant=1
        9 out / 10:3:0           → continued tenant=1
        9 out / 10:3:1           → continued tenant=1
        9 out / 7:2:d            → continued cause=7:1 tenant=1
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:1
         1 out / 7:2:0
         2 out / 7:1:0
         3 in b 8:1:0
         4 out / 8:2:1
         5 in c 9:1:d
         6 out / 9:2:1
         7 out / 9:2:0
         8 in d 10:1:1
         8 in e 10:2:0
         9 out / 10:3:0
         9 out / 10:3:1
         9 out / 7:2:d",
    ));
}

#[test]
fn a_weight_of_one_may_turn_the_decision_to_sampled() {
    expect![[r#"
        1 out / 7:2:1 w=1        → continued cause=7:1 tenant=1 weight=kept promised=true
        2 out / 7:2:1 w=0.1      → flipped cause=7:1 tenant=1 weight=kept
        4 out / 8:2:0 w=1        → flipped cause=8:1 tenant=1 weight=kept promised=false
        6 out / 9:2:1 w=1        → continued cause=9:1 tenant=1 weight=kept promised=true
        8 out / 10:2:1 w=1       → continued cause=10:1 tenant=1 promised=true
        9 out / 10:2:1           → flipped cause=10:1 tenant=1
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:0 w=0.1
         1 out / 7:2:1 w=1
         2 out / 7:2:1 w=0.1
         3 in b 8:1:1 w=1
         4 out / 8:2:0 w=1
         5 in c 9:1:0 w=1
         6 out / 9:2:1 w=1
         7 in d 10:1:0
         8 out / 10:2:1 w=1
         9 out / 10:2:1",
    ));
}

#[test]
fn a_weight_of_one_beside_an_unsampled_flag_is_told_of_who_brought_them_together() {
    expect![[r#"
        0 out / 6:1:0 w=1        → background started promised=false
        1 out / 7:2:0 w=1        → continued cause=7:1 tenant=1 weight=kept promised=false
        3 out / 8:2:0 w=1        → continued cause=8:1 tenant=1 weight=kept
        5 out / 9:2:0 w=1        → flipped cause=9:1 tenant=1 weight=kept promised=false
        7 out / 10:2:0 w=1       → continued tenant=1
        8 out / 10:2:0 w=0.1     → continued tenant=1
        9 out / 11:2:0 w=1       → unattributed (tls)
    "#]]
    .assert_eq(&play(
        "0 out / 6:1:0 w=1
         0 in a 7:1:0 w=0.1
         1 out / 7:2:0 w=1
         2 in b 8:1:0 w=1
         3 out / 8:2:0 w=1
         4 in c 9:1:1 w=1
         5 out / 9:2:0 w=1
         6 in d 10:1:0 w=1
         6 in e 10:1:0 w=0.1
         7 out / 10:2:0 w=1
         8 out / 10:2:0 w=0.1
         9 hide tls
         9 out / 11:2:0 w=1",
    ));
}

#[test]
fn an_error_knows_the_weight_that_its_request_brought_or_was_raised_to() {
    expect![[r#"
        1 end a 500              → error tenant=Some(1) unsampled=Some(true) Valid(0.1)
        3 out / 8:2:1 w=1        → continued cause=8:1 tenant=1 weight=kept promised=true
        4 end b 500              → error tenant=Some(1) unsampled=Some(false) Valid(1.0)
        6 out / 9:2:1 w=0.1      → continued cause=9:1 tenant=1 weight=kept
        7 end c 500              → error tenant=Some(1) unsampled=Some(false) Valid(0.1)
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:0 w=0.1
         1 end a 500
         2 in b 8:1:0 w=0.1
         3 out / 8:2:1 w=1
         4 end b 500
         5 in c 9:1:1 w=0.1
         6 out / 9:2:1 w=0.1
         7 end c 500",
    ));
}

#[test]
fn weights_are_judged_on_hops_that_carry_the_trace() {
    expect![[r#"
        1 out / 7:2:1 w=0.5      → continued cause=7:1 tenant=1 weight=kept
        1 out / 7:2:1            → continued cause=7:1 tenant=1 weight=missing
        1 out / 7:2:1 w=0.4      → continued cause=7:1 tenant=1 weight=changed
        1 out / 7:2:1 w=1        → continued cause=7:1 tenant=1 weight=kept promised=true
        1 out / 7:2:1 w=bad      → continued cause=7:1 tenant=1 weight=malformed
        1 out / -                → lost cause=7:1 tenant=1
        3 out / 7:2:1 w=0.5      → continued tenant=1
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:1 w=0.5
         1 out / 7:2:1 w=0.5
         1 out / 7:2:1
         1 out / 7:2:1 w=0.4
         1 out / 7:2:1 w=1
         1 out / 7:2:1 w=bad
         1 out / -
         2 in b 7:3:1 w=0.6
         3 out / 7:2:1 w=0.5",
    ));
}

#[test]
fn a_request_can_cause_hops_until_its_response_and_for_thirty_seconds() {
    expect![[r#"
        30009 out / -            → lost cause=7:1 tenant=1
        30010 out / -            → background
        30021 out / -            → ambiguous cause=8:1 tenant=1
        30023 out / -            → background
        1 lost → ambiguous, 1 examples
    "#]]
    .assert_eq(&play_known(
        "10 in a 7:1:1
         30009 out / -
         30010 out / -
         30020 in b 8:1:1
         30021 out / -
         30022 end b 101
         30023 out / -
         30024 end a 200",
    ));
}

#[test]
fn what_is_hidden_makes_the_hop_unattributed_and_not_what_is_proven() {
    expect![[r#"
        12 out / -               → unattributed (tls)
        12 out / 70:1:1          → unattributed (tls)
        12 out / 7:2:1           → continued cause=7:1 tenant=1
        12 out / 7:1:1           → passed_through cause=7:1 tenant=1
        12 out / 7:2:0           → unattributed (tls) cause=7:1 tenant=1
        30010 out / -            → unattributed (tls)
        30012 out / -            → lost cause=8:1 tenant=1
    "#]]
    .assert_eq(&play_known(
        "10 in a 7:1:1
         11 hide tls
         12 out / -
         12 out / 70:1:1
         12 out / 7:2:1
         12 out / 7:1:1
         12 out / 7:2:0
         30010 in b 8:1:1
         30010 out / -
         30012 out / -",
    ));
}

#[test]
fn a_head_that_was_not_fully_seen_accuses_nobody() {
    // The hop's own head; then an inbound one, which may have brought the trace even when it is answered.
    expect![[r#"
        11 out / ?               → unattributed (head_cut)
        13 out / -               → unattributed (head_cut)
        13 out / 70:1:1          → unattributed (head_cut)
        15 out / -               → lost cause=7:1 tenant=1
        15 out / 70:1:1          → unattributed (head_cut)
    "#]]
    .assert_eq(&play_known(
        "10 in a 7:1:1
         11 out / ?
         12 in b ?
         13 out / -
         13 out / 70:1:1
         14 end b 200
         15 out / -
         15 out / 70:1:1",
    ));
}

#[test]
fn a_connection_joined_in_the_middle_hides_until_its_next_head() {
    expect![[r#"
        12 out / -               → unattributed (joined_late)
        14 out / -               → unattributed (joined_late)
        16 out / -               → lost tenant=1
        18 out / 70:1:1          → unattributed (joined_late)
        30018 out / 70:1:1       → restarted started cause=9:1 tenant=1
    "#]]
    .assert_eq(&play_known(
        "10 late c
         10 late d
         11 in a 7:1:1
         12 out / -
         13 in c 8:1:1
         14 out / -
         15 end-unseen d 200
         16 out / -
         17 late e
         18 out / 70:1:1
         30018 in b 9:1:1
         30018 out / 70:1:1",
    ));
}

#[test]
fn an_error_says_whether_its_trace_is_sampled() {
    expect![[r#"
        1 end a 500              → error tenant=Some(5) unsampled=Some(true)
        5 end c 503              → error tenant=Some(1) unsampled=Some(false)
        7 end d 500              → error tenant=Some(6) unsampled=None
        9 out / 70:1:0           → rooted started cause=- tenant=6
        9.2 out / 70:2:0         → rooted started cause=- tenant=6
        10 end e 500             → error tenant=Some(6) unsampled=Some(true)
        10.1 out / 72:1:0        → rooted started cause=- tenant=6
        10.2 out / 73:1:1        → rooted started cause=- tenant=6
        10.3 end e 500           → error tenant=Some(6) unsampled=None
        12 out / 11:2:0          → continued cause=11:1 tenant=1
        13 end f 599             → error tenant=Some(1) unsampled=Some(true)
        14 end-unseen g 500      → error tenant=None unsampled=None
        15 end a 500             → error tenant=None unsampled=None
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:0 tenant=5
         1 end a 500
         2 in b 8:1:1 tenant=5
         3 end b 404
         4 in c 9:1:1
         5 end c 503
         6 in d - tenant=6
         7 end d 500
         8 in e - tenant=6
         9 out / 70:1:0
         9.2 out / 70:2:0
         10 end e 500
         10 in e - tenant=6
         10.1 out / 72:1:0
         10.2 out / 73:1:1
         10.3 end e 500
         11 in f 11:1:d
         12 out / 11:2:0
         13 end f 599
         14 end-unseen g 500
         15 end a 500",
    ));
}

#[test]
fn a_stream_that_is_answered_causes_nothing_more_and_its_error_is_known_at_its_end() {
    expect![[r#"
        11 out / -               → lost cause=7:1 tenant=5
        1013 out / -             → background
        60000 end a 500          → error tenant=Some(5) unsampled=Some(true)
        60001 end a 500          → error tenant=None unsampled=None
        1 lost → ambiguous, 1 examples
    "#]]
    .assert_eq(&play_known(
        "10 in a 7:1:0 tenant=5
         11 out / -
         1012 end a 0
         1013 out / -
         1014 end a 0
         60000 end a 500
         60001 end a 500",
    ));
}

#[test]
fn a_late_error_is_still_known() {
    expect![[r#"
        60002 end a 504          → error tenant=Some(5) unsampled=Some(true)
        660004 end b 504         → error tenant=None unsampled=None
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:0 tenant=5
         60000 in b 8:1:1
         60001 tick
         60002 end a 504
         660003 tick
         660004 end b 504",
    ));
}

#[test]
fn a_trace_that_comes_back_has_arrived_only_then() {
    expect![[r#"
        1 out / 70:1:1           → rooted started cause=- tenant=1
        2 out / 70:2:1           → continued cause=70:1 tenant=1
    "#]]
    .assert_eq(&play(
        "0 in a -
         1 out / 70:1:1
         1 in b 70:1:1
         2 out / 70:2:1",
    ));
}

#[test]
fn with_tiny_tables_an_evicted_trace_is_never_called_restarted() {
    let mut script = Script::with_memory(64 * 1024);
    script.play(false, KNOWN);
    for number in 1000..3000 {
        script.play(false, &format!("10 in x{number} {number}:1:1\n11 end x{number} 200"));
    }
    script.play(true, "12 in a 7:1:1\n 13 out / 1000:2:1\n 13 out / 1500:2:1\n 13 out / 2999:2:1\n 13 out / 7:2:1");
    let counters = script.propagation.counters();
    assert!(counters.traces_evicted > 1000 && counters.traces < 1000, "{counters:?}");
    expect![[r#"
        13 out / 1000:2:1        → ambiguous tenant=1
        13 out / 1500:2:1        → ambiguous tenant=1
        13 out / 2999:2:1        → continued cause=2999:1 tenant=1
        13 out / 7:2:1           → continued cause=7:1 tenant=1
    "#]]
    .assert_eq(&script.finish());
}

#[test]
fn a_request_for_which_there_is_no_room_hides_the_workload() {
    let mut script = Script::with_memory(16 * 1024);
    script.play(false, KNOWN);
    for number in 0..100 {
        script.play(false, &format!("10 in x{number} 7:1:1"));
    }
    assert!(script.propagation.counters().flights_refused > 0);
    script.play(true, "11 out / -\n 11 out / 7:2:1\n 40011 out / -");
    expect![[r#"
        11 out / -               → unattributed (table_full)
        11 out / 7:2:1           → continued tenant=1
        40011 out / -            → background
    "#]]
    .assert_eq(&script.finish());
}

#[test]
fn whoever_handles_a_record_may_begin_a_trace_of_its_own_but_not_lose_the_context() {
    expect![[r#"
        101 out / 7:2:1          → continued cause=7:1 tenant=5
        102 out / 8:2:1          → rooted started cause=7:1 tenant=5
        103 out / -              → lost cause=7:1 tenant=5
        105 out / 10:2:1         → ambiguous started tenant=5
        30100 out / 11:2:1       → background started
        30101 out / -            → background
        1 lost → ambiguous, 1 examples
    "#]]
    .assert_eq(&play_known(
        "100 in record 7:1:1 tenant=5
         101 out / 7:2:1
         102 out / 8:2:1
         103 out / -
         104 in a 9:1:1 tenant=5
         105 out / 10:2:1
         106 end a 200
         30100 out / 11:2:1
         30101 out / -",
    ));
}

#[test]
fn records_that_arrive_together_are_in_flight_together() {
    expect![[r#"
        120 out / -              → lost tenant=5
        140 out / -              → lost
        230 out / -              → ambiguous
        30101 out / -            → ambiguous tenant=5
        30211 out / -            → rooted cause=- tenant=5
        30221 out / -            → background
        2 lost → ambiguous, 2 examples
    "#]]
    .assert_eq(&play_known(
        "100 in record 7:1:1 tenant=5
         110 in record 8:1:1 tenant=5
         120 out / -
         130 in record 9:1:1 tenant=6
         140 out / -
         210 in record 10:1:1 tenant=5
         220 in record - tenant=5
         230 out / -
         30101 out / -
         30211 out / -
         30221 out / -",
    ));
}

#[test]
fn a_response_that_takes_long_is_told_but_not_the_end_of_a_stream() {
    expect![[r#"
        100001 end b 200         → slow tenant=Some(1) unsampled=Some(false) took=100.001s
        100001 end c 500         → error tenant=Some(1) unsampled=Some(true)
        100001 end d 500         → error tenant=Some(1) unsampled=Some(true)
        100001 end e 503         → error tenant=Some(1) unsampled=Some(true) took=100.001s
    "#]]
    .assert_eq(&play(
        "0 in a 7:1:0 w=0.1
         0 in b 8:1:1
         0 in c 9:1:0
         0 in d 10:1:0
         0 in e 11:1:0
         5 end c 0
         50000 end d 0
         100000 end a 200
         100001 end b 200
         100001 end c 500
         100001 end d 500
         100001 end e 503",
    ));
}
