//! Whatever the bytes.

use proptest::prelude::*;

use crate::build::*;
use crate::told;

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0..6_usize) {
        let start = [vec![], pcap(ETHERNET, &[]), pcap(RAW, &[]), pcap(LINUX_SLL2, &[]), section(), [section(), interface(1, 6)].concat()];
        told(&[start[kind].clone(), bytes].concat());
    }

    #[test]
    fn no_frame_makes_it_panic(frame in prop::collection::vec(any::<u8>(), 0..120), link in 0..6_usize, wire_len in 0..200_usize) {
        told(&pcap_of([NULL, ETHERNET, RAW, LOOP, LINUX_SLL, LINUX_SLL2][link], &[(frame, wire_len)]));
    }

    #[test]
    fn a_changed_byte_does_not_make_it_panic(at in 0..2000_usize, value: u8, ng: bool) {
        let frames = [ethernet(&[], &request()), ethernet(&[[0x81, 0, 0, 5]], &ipv6(&tcp(ACK, 7, REQUEST)))];
        let mut file = if ng {
            [section(), interface(1, 9), enhanced(0, 5, &frames[0]), enhanced(0, 6, &frames[1])].concat()
        } else {
            pcap(ETHERNET, &frames)
        };
        let at = at % file.len();
        file[at] = value;
        told(&file);
    }

    #[test]
    fn a_file_cut_anywhere_tells_a_beginning_of_what_the_whole_tells(at in 0..2000_usize) {
        let whole = pcap(ETHERNET, &[ethernet(&[], &request()), ethernet(&[], &ipv6(&tcp(ACK, 7, REQUEST)))]);
        let at = 24 + at % (whole.len() - 24);
        let part = told(&whole[..at]);
        let events: Vec<&str> = part.lines().filter(|line| !line.starts_with("lost")).collect();
        prop_assert!(told(&whole).starts_with(&events.join("\n")));
    }
}
