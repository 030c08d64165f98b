//! Blocks of RFC 7541 appendix C, and what is known of a table that was joined late or broken.

use std::fmt::Write;

use super::*;
use crate::decode::http1::head::Wanted;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn interest() -> Interest {
    let names = ["cache-control", "custom-key", "custom-header", "date", "location", "set-cookie", "content-encoding"];
    Interest::new(names.into_iter().chain(["x-tenant-id", "password"]))
}

/// What is known of a block, in one line.
fn told(fields: &Fields, interest: &Interest) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut line = match fields.status {
        Some(status) => status.to_string(),
        None => format!("{} {}", text(fields.method()), text(fields.path())),
    };
    let mut headers = Wanted::new();
    fields.headers(&mut headers);
    for header in headers.as_slice() {
        let _ = write!(line, " | {}: {}", interest.name(header.name), text(header.value));
    }
    line + if fields.hidden { " | hidden" } else { "" }
}

/// Decodes blocks of one direction, each with what is told of it and the known table afterwards: names and values, the
/// newest entry first.
fn check(decoder: &mut Decoder, blocks: &[(&str, &str, &[&str])]) {
    let (interest, mut fields) = (interest(), Fields::default());
    for (block, expected, table) in blocks {
        assert_eq!(decoder.decode(&hex(block), &interest, &mut fields), Ok(()), "{block}");
        assert_eq!(told(&fields, &interest), *expected);
        let known: Vec<String> = (0..)
            .map_while(|depth| decoder.table.get(depth))
            .map(|known| String::from_utf8(known.value.unwrap_or(b"-").to_vec()).unwrap())
            .collect();
        assert_eq!(known, *table, "{block}");
    }
}

#[test]
fn literals_of_appendix_c_2() {
    check(
        &mut Decoder::new(),
        &[
            (
                "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
                "  | custom-key: custom-header",
                &["custom-header"],
            ),
            ("040c 2f73 616d 706c 652f 7061 7468", " /sample/path", &["custom-header"]),
            ("1008 7061 7373 776f 7264 0673 6563 7265 74", "  | password: secret", &["custom-header"]),
            ("82", "GET ", &["custom-header"]),
        ],
    );
}

const REQUESTS: [(&str, &[&str]); 3] = [
    ("GET / | host: www.example.com", &["www.example.com"]),
    ("GET / | host: www.example.com | cache-control: no-cache", &["no-cache", "www.example.com"]),
    (
        "GET /index.html | host: www.example.com | custom-key: custom-value",
        &["custom-value", "no-cache", "www.example.com"],
    ),
];

fn check_requests(blocks: [&str; 3]) {
    let blocks: Vec<_> =
        blocks.into_iter().zip(REQUESTS).map(|(block, (expected, table))| (block, expected, table)).collect();
    check(&mut Decoder::new(), &blocks);
}

#[test]
fn requests_of_appendix_c_3_without_huffman_coding() {
    check_requests([
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]);
}

#[test]
fn requests_of_appendix_c_4_with_huffman_coding() {
    check_requests([
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]);
}

const RESPONSES: [(&str, &[&str]); 3] = [
    (
        "302 | cache-control: private | date: Mon, 21 Oct 2013 20:13:21 GMT | location: https://www.example.com",
        &["https://www.example.com", "Mon, 21 Oct 2013 20:13:21 GMT", "private", "302"],
    ),
    (
        "307 | cache-control: private | date: Mon, 21 Oct 2013 20:13:21 GMT | location: https://www.example.com",
        &["307", "https://www.example.com", "Mon, 21 Oct 2013 20:13:21 GMT", "private"],
    ),
    (
        "200 | cache-control: private | date: Mon, 21 Oct 2013 20:13:22 GMT | location: https://www.example.com \
         | content-encoding: gzip | set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        &["foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1", "gzip", "Mon, 21 Oct 2013 20:13:22 GMT"],
    ),
];

fn check_responses(blocks: [&str; 3]) {
    let blocks: Vec<_> =
        blocks.into_iter().zip(RESPONSES).map(|(block, (expected, table))| (block, expected, table)).collect();
    let mut decoder = Decoder::new();
    decoder.table.resize(256);
    check(&mut decoder, &blocks);
}

#[test]
fn responses_of_appendix_c_5_evict_without_huffman_coding() {
    check_responses([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 \
         474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 \
         666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 \
         3630 303b 2076 6572 7369 6f6e 3d31",
    ]);
}

#[test]
fn responses_of_appendix_c_6_evict_with_huffman_coding() {
    check_responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 \
         63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 \
         b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]);
}

