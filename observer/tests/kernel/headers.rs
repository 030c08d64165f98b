//! What may stand between the network header and TCP: options and extension headers, which are skipped, and fragments, which
//! are counted.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use crate::ends::{Ends, REQUEST, RESPONSE};
use crate::namespaces::{Pair, send_frame};
use crate::seen::{Seen, Side};
use crate::wire::on;

const TCP: u8 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// A TCP header from port 1111 to port 80, and the payload.
fn segment(payload: &[u8]) -> Vec<u8> {
    let header = [0x04, 0x57, 0, 80, 0, 0, 0, 9, 1, 2, 3, 4, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0];
    [&header[..], payload].concat()
}

/// An Ethernet frame to everyone that carries `packet`.
fn frame(kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &kind, packet].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// A packet from 10.77.0.1 to 10.77.0.2; `fragment` are the flags and the offset in units of eight bytes.
fn ipv4(options: &[u8], fragment: u16, payload: &[u8]) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    let total = u16::try_from(20 + options.len() + payload.len()).unwrap().to_be_bytes();
    let fragment = fragment.to_be_bytes();
    let header = [0x40 | words, 0, total[0], total[1], 0, 1, fragment[0], fragment[1], 64, TCP, 0, 0];
    frame([0x08, 0x00], &[&header[..], &[10, 77, 0, 1, 10, 77, 0, 2], options, payload].concat())
}

/// A packet from fd77::1 to fd77::2 with these extension headers: each its number, and its bytes without the first, which names
/// what follows.
fn ipv6(extensions: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
    let mut chain = Vec::new();
    for (index, (_, bytes)) in extensions.iter().enumerate() {
        chain.push(extensions.get(index + 1).map_or(TCP, |(number, _)| *number));
        chain.extend_from_slice(bytes);
    }
    let length = u16::try_from(chain.len() + payload.len()).unwrap().to_be_bytes();
    let first = extensions.first().map_or(TCP, |(number, _)| *number);
    let address = |host: u8| [&[0xfd, 0x77][..], &[0; 13], &[host]].concat();
    let header = [0x60, 0, 0, 0, length[0], length[1], first, 64];
    frame([0x86, 0xdd], &[&header[..], &address(1), &address(2), &chain, payload].concat())
}

/// Sends frames over the cable and returns what a filter at each of its ends has seen of them.
fn seen_of(pair: &Pair, frames: &[Vec<u8>], done: impl Fn(&Seen) -> bool) -> [Seen; 2] {
    let mut both = [pair.in_a(|| Seen::open(&on("veth"))), pair.in_b(|| Seen::open(&on("veth")))];
    pair.in_a(|| frames.iter().for_each(|frame| send_frame("veth", frame)));
    for seen in &mut both {
        seen.until("the frames", &done);
    }
    both
}

const V4: (&str, &str) = ("10.77.0.1:1111", "10.77.0.2:80");
const V6: (&str, &str) = ("[fd77::1]:1111", "[fd77::2]:80");

fn is_seen_whole(pair: &Pair, (client, server): (&str, &str), frame: Vec<u8>) {
    let (client, server): (SocketAddr, SocketAddr) = (client.parse().unwrap(), server.parse().unwrap());
    for seen in seen_of(pair, &[frame], |seen| !seen.flow(client, server, Side::Wire).is_empty()) {
        let packets = seen.flow(client, server, Side::Wire);
        assert_eq!(packets.len(), 1);
        assert_eq!((packets[0].bytes.as_slice(), packets[0].wire_len as usize), (REQUEST, REQUEST.len()));
        assert_eq!(packets[0].ack, Some(0x0102_0304));
        assert_eq!(seen.lost(), []);
    }
}

#[test]
fn ipv4_options_are_skipped() {
    let pair = Pair::new("options");
    // RFC 791 section 3.1: no operation, end of list; the most that fits.
    for options in [&[1, 1, 1, 0][..], &[1; 40]] {
        is_seen_whole(&pair, V4, ipv4(options, 0, &segment(REQUEST)));
    }
}

#[test]
fn ipv6_extension_headers_are_skipped() {
    let pair = Pair::new("extensions");
    // RFC 8200 section 4: a length in units of eight bytes after the first, here filled with one option PadN.
    let short = [0, 1, 4, 0, 0, 0, 0];
    let long = [&[1, 1, 12][..], &[0; 12]].concat();
    // RFC 8200 section 4.5: offset zero and no more fragments; RFC 4302 section 2.2: a length in words, less two.
    let atomic = [0, 0, 0, 0, 0, 0, 7];
    let authentication = [&[4, 0, 0][..], &[0; 20]].concat();
    let chains: [&[(u8, &[u8])]; 6] = [
        &[(HOP_BY_HOP, &short)],
        &[(DESTINATION, &long)],
        &[(ROUTING, &short)],
        &[(AUTHENTICATION, &authentication)],
        &[(FRAGMENT, &atomic)],
        &[
            (HOP_BY_HOP, &long),
            (DESTINATION, &short),
            (ROUTING, &short),
            (FRAGMENT, &atomic),
            (AUTHENTICATION, &authentication),
            (DESTINATION, &long),
        ],
    ];
    for extensions in chains {
        is_seen_whole(&pair, V6, ipv6(extensions, &segment(REQUEST)));
    }
}

