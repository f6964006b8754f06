extern crate std;

use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn frame(proto: u8, options: usize, l4: &[u8]) -> Vec<u8> {
    let mut bytes = std::vec![0u8; 12];
    bytes.extend(ETHERTYPE_IPV4);
    bytes.extend([0x45 + options as u8, 0, 0, 0, 0, 0, 0x40, 0, 64, proto, 0xab, 0xcd]);
    bytes.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(std::vec![1u8; options * 4]);
    bytes.extend(l4);
    bytes
}

/// `rest` is what follows the IPv6 header, which says that it is a `next`.
fn frame6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = std::vec![0u8; 12];
    bytes.extend(ETHERTYPE_IPV6);
    bytes.extend([0x60, 0, 0, 0, 0, rest.len() as u8, next, 64]);
    bytes.extend("fd00::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    bytes.extend("fd00::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
    bytes.extend(rest);
    bytes
}

fn v4(a: u8, b: u8, c: u8, d: u8) -> Ip {
    Ip::from_v4(Ip4([a, b, c, d]))
}

const UDP_8080_TO_53: [u8; 8] = [0x1f, 0x90, 0, 53, 0, 8, 0, 0];

#[test]
fn options_move_the_transport_header() {
    for options in 0..=10 {
        let bytes = frame(PROTO_UDP, options, &UDP_8080_TO_53);
        let parsed = Frame::parse(&bytes[..]).unwrap().unwrap();
        assert_eq!((parsed.ip.src, parsed.ip.dst), (v4(10, 0, 0, 1), v4(10, 0, 0, 2)));
        assert!(parsed.ip.part == Part::Whole && parsed.ip.v4);
        let ports = parsed.ip.ports(&bytes[..]).unwrap().unwrap();
        assert_eq!((ports.src.get(), ports.dst.get(), ports.tcp_flags), (8080, 53, 0));
    }
}

#[test]
fn extension_headers_are_followed_so_far_and_no_further() {
    let chain = |count: usize| {
        let mut rest = Vec::new();
        for index in 0..count {
            let next = if index + 1 == count { PROTO_UDP } else { 60 };
            rest.extend([next, 1]);
            rest.extend([0; 14]);
        }
        rest.extend(UDP_8080_TO_53);
        frame6(if count == 0 { PROTO_UDP } else { 60 }, &rest)
    };
    for count in 0..=4 {
        let bytes = chain(count);
        let parsed = Frame::parse(&bytes[..]).unwrap().unwrap();
        assert_eq!((parsed.ip.proto, parsed.ip.l4, parsed.ip.v4), (PROTO_UDP, 54 + 16 * count, false));
        assert_eq!(parsed.ip.ports(&bytes[..]).unwrap().unwrap().dst.get(), 53);
    }
    assert_eq!(Frame::parse(&chain(5)[..]), Err(Malformed));
}

#[test]
fn ipv6_fragments_are_told_from_whole_packets_in_a_fragment_header() {
    let with = |second: u16| {
        let mut rest = std::vec![PROTO_UDP, 0];
        rest.extend(second.to_be_bytes());
        rest.extend([0, 0, 0, 9]);
        rest.extend(UDP_8080_TO_53);
        Frame::parse(&frame6(44, &rest)[..]).unwrap().unwrap().ip
    };
    let parts = [(1, Part::First), (8, Part::Later), (9, Part::Later), (0, Part::Whole), (6, Part::Whole)];
    for (second, part) in parts {
        let ip = with(second);
        assert_eq!((ip.part, ip.id, ip.proto, ip.l4), (part, 9, PROTO_UDP, 62));
    }
}

#[test]
fn an_ipv4_address_in_an_ipv6_header_is_malformed() {
    let mut bytes = frame6(PROTO_UDP, &UDP_8080_TO_53);
    bytes[22..38].copy_from_slice(&v4(10, 0, 0, 1).0);
    assert_eq!(Frame::parse(&bytes[..]), Err(Malformed));
}

