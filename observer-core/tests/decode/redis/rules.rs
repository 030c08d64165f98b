//! What is told of which requests and replies: each case a conversation, and the lines that it gives.

use observer_core::decode::{Anomalies, Conversation, Fidelity, Piece, Shared, redis};
use observer_core::message::End;
use observer_core::time::Timestamp;

use super::script::{Runs, reply, request};
use crate::tap::{Owned, cut, interest, tell};

/// What a client says to whom it has just connected: from then on replies answer what they seem to.
pub(super) fn greeting() -> Runs {
    (0..2).flat_map(|_| [(End::First, request(&["PING"])), (End::Second, reply(&["+PONG"]))]).collect()
}

/// A conversation in words: requests and replies by turns, each line one of them. Words are elements of a request or tokens of a
/// reply ([`reply`]); `|` stands for white space within them.
fn runs(text: &str) -> Runs {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let words: Vec<String> = line[1..]
                .split_whitespace()
                .map(|word| format!("{}{}", &word[..1], word[1..].replace('|', " ")))
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if line.starts_with('>') { (End::First, request(&words)) } else { (End::Second, reply(&words)) }
        })
        .collect()
}

/// The lines without what is the same in all.
fn short(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| line.replace(" - redis", "")).collect()
}

/// Checks what is told of a conversation after its greeting, wherever it is cut.
fn check(text: &str, expected: &[&str]) {
    let runs = [greeting(), runs(text)].concat();
    for segment in [1, 5, usize::MAX] {
        let (lines, anomalies) = tell(Fidelity::Heads, &cut(&runs, |_| segment));
        assert_eq!(short(lines), expected, "{text}");
        assert_eq!(anomalies, Anomalies::default(), "{text}");
    }
}

const TRACE: &str = r#""traceparent":"00-1""#;
const KOMBU: &str = r#"{"body":"e30=","headers":{"traceparent":"00-1","x-tenant-id":"acme","id":"7"},"properties":{}}"#;

#[test]
fn what_a_client_waits_for_is_work() {
    check("> BRPOP a b 1 \n < *2 b opaque", &["< Fetched b incomplete"]);
    check(&format!("> BRPOP a b 1 \n < *2 b {KOMBU}"), &["< Fetched b | traceparent: 00-1 | x-tenant-id: acme"]);
    check(&format!("> BRPOPLPUSH a b 1 \n < {KOMBU}"), &["< Fetched a | traceparent: 00-1 | x-tenant-id: acme"]);
    check("> BLMOVE a b LEFT RIGHT 0 \n < id", &["< Fetched a incomplete"]);
    check("> BLMPOP 0 2 a b LEFT COUNT 2 \n < *2 a *2 1 2", &["< Fetched a incomplete"; 2]);
    check("> BZPOPMIN a b 0 \n < *3 a member ,1.5", &["< Fetched a incomplete"]);
    check("> BZMPOP 0 1 a MIN COUNT 2 \n < *2 a *2 *2 one 1 *2 two 2", &["< Fetched a incomplete"; 2]);
    for nothing in ["_", "*-1", "$-1", "-ERR|no"] {
        check(&format!("> BRPOP a 1 \n < {nothing} \n > BLMOVE a b LEFT LEFT 1 \n < {nothing}"), &[]);
    }
}

#[test]
fn what_is_taken_without_waiting_is_data_unless_it_is_known_to_be_work() {
    check(
        "> LPOP a \n < opaque \n > RPOPLPUSH a b \n < x \n > LPOP a 2 \n < *2 x y \n > LMPOP 1 a LEFT \n < *2 a *1 x",
        &[],
    );
    check(
        "> LPOP a \n < {\"headers\":{}} \n > ZPOPMIN a \n < *2 x 1 \n > GET a \n < x \n > LRANGE a 0 1 \n < *1 x",
        &[],
    );
    check(&format!("> RPOP a \n < {KOMBU}"), &["< Fetched a | traceparent: 00-1 | x-tenant-id: acme"]);
    check("> LPOP rq:queue:a \n < 7d2c538a \n > LMOVE rq:queue:a b LEFT RIGHT \n < 7d", &["< Fetched a incomplete"; 2]);
}

