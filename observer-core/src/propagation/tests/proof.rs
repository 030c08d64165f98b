//! When a class of hops is accused, and when it is not.
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::fmt::Write as _;

use expect_test::expect;

use super::Script;

/// `count` requests, one after another, `gap` ms apart, each in flight for `busy` ms; in the middle of each the lines of
/// `during`, in the middle of the gap the lines of `between`; `#` stands for the number of the request.
fn requests(first: u64, count: u64, busy: u64, gap: u64, during: &str, between: &str) -> String {
    let mut script = String::new();
    for number in first..first + count {
        let at = 10_000 + number * (busy + gap);
        let lines = |text: &str, at: u64| -> String {
            text.split(" · ").filter(|line| !line.is_empty()).fold(String::new(), |mut all, line| {
                writeln!(all, "{at} {}", line.replace('#', &number.to_string())).unwrap();
                all
            })
        };
        writeln!(script, "{at} in r{number} {}:1:1", 1_000_000 + number).unwrap();
        script.push_str(&lines(during, at + busy / 2));
        writeln!(script, "{} end r{number} 200", at + busy).unwrap();
        script.push_str(&lines(between, at + busy + gap / 2));
    }
    script
}

#[test]
fn a_class_that_only_loses_is_accused_once_it_provably_follows_requests() {
    let mut script = Script::new();
    script.play(false, &requests(0, 20, 20, 60, "out /stock/# -", ""));
    script.play(true, &requests(20, 1, 20, 60, "out /stock/# -", ""));
    expect![[r#"
        11610 out /stock/20 -    → lost cause=1000020:1 tenant=1
        14 ambiguous → lost, 3 examples
    "#]]
    .assert_eq(&script.finish());
}

#[test]
fn a_class_that_only_restarts_is_accused_once_it_provably_follows_requests() {
    let mut script = Script::new();
    script.play(false, &requests(0, 120, 20, 2, "out /stock 9#:1:1", ""));
    script.play(true, &requests(120, 1, 20, 2, "out /stock 9#:1:1", ""));
    expect![[r#"
        12650 out /stock 9120:1:1 → restarted started cause=1000120:1 tenant=1
        104 ambiguous → restarted, 3 examples
    "#]]
    .assert_eq(&script.finish());
}

#[test]
fn a_class_that_is_sometimes_continued_is_accused_at_once_and_its_earlier_hops_too() {
    let mut script = Script::new();
    script.play(true, &requests(0, 2, 20, 1, "out /stock -", ""));
    script.play(true, &requests(2, 1, 20, 1, "out /stock 1000002:2:1", ""));
    script.play(true, &requests(3, 1, 20, 1, "out /stock -", ""));
    expect![[r#"
        10010 out /stock -       → ambiguous cause=1000000:1 tenant=1
        10031 out /stock -       → ambiguous cause=1000001:1 tenant=1
        10052 out /stock 1000002:2:1 → continued cause=1000002:1 tenant=1
        10073 out /stock -       → lost cause=1000003:1 tenant=1
        2 ambiguous → lost, 2 examples
    "#]]
    .assert_eq(&script.finish());
}

#[test]
fn a_class_that_is_also_sent_while_nothing_is_in_flight_is_not_accused_because_others_of_it_are_continued() {
    let mut script = Script::new();
    script.play(true, &requests(0, 1, 20, 20, "out /token 1000000:2:1 · out /token 70:1:1", ""));
    script.play(true, &requests(1, 1, 20, 20, "", "out /token 71:1:1"));
    script.play(true, &requests(2, 1, 20, 20, "out /token 72:1:1", ""));
    expect![[r#"
        10010 out /token 1000000:2:1 → continued cause=1000000:1 tenant=1
        10010 out /token 70:1:1  → restarted started cause=1000000:1 tenant=1
        10070 out /token 71:1:1  → background started
        10090 out /token 72:1:1  → ambiguous started cause=1000002:1 tenant=1
        1 restarted → ambiguous, 1 examples
    "#]]
    .assert_eq(&script.finish());
}

#[test]
fn hops_that_are_sent_as_often_between_requests_are_never_accused() {
    let mut script = Script::new();
    script.play(false, &requests(0, 200, 20, 20, "out /poll -", "out /poll -"));
    script.play(true, &requests(200, 1, 20, 20, "out /poll -", "out /poll -"));
    expect![[r#"
        18010 out /poll -        → ambiguous cause=1000200:1 tenant=1
        18030 out /poll -        → background
    "#]]
    .assert_eq(&script.finish());
}

#[test]
fn a_level_load_gives_no_proof() {
    let mut script = Script::new();
    for number in 0..500 {
        let at = 10_000 + number * 10;
        script.play(false, &format!("{at} in a{number} {number}1:1:1\n"));
        if number > 0 {
            script.play(false, &format!("{at} end a{} 200\n{} out /stock -\n", number - 1, at + 5));
        }
    }
    script.play(true, "14999 out /stock -");
    expect![[r#"
        14999 out /stock -       → ambiguous cause=4991:1 tenant=1
    "#]]
    .assert_eq(&script.finish());
}

#[test]
fn a_burst_counts_once() {
    let mut script = Script::new();
    let burst = vec!["out /scrape -"; 50].join(" · ");
    script.play(false, &requests(0, 3, 20, 500, &burst, ""));
    script.play(true, &requests(3, 1, 20, 500, "out /scrape -", ""));
    expect![[r#"
        11570 out /scrape -      → ambiguous cause=1000003:1 tenant=1
    "#]]
    .assert_eq(&script.finish());
}

#[test]
fn what_was_accused_is_withdrawn_when_an_older_request_shows_up() {
    let mut script = Script::new();
    script.play(true, &requests(0, 1, 20, 1, "out /stock 1000000:2:1 · out /stock 70:1:1 · out /other 71:1:1", ""));
    script.play(true, "10050 end-unseen old 200\n 10051 in a 7:1:1\n 10052 out /stock 72:1:1");
    script.play(true, "45000 in b 7:1:1\n 45001 out /stock 73:1:1\n 45002 end-unseen older 200");
    expect![[r#"
        10010 out /stock 1000000:2:1 → continued cause=1000000:1 tenant=1
        10010 out /stock 70:1:1  → restarted started cause=1000000:1 tenant=1
        10010 out /other 71:1:1  → ambiguous started cause=1000000:1 tenant=1
        10052 out /stock 72:1:1  → restarted started cause=7:1 tenant=1
        45001 out /stock 73:1:1  → restarted started cause=7:1 tenant=1
        1 ambiguous → unattributed, 0 examples
        1 restarted → unattributed, 0 examples
    "#]]
    .assert_eq(&script.finish());
}
