//! Packets as large as the kernel makes them: one event each, whatever their headers say of the length.

use crate::ends::{Ends, REQUEST};
use crate::namespaces::Pair;
use crate::seen::{Seen, Side};
use crate::wire::on;

use std::net::TcpListener;
use std::process::Command;

/// The longest packet that the length of an IP header can state.
const LENGTH_MAX: usize = 65_535;

/// Lets the loopback device of the first namespace carry packets of up to `bytes`; false where the kernel has no BIG TCP
/// (before 5.19).
fn offers_big_tcp(pair: &Pair, bytes: u32) -> bool {
    pair.in_a(|| {
        let bytes = bytes.to_string();
        let arguments = ["link", "set", "dev", "lo", "gso_max_size", &bytes, "gro_max_size", &bytes];
        Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
    })
}

#[test]
fn a_packet_longer_than_an_ip_header_can_state_is_seen_with_its_head_and_its_length() {
    let pair = Pair::new("big");
    let is_big = offers_big_tcp(&pair, 180_000);
    let mut everywhere = Seen::everywhere();
    let mut wire = pair.in_a(|| Seen::open(&on("lo")));
    let ends = pair.in_a(|| Ends::through(&TcpListener::bind("[::1]:0").unwrap()));
    let mut request = b"POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n".to_vec();
    let head = request.clone();
    request.resize(head.len() + 400_000, b'x');
    // The window opens as bytes are acknowledged.
    for _ in 0..4 {
        ends.to_server(&request);
    }
    ends.to_server(REQUEST);
    let (client, server) = ends.addresses();
    for (seen, sides) in [(&mut everywhere, &[Side::Egress, Side::Ingress][..]), (&mut wire, &[Side::Wire])] {
        for &side in sides {
            seen.until("the request after the bodies", |seen| {
                seen.flow(client, server, side).last().is_some_and(|packet| packet.bytes == REQUEST)
            });
            let packets = seen.flow(client, server, side);
            let heads: Vec<_> = packets.iter().filter(|packet| packet.bytes.starts_with(&head)).collect();
            assert_eq!(heads.len(), 4, "{side:?}");
            for (index, each) in heads.iter().enumerate() {
                let at = each.seq.wrapping_sub(heads[0].seq) as usize;
                assert_eq!(at, index * request.len(), "{side:?}");
            }
            let longest = heads.iter().map(|packet| packet.wire_len as usize).max().unwrap();
            assert!(longest > if is_big { LENGTH_MAX } else { LENGTH_MAX / 2 }, "{longest} bytes at {side:?}");
            assert_eq!(seen.lost(), []);
        }
    }
}