#[test]
fn entries_of_streams_are_told_one_by_one() {
    let entries = "*3 *2 1-1 *4 traceparent 00-1 authorization x *2 1-2 *-1 *2 1-3 *4 a b X-Tenant-Id acme";
    let told = |stream: &str| {
        [format!("< Fetched {stream} | traceparent: 00-1"), format!("< Fetched {stream} | x-tenant-id: acme")]
    };
    let (a, b) = (told("a"), told("b"));
    let [a, b] = [&a, &b].map(|told| [told[0].as_str(), told[1].as_str()]);
    let both = [a, b].concat();
    check(&format!("> XREAD BLOCK 0 STREAMS a b 0 0 \n < *2 *2 a {entries} *2 b {entries}"), &both);
    check(&format!("> XREADGROUP GROUP STREAMS c STREAMS a b > > \n < %2 a {entries} b {entries}"), &both);
    check(&format!("> XCLAIM a g c 0 1-1 \n < {entries}"), &a);
    check(&format!("> XAUTOCLAIM a g c 0 0 \n < *3 0-0 {entries} *1 1-9"), &a);
    check("> XCLAIM a g c 0 1-1 JUSTID \n < *2 1-1 1-2 \n > XAUTOCLAIM a g c 0 0 JUSTID \n < *3 0-0 *1 1-1 *0", &[]);
    check("> XREADGROUP GROUP g c STREAMS a > \n < _ \n > XREAD STREAMS a 0 \n < *-1", &[]);
    check(&format!("> XRANGE a - + \n < {entries}"), &[]);
}

#[test]
fn entries_are_added_with_any_options() {
    for options in
        ["*", "NOMKSTREAM 1-1", "MAXLEN 5 *", "maxlen ~ 5 LIMIT 7 *", "MINID = 1-1 DELREF *", "IDMP p i MAXLEN = 5 1-*"]
    {
        let told = ["> Produced a | traceparent: 00-1 | x-tenant-id: acme"];
        check(&format!("> XADD a {options} x y traceparent 00-1 x-tenant-id acme \n < 1-1"), &told);
    }
    check("> XADD rq:results:7 * traceparent 00-1 \n < 1-1 \n > XADD celeryev * traceparent 00-1 \n < 1-2", &[]);
}

#[test]
fn what_is_pushed_and_published_is_work_if_it_says_so() {
    let told = "> Produced a | traceparent: 00-1 | x-tenant-id: acme";
    check(&format!("> LPUSH a {KOMBU} x {KOMBU} \n < :3 \n > RPUSH a\u{6}\u{16}9 {KOMBU} \n < :4"), &[told; 3]);
    check(&format!("> LPUSH a x {{{TRACE}}} {{\"headers\":{{{TRACE}}}}} \n < :3 \n > SET a {KOMBU} \n < +OK"), &[]);
    check("> RPUSH rq:queue:a 1 2 \n < :2", &["> Produced a incomplete"; 2]);
    check(
        &format!("> PUBLISH a x \n < :1 \n > SPUBLISH a {{\"headers\":{{{TRACE}}}}} \n < :1"),
        &["> Produced a | traceparent: 00-1"],
    );
    let again = KOMBU.replace("\"id\"", "\"redelivered\":true,\"id\"");
    check(&format!("> RPUSH a {again} \n < :1"), &[]);
    for key in ["celery.pidbox", "7.reply.celery.pidbox", "/0.celeryev/task.multi", "celery-task-meta-7", "rq:pubsub:7"]
    {
        check(
            &format!(
                "> LPUSH {key} {KOMBU} \n < :1 \n > PUBLISH {key} {KOMBU} \n < :1 \n > BRPOP {key} 1 \n < *2 {key} {KOMBU}"
            ),
            &[],
        );
    }
}

#[test]
fn replies_of_a_transaction_come_with_its_end() {
    let queued = "> MULTI \n < +OK \n > LPOP rq:queue:a \n < +QUEUED \n > GET b \n < +QUEUED \n > XREAD STREAMS s 0 \n < +QUEUED";
    let told = ["< Fetched a incomplete", "< Fetched s | traceparent: 00-1"];
    check(
        &format!("{queued} \n > EXEC \n < *3 7d2c *1 x %1 s *1 *2 1-1 *2 traceparent 00-1 \n > LPOP a \n < x"),
        &told,
    );
    check(&format!("{queued} \n > EXEC \n < _ \n > EXEC \n < -ERR \n > GET a \n < x"), &[]);
    check(
        &format!("{queued} \n > DISCARD \n < +OK \n > MULTI \n < +OK \n > GET a \n < +QUEUED \n > EXEC \n < *1 x"),
        &[],
    );
    check("> MULTI \n < +OK \n > NONE \n < -ERR \n > LPOP rq:queue:a \n < +QUEUED \n > EXEC \n < -EXECABORT", &[]);
}