#[test]
fn what_was_inserted_before_is_unknown_and_what_is_inserted_since_is_known() {
    let mut decoder = Decoder::new();
    decoder.forget();
    let tenant = "400b 782d 7465 6e61 6e74 2d69 6404 6163 6d65";
    check(
        &mut decoder,
        &[
            // An entry that is not known, and one more, of which the name alone.
            ("82 be", "GET  | hidden", &[]),
            ("82 7e 0161", "GET  | hidden", &["-"]),
            // The tenant is named again; then it is the newest entry, and the one before it.
            (&format!("82 {tenant}"), "GET  | x-tenant-id: acme", &["acme", "-"]),
            ("82 be", "GET  | x-tenant-id: acme", &["acme", "-"]),
            ("82 be 4000 00", "GET  | x-tenant-id: acme", &["-", "acme", "-"]),
            ("82 bf c0", "GET  | x-tenant-id: acme | hidden", &["-", "acme", "-"]),
        ],
    );
}

#[test]
fn a_trace_context_is_known_by_its_shape() {
    let value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let coded = value.bytes().fold(String::new(), |coded, byte| coded + &format!("{byte:02x}"));
    let (shaped, named) = (format!("37 {coded}"), format!("400b 74726163 65706172 656e74 37 {coded}"));
    let traced = format!("GET  | traceparent: {value}");
    let hidden = format!("{traced} | hidden");
    let mut decoder = Decoder::new();
    decoder.forget();
    check(
        &mut decoder,
        &[
            (&format!("82 7f05 {shaped}"), &hidden, &[value]),
            ("82 be", &hidden, &[value]),
            // Two of them leave open which is which; a named one leaves nothing open.
            (&format!("82 be 0f35 {shaped}"), "GET  | hidden", &[value]),
            (&format!("82 be {named}"), &hidden, &[value, value]),
            ("82 be", &traced, &[value, value]),
        ],
    );
}

#[test]
fn sizes_change_at_the_beginning_of_a_block_the_least_first() {
    let entry = "4001 6101 62";
    let mut decoder = Decoder::new();
    check(&mut decoder, &[(entry, " ", &["-"]), ("20 3fe1 1f 82", "GET ", &[]), (entry, " ", &["-"])]);
    assert_eq!(decoder.decode(&hex("82 20"), &interest(), &mut Fields::default()), Err(Broken));
}

#[test]
fn a_broken_block_makes_the_table_unknown() {
    for broken in ["80", "82 41", "41 05 6161", "40 81 00 01 61", "be ff ff ff ff ff ff", "00 01 78 84 ffff ffff"] {
        let (mut decoder, mut fields) = (Decoder::new(), Fields::default());
        check(&mut decoder, &[("400b 782d 7465 6e61 6e74 2d69 6404 6163 6d65", "  | x-tenant-id: acme", &["acme"])]);
        let skips = decoder.decode(&hex(broken), &interest(), &mut fields);
        if broken == "00 01 78 84 ffff ffff" {
            assert_eq!(skips, Ok(()), "a value that nobody asked for and that is not inserted is not looked at");
            continue;
        }
        assert_eq!(skips, Err(Broken), "{broken}");
        assert_eq!(told(&fields, &interest()), " ");
        check(&mut decoder, &[("82 be", "GET  | hidden", &[])]);
    }
}

#[test]
fn other_wanted_headers_make_their_names_unknown_but_not_the_standing_ones() {
    let (mut decoder, mut fields) = (Decoder::new(), Fields::default());
    let tenant = "400b 782d 7465 6e61 6e74 2d69 6404 6163 6d65";
    decoder.decode(&hex(&format!("82 {tenant} 41 0161")), &Interest::new(["x-tenant-id"]), &mut fields).unwrap();
    let other = Interest::new(["x-customer"]);
    decoder.decode(&hex("82 be bf"), &other, &mut fields).unwrap();
    assert_eq!(told(&fields, &other), "GET a | host: a | hidden");
    assert_eq!(other.find(b"x-customer").and_then(|name| fields.header(name)), None);
}

#[test]
fn the_first_fields_tell_who_sent_a_block() {
    for (block, expected) in [
        ("82", Some(Role::Requests)),
        ("3fe1 1f 41 0161", Some(Role::Requests)),
        ("88", Some(Role::Responses)),
        ("48 03 353033", Some(Role::Responses)),
        ("be 82", Some(Role::Requests)),
        ("be 7f 01 02 6162 bf 83", Some(Role::Requests)),
        ("be 00 07 3a6d 6574 686f 64 03 474554", Some(Role::Requests)),
        ("40 07 3a73 7461 7475 73 03 353033", Some(Role::Responses)),
        ("00 01 61 01 62", None),
        ("80 82", None),
        ("be bf c0 c1 c2 83", None),
        ("be 90", None),
        ("90", None),
        ("", None),
    ] {
        assert_eq!(role(&hex(block)), expected, "{block}");
    }
}
