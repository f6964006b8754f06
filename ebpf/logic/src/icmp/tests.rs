extern crate std;

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::Frame;

fn v4_header(proto: u8, src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
    let mut bytes = std::vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, proto, 0, 0];
    bytes.extend(src);
    bytes.extend(dst);
    bytes
}

fn v6_header(next: u8, src: u8, dst: u8) -> Vec<u8> {
    let mut bytes = std::vec![0x60, 0, 0, 0, 0, 0, next, 64, 0xfd];
    bytes.extend([0; 14]);
    bytes.extend([src, 0xfd]);
    bytes.extend([0; 14]);
    bytes.push(dst);
    bytes
}

fn framed(v4: bool, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = std::vec![0; 12];
    bytes.extend(if v4 { [0x08, 0x00] } else { [0x86, 0xdd] });
    bytes.extend(parts.concat());
    bytes
}

fn header(bytes: &[u8]) -> IpHeader {
    Frame::parse(bytes).unwrap().unwrap().ip
}

#[test]
fn an_echo_has_its_identifier_on_the_side_of_whoever_asked() {
    for (v4, request, reply) in [(true, 8, 0), (false, 128, 129)] {
        let ip = if v4 { v4_header(1, [10, 0, 0, 1], [10, 0, 0, 2]) } else { v6_header(58, 1, 2) };
        let of = |icmp_type: u8| {
            let bytes = framed(v4, &[&ip, &[icmp_type, 0, 0, 0, 0x12, 0x34, 0, 1]]);
            (ends(&bytes[..], &header(&bytes)).unwrap(), embedded(&bytes[..], &header(&bytes)).unwrap())
        };
        let id = Be16::new(0x1234);
        assert_eq!(of(request), (Some(Ends { src: id, dst: Be16::new(0), opens: true }), None));
        assert_eq!(of(reply), (Some(Ends { src: Be16::new(0), dst: id, opens: false }), None));
        assert_eq!(of(13), (None, None));
    }
}

#[test]
fn an_error_tells_the_flow_that_it_is_about() {
    let outer = v4_header(1, [192, 0, 2, 1], [10, 0, 0, 1]);
    let inner = v4_header(17, [10, 0, 0, 1], [192, 0, 2, 9]);
    let bytes = framed(true, &[&outer, &[3, 4, 0, 0, 0, 0, 5, 0x14], &inner, &[0x1f, 0x90, 0, 53, 0, 9, 0, 0]]);
    assert_eq!(ends(&bytes[..], &header(&bytes)), Ok(None));
    let found = embedded(&bytes[..], &header(&bytes)).unwrap().unwrap();
    assert_eq!((found.src, found.dst), (Ip::from_v4(Ip4([10, 0, 0, 1])), Ip::from_v4(Ip4([192, 0, 2, 9]))));
    assert_eq!((found.ends.src.get(), found.ends.dst.get(), found.proto), (8080, 53, 17));
    assert_eq!((found.at, found.l4), (42, 62));
    assert_eq!(embedded(&bytes[..60], &header(&bytes)), Err(Malformed));

    let outer = v6_header(58, 9, 1);
    let inner = v6_header(6, 1, 7);
    let bytes = framed(false, &[&outer, &[2, 0, 0, 0, 0, 0, 5, 0], &inner, &[0x1f, 0x90, 0, 80, 0, 0, 0, 0]]);
    let found = embedded(&bytes[..], &header(&bytes)).unwrap().unwrap();
    assert_eq!((found.src.0[15], found.dst.0[15], found.ends.dst.get()), (1, 7, 80));
    assert_eq!((found.at, found.l4), (62, 102));
}

#[test]
fn an_error_about_a_packet_with_extension_headers_tells_its_flow() {
    // Hop by hop, destination options of 16 bytes, and a fragment header.
    let of = |fragment: [u8; 2]| {
        let outer = v6_header(0, 9, 1);
        let inner = v6_header(0, 1, 7);
        let options = [60, 0, 1, 4, 0, 0, 0, 0, 44, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let fragment = [17, 0, fragment[0], fragment[1], 0, 0, 0, 5];
        let before = [58, 0, 1, 4, 0, 0, 0, 0];
        let ports = [0x1f, 0x90, 0, 53, 0, 0, 0, 0];
        let bytes = framed(false, &[&outer, &before, &[2, 0, 0, 0, 0, 0, 5, 0], &inner, &options, &fragment, &ports]);
        let ip = header(&bytes);
        (embedded(&bytes[..], &ip).unwrap(), crate::Flow::reported(&bytes[..], ip.l4, false))
    };
    for whole_or_first in [[0, 0], [0, 1]] {
        let (found, reported) = of(whole_or_first);
        let (found, reported) = (found.unwrap(), reported.unwrap());
        assert_eq!((found.proto, found.ends.src.get(), found.ends.dst.get()), (17, 8080, 53));
        assert_eq!((found.at, found.l4), (14 + 40 + 8 + 8, 14 + 40 + 8 + 8 + 40 + 24 + 8));
        assert_eq!((reported.proto, reported.src_port.get(), reported.dst_port.get()), (17, 8080, 53));
    }
    assert_eq!(of([0, 8]), (None, None), "a later fragment has no ports");
}

#[test]
fn the_first_fragment_tells_both_ends() {
    let mut outer = v4_header(17, [10, 0, 0, 1], [192, 0, 2, 9]);
    outer[6] = 0x20;
    let bytes = framed(true, &[&outer, &[0x1f, 0x90, 0, 53, 9, 0, 0, 0]]);
    let found = ends(&bytes[..], &header(&bytes)).unwrap().unwrap();
    assert_eq!((found.src.get(), found.dst.get(), found.opens), (8080, 53, true));
    outer[7] = 1;
    let bytes = framed(true, &[&outer, &[0x1f, 0x90, 0, 53, 9, 0, 0, 0]]);
    assert_eq!(ends(&bytes[..], &header(&bytes)), Ok(None));
}

#[test]
fn an_error_about_an_echo_or_about_nothing_known() {
    let outer = v4_header(1, [192, 0, 2, 1], [10, 0, 0, 1]);
    let of = |inner: &[u8], rest: &[u8]| {
        let bytes = framed(true, &[&outer, &[11, 0, 0, 0, 0, 0, 0, 0], inner, rest]);
        embedded(&bytes[..], &header(&bytes)).unwrap()
    };
    let echo = v4_header(1, [10, 0, 0, 1], [192, 0, 2, 9]);
    assert_eq!(of(&echo, &[8, 0, 0, 0, 0, 7, 0, 1]).unwrap().ends.src.get(), 7);
    assert_eq!(of(&echo, &[3, 0, 0, 0, 0, 7, 0, 1]), None);
    assert_eq!(of(&v4_header(47, [10, 0, 0, 1], [192, 0, 2, 9]), &[0; 8]), None);
    let mut fragment = v4_header(17, [10, 0, 0, 1], [192, 0, 2, 9]);
    fragment[7] = 9;
    assert_eq!(of(&fragment, &[0; 8]), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 60..200), six: bool) {
        bytes[12..15].copy_from_slice(if six { &[0x86, 0xdd, 0x60] } else { &[0x08, 0x00, 0x45] });
        bytes[if six { 20 } else { 23 }] = if six { 58 } else { 1 };
        if let Ok(Some(frame)) = Frame::parse(&bytes[..]) {
            let _ = ends(&bytes[..], &frame.ip);
            let _ = embedded(&bytes[..], &frame.ip);
        }
    }
}