#[test]
fn what_is_said_in_channels_answers_no_request() {
    let push = format!("< >3 message news {{\"headers\":{{{TRACE}}}}}");
    let told = ["< Fetched news | traceparent: 00-1", "< Fetched q incomplete"];
    check(&format!("> BRPOP q 0 \n {push} \n < *2 q x"), &told);
    check(
        "> SUBSCRIBE a b \n < >3 subscribe a :1 >3 subscribe b :2 >3 smessage a x >4 pmessage * a y",
        &["< Fetched a incomplete"; 2],
    );
    check(
        "> SUBSCRIBE a b \n < *3 subscribe a :1 *3 subscribe b :2 \n > PING \n < *3 message a x *2 pong $0 \n > UNSUBSCRIBE \n
         < *3 unsubscribe a :1 *3 unsubscribe b :0 \n > LPOP rq:queue:a \n < 7d2c",
        &["< Fetched a incomplete"; 2],
    );
    check(
        "> SUBSCRIBE __keyspace@0__:a celery-task-meta-1 \n < >3 message __keyspace@0__:a x >3 message celery-task-meta-1 x",
        &[],
    );
    check("> GET a \n < >2 invalidate *1 a x \n > LPOP rq:queue:a \n < 7", &["< Fetched a incomplete"]);
}

#[test]
fn a_listener_is_known_by_what_it_hears() {
    for (message, protocol) in
        [("*3 message a x", "RESP2"), (">3 message a x", "RESP3"), ("*4 pmessage * a x", "RESP2")]
    {
        let runs = runs(&format!("< {message} {message}"));
        let (lines, _) = tell(Fidelity::Whole, &cut(&runs, |_| usize::MAX));
        // The client is the other end.
        assert_eq!(short(lines), ["< Fetched a incomplete"; 2], "{protocol}");
    }
}

#[test]
fn a_client_may_want_no_replies() {
    check("> CLIENT REPLY SKIP \n > GET a \n > LPOP rq:queue:a \n < 7d2c", &["< Fetched a incomplete"]);
    check(
        "> CLIENT REPLY OFF \n > GET a \n > GET b \n > CLIENT REPLY ON \n < +OK \n > LPOP rq:queue:a \n < 7",
        &["< Fetched a incomplete"],
    );
}

#[test]
fn behind_monitor_nothing_is_told_again() {
    let (interest, mut shared, mut told) = (interest(), Shared::default(), 0);
    let mut conversation = Conversation::new(Fidelity::Heads);
    let runs = runs("> XADD a * x y \n < 1-1 \n > MONITOR \n < +OK +1.5|LPOP \n > XADD a * x y \n < +1.6|XADD");
    for (number, Owned { at, from, seq, ack, wire_len, bytes, link }) in (1..).zip(cut(&runs, |_| usize::MAX)) {
        let piece = Piece { at: Timestamp(at), from, seq, ack, wire_len, bytes: &bytes, link };
        conversation.piece(&piece, &interest, &mut shared, &mut |_| told += 1);
        assert_eq!(conversation.is_quiet(), number >= 3);
    }
    assert_eq!((told, shared.anomalies), (1, Anomalies::default()));
}

#[test]
fn attributes_tell_something_of_replies_and_are_none() {
    check("> BRPOP a 0 \n < |1 *1 x %1 y z *2 a |1 ttl :7 opaque", &["< Fetched a incomplete"]);
}

#[test]
fn scripts_of_bullmq_add_and_take_jobs() {
    let keys = "b:q:wait b:q:active b:q:prioritized";
    check(
        &format!("> evalsha f00 3 {keys} arg \n < *4 *4 name paint data {{}} 17 :0 :0"),
        &["< Fetched b:q incomplete"],
    );
    check(&format!("> evalsha f00 3 {keys} arg \n < *4 :0 :0 :0 :0 \n > evalsha f00 3 {keys} \n < _"), &[]);
    check("> eval text 4 b:q:wait b:q:paused b:q:meta b:q:id x \n < 17", &["> Produced b:q incomplete"]);
    check("> evalsha f00 3 b:q:marker b:q:meta b:q:id \n < 17", &["> Produced b:q incomplete"]);
    check(
        "> evalsha f00 3 b:q:wait b:r:active x \n < *4 *2 a b 17 :0 :0 \n > evalsha f00 1 limit b:q:active \n < :1",
        &[],
    );
    check("> BZPOPMIN b:q:marker 5 \n < *3 b:q:marker 0 ,0", &[]);
}

/// A conversation that is joined with the first of these runs.
fn joined(text: &str) -> (Vec<String>, redis::Anomalies) {
    let (lines, anomalies) = tell(Fidelity::Heads, &cut(&runs(text), |_| usize::MAX));
    (short(lines), anomalies.redis)
}

#[test]
fn a_reply_that_names_a_key_is_believed_from_the_first_on() {
    let told = ["< Fetched b incomplete"];
    assert_eq!(joined("> BRPOP a b 1 \n < *2 b x").0, told);
    assert_eq!(joined("> BRPOP a b 1 \n < *2 c x").0, ["< Fetched  unobserved 0"]);
    assert_eq!(joined("> BRPOP a b 1 \n < *2 celery-task-meta-1 x").0, [""; 0]);
}