#[test]
fn a_hop_changes_addresses_time_to_live_and_checksum_only() {
    let bytes = frame(PROTO_UDP, 0, &[0; 8]);
    let parsed = Frame::parse(&bytes[..]).unwrap().unwrap();
    let head = parsed.hop([1; 6], [2; 6]).unwrap();
    assert_eq!((&head[..6], &head[6..12], head[22]), (&[1u8; 6][..], &[2u8; 6][..], 63));
    assert_eq!((&head[12..22], head[23]), (&bytes[12..22], bytes[23]));
    assert_eq!(&head[24..], &0xaccdu16.to_be_bytes());
    let mut last = bytes;
    last[22] = 1;
    assert_eq!(Frame::parse(&last[..]).unwrap().unwrap().hop([1; 6], [2; 6]), None);

    let mut bytes = frame6(PROTO_UDP, &[0; 8]);
    let head = Frame::parse(&bytes[..]).unwrap().unwrap().hop([1; 6], [2; 6]).unwrap();
    assert_eq!((&head[..6], &head[6..12], head[21]), (&[1u8; 6][..], &[2u8; 6][..], 63));
    assert_eq!((&head[12..21], &head[22..]), (&bytes[12..21], &bytes[22..26]));
    bytes[21] = 1;
    assert_eq!(Frame::parse(&bytes[..]).unwrap().unwrap().hop([1; 6], [2; 6]), None);
}

#[test]
fn fragments_and_other_protocols_have_no_ports() {
    let mut bytes = frame(PROTO_UDP, 0, &[0; 8]);
    bytes[21] = 1;
    assert_eq!(Frame::parse(&bytes[..]).unwrap().unwrap().ip.ports(&bytes[..]), Ok(None));
    let icmp = frame(1, 0, &[8, 0]);
    assert_eq!(Frame::parse(&icmp[..]).unwrap().unwrap().ip.ports(&icmp[..]), Ok(None));
}

#[test]
fn short_and_wrong_headers_are_malformed_and_not_ours_is_ignored() {
    let bytes = frame(PROTO_TCP, 0, &[0; 13]);
    assert_eq!(Frame::parse(&bytes[..]).unwrap().unwrap().ip.ports(&bytes[..]), Err(Malformed));
    assert_eq!(Frame::parse(&bytes[..30]), Err(Malformed));
    let mut wrong = bytes.clone();
    wrong[14] = 0x44;
    assert_eq!(Frame::parse(&wrong[..]), Err(Malformed));
    let mut arp = bytes;
    arp[13] = 6;
    assert_eq!(Frame::parse(&arp[..]), Ok(None));
    assert_eq!(Frame::parse(&arp[..9]), Ok(None));
    let six = frame6(0, &[PROTO_UDP, 200, 0, 0, 0, 0, 0, 0]);
    for len in [30, 40, 53, 56] {
        assert_eq!(Frame::parse(&six[..len]), Err(Malformed), "{len}");
    }
    let whole = Frame::parse(&six[..]).unwrap().unwrap();
    assert_eq!(whole.ip.ports(&six[..]), Err(Malformed));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..160), six: bool) {
        if bytes.len() > 14 {
            bytes[12..14].copy_from_slice(if six { &ETHERTYPE_IPV6 } else { &ETHERTYPE_IPV4 });
            bytes[14] = bytes[14] & 0x0f | if six { 0x60 } else { 0x40 };
        }
        if let Ok(Some(frame)) = Frame::parse(&bytes[..]) {
            let _ = frame.ip.ports(&bytes[..]);
            let _ = frame.hop([0; 6], [0; 6]);
        }
    }
}

#[test]
fn only_a_bare_syn_or_a_datagram_opens() {
    let ip = |proto| IpHeader { proto, ..IpHeader::default() };
    let ports = |tcp_flags| Ports { src: Be16::new(40_000), dst: Be16::new(30_080), tcp_flags };
    assert!(opens_flow(&ip(PROTO_TCP), &ports(TCP_SYN)));
    assert!(!opens_flow(&ip(PROTO_TCP), &ports(TCP_SYN | TCP_ACK)));
    assert!(!opens_flow(&ip(PROTO_TCP), &ports(TCP_ACK)));
    assert!(opens_flow(&ip(PROTO_UDP), &ports(0)));
}