/// Whether nothing was seen but these losses.
fn is_lost(pair: &Pair, frames: &[Vec<u8>], losses: &[(&'static str, u64)]) {
    for seen in seen_of(pair, frames, |seen| seen.lost().iter().map(|(_, count)| count).sum::<u64>() > 0) {
        assert_eq!(seen.lost(), losses);
        let ours = |address: SocketAddr| [1111, 80].contains(&address.port());
        assert!(seen.packets.iter().all(|packet| !ours(packet.from)), "{:#?}", seen.packets);
        assert!(seen.opaque.iter().all(|(from, ..)| !ours(*from)), "{:?}", seen.opaque);
    }
}

#[test]
fn ipv4_fragments_are_counted_and_never_taken_for_packets() {
    let pair = Pair::new("fragments");
    let whole = segment(REQUEST);
    let (first, second) = whole.split_at(24);
    // More fragments follow; the second begins at three units of eight bytes.
    is_lost(&pair, &[ipv4(&[], 0x2000, first), ipv4(&[], 3, second)], &[("fragment", 2)]);
    // A later fragment whose bytes look like the header and the head of a request.
    is_lost(&pair, &[ipv4(&[], 3, &segment(REQUEST))], &[("fragment", 1)]);
    is_lost(&pair, &[ipv4(&[1, 1, 1, 0], 0x2000, first)], &[("fragment", 1)]);
}

#[test]
fn ipv6_fragments_are_counted_and_never_taken_for_packets() {
    let pair = Pair::new("fragments6");
    let whole = segment(REQUEST);
    let (first, second) = whole.split_at(24);
    // RFC 8200 section 4.5: reserved, offset and M flag, identification.
    let fragments: [[u8; 7]; 2] = [[0, 0, 1, 0, 0, 0, 9], [0, 0, 24, 0, 0, 0, 9]];
    let frames = [ipv6(&[(FRAGMENT, &fragments[0])], first), ipv6(&[(FRAGMENT, &fragments[1])], second)];
    is_lost(&pair, &frames, &[("fragment", 2)]);
    is_lost(&pair, &[ipv6(&[(FRAGMENT, &fragments[1])], &segment(REQUEST))], &[("fragment", 1)]);
}

#[test]
fn more_extension_headers_than_are_skipped_are_counted() {
    let pair = Pair::new("many");
    let short = [0, 1, 4, 0, 0, 0, 0];
    let many: Vec<(u8, &[u8])> = std::iter::repeat_n((DESTINATION, &short[..]), 7).collect();
    is_lost(&pair, &[ipv6(&many, &segment(REQUEST))], &[("extension_headers", 1)]);
}

/// Sets an option of a socket.
fn set(socket: &impl AsRawFd, level: libc::c_int, name: libc::c_int, value: &[u8]) {
    let size = libc::socklen_t::try_from(value.len()).unwrap();
    // SAFETY: the value lives through the call.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), size) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn at_sockets_connections_with_options_and_extension_headers_are_seen() {
    let padded = [0, 0, 1, 4, 0, 0, 0, 0];
    let cases: [(&str, libc::c_int, libc::c_int, &[u8]); 3] = [
        ("127.0.0.1:0", libc::IPPROTO_IP, libc::IP_OPTIONS, &[1, 1, 1, 0]),
        ("[::1]:0", libc::IPPROTO_IPV6, libc::IPV6_HOPOPTS, &padded),
        ("[::1]:0", libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &padded),
    ];
    for (address, level, name, value) in cases {
        let mut seen = Seen::everywhere();
        let ends = Ends::through(&TcpListener::bind(address).unwrap());
        set(&ends.client, level, name, value);
        set(&ends.server, level, name, value);
        ends.to_server(REQUEST);
        ends.to_client(RESPONSE);
        let (client, server) = ends.addresses();
        for side in [Side::Egress, Side::Ingress] {
            seen.until("the exchange", |seen| {
                seen.stream(client, server, side) == REQUEST && seen.stream(server, client, side) == RESPONSE
            });
        }
        assert_eq!(seen.lost(), []);
    }
}