#[test]
fn a_reply_that_may_answer_what_was_not_seen_may_bring_work() {
    let perhaps = "< Fetched a unobserved 0";
    assert_eq!(
        joined("> LPOP rq:queue:a \n < 7d2c \n > LPOP rq:queue:b \n < 7d2d").0,
        [perhaps, "< Fetched b incomplete"]
    );
    assert_eq!(joined("> BLMOVE a b LEFT RIGHT 0 \n < id").0, [perhaps]);
    assert_eq!(joined("> XAUTOCLAIM a g c 0 0 \n < *3 0-0 *1 *2 1-1 *2 x y *0").0, [perhaps]);
    // Data, and nothing.
    for nothing in ["> LPOP a \n < x", "> BLMOVE a b LEFT RIGHT 1 \n < _", "> XAUTOCLAIM a g c 0 0 \n < *3 0-0 *0 *0"] {
        assert_eq!(joined(nothing).0, [""; 0], "{nothing}");
    }
}

#[test]
fn a_reply_that_came_before_its_request_answers_another() {
    let pieces = |acks: &[u32]| {
        let runs = runs("> GET a \n < x \n > LPOP rq:queue:a \n < 1 \n > GET b \n < 2 \n > LPOP rq:queue:b \n < 3");
        let mut pieces = cut(&runs, |_| usize::MAX);
        for (piece, back) in pieces.iter_mut().filter(|piece| piece.from == End::Second).zip(acks) {
            piece.ack = piece.ack.map(|ack| ack.wrapping_sub(*back));
        }
        pieces
    };
    let tell = |pieces: &[Owned]| {
        let (lines, anomalies) = tell(Fidelity::Heads, pieces);
        (short(lines), anomalies.redis.unpaired)
    };
    assert_eq!(
        tell(&pieces(&[0; 4])),
        (["< Fetched a incomplete", "< Fetched b incomplete"].map(String::from).to_vec(), 0)
    );
    // The server had not received the second request when it sent what seems to answer it.
    assert_eq!(tell(&pieces(&[0, 1000, 0, 0])), (vec!["< Fetched a unobserved 0".to_owned()], 1));
}

#[test]
fn of_a_list_of_entries_that_is_cut_the_rest_is_not_observed() {
    let entry = "*2 1-1 *2 traceparent 00-1";
    let text =
        format!("> XREAD STREAMS a 0 \n < *1 *2 a *4 {entry} {entry} {entry} {entry} \n > BRPOP b 1 \n < *2 b x");
    let mut pieces = cut(&runs(&text), |_| 120);
    let lost = pieces.iter().rposition(|piece| piece.from == End::Second && piece.wire_len == 120).expect("a piece");
    pieces.remove(lost + 1);
    let (lines, anomalies) = tell(Fidelity::Heads, &pieces);
    let trace = "< Fetched a | traceparent: 00-1";
    let told = [trace, trace, "< Fetched a unobserved 2", "< Fetched b incomplete"];
    assert_eq!((short(lines), anomalies.redis.replies_cut), (told.map(String::from).to_vec(), 1));
}

#[test]
fn long_values_are_not_observed_and_need_not_be_shown() {
    let (interest, mut shared) = (interest(), Shared::default());
    let long = KOMBU.replace("e30=", &"x".repeat(100_000));
    let runs = [(End::First, request(&["LPUSH", "a", &long])), (End::First, request(&["LPUSH", "a", KOMBU]))];
    let (mut told, mut conversation) = (0, Conversation::new(Fidelity::Heads));
    let (mut left_out, mut unneeded) = (0, None);
    for Owned { at, from, seq, ack, wire_len, bytes, link } in cut(&runs, |_| 1000) {
        if unneeded.is_some_and(|unneeded: u32| unneeded.wrapping_sub(seq.wrapping_add(wire_len)) < 1 << 30) {
            left_out += 1;
            continue;
        }
        let piece = Piece { at: Timestamp(at), from, seq, ack, wire_len, bytes: &bytes, link };
        conversation.piece(&piece, &interest, &mut shared, &mut |_| told += 1);
        unneeded = conversation.unneeded(End::First);
    }
    assert_eq!((told, left_out, shared.anomalies), (2, 100, Anomalies::default()));
}

#[test]
fn what_is_no_redis_after_all_is_recognised_anew() {
    let mut runs = runs("> GET a");
    runs.push((End::First, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()));
    runs.push((End::First, b"GET /b HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()));
    let (lines, anomalies) = tell(Fidelity::Heads, &cut(&runs, |_| usize::MAX));
    assert_eq!(lines, ["> 0 http/1.1 GET /b | host: a"]);
    assert_eq!(anomalies.redis.not_redis, 1);
}
