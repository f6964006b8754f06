extern crate std;

use std::vec;
use std::vec::Vec;

use skep_abi::{Ip, Ip4};

use super::*;

const CLIENT: [u8; 4] = [192, 0, 2, 1];
const SERVICE: [u8; 4] = [10, 96, 0, 10];

/// The checksum of RFC 1071, over everything; 0 where one in it is right.
fn full(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum: u32 = bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], *w.get(1).unwrap_or(&0)]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn v4(proto: u8, l4: &[u8]) -> Vec<u8> {
    let mut packet =
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 20 + l4.len() as u8, 0, 1, 0, 0, 64, proto, 0, 0];
    packet.extend(CLIENT);
    packet.extend(SERVICE);
    packet.extend(l4);
    packet
}

fn v6(proto: u8, l4: &[u8]) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, l4.len() as u8, proto, 64];
    packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(l4);
    packet
}

fn segment(flags: u8) -> Vec<u8> {
    let mut tcp = vec![0x9c, 0x40, 0, 80, 0, 0, 1, 0, 0, 0, 2, 0, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0];
    tcp.extend(b"data");
    tcp
}

fn datagram() -> Vec<u8> {
    vec![0x9c, 0x40, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]
}

fn answer(packet: &[u8], cause: Cause) -> Reply {
    let frame = Frame::parse(packet).unwrap().unwrap();
    let mut reply = Reply { bytes: [0; ERROR_V6_LEN], kind: ReplyKind::Silence };
    refusal(packet, &frame, cause, &mut reply).unwrap();
    reply
}

fn ends_are_turned(packet: &[u8], reply: &[u8]) -> Frame {
    let (asked, answered) = (Frame::parse(packet).unwrap().unwrap(), Frame::parse(reply).unwrap().unwrap());
    assert_eq!((answered.ip.src, answered.ip.dst), (asked.ip.dst, asked.ip.src));
    let ((a, b), (c, d)) = (asked.macs(), answered.macs());
    assert_eq!((a, b), (d, c));
    answered
}

#[test]
fn a_segment_is_reset_with_the_numbers_that_its_sender_takes() {
    for (flags, seq, ack, out) in [(TCP_SYN, 0u32, 0x105u32, TCP_RST | TCP_ACK), (TCP_ACK, 0x200, 0, TCP_RST)] {
        let four = v4(PROTO_TCP, &segment(flags));
        let reply = answer(&four, Cause::Port);
        assert_eq!(reply.kind, ReplyKind::ResetV4);
        let bytes = &reply.bytes[..RESET_V4_LEN];
        ends_are_turned(&four, bytes);
        let tcp = &bytes[34..];
        assert_eq!((&tcp[..4], tcp[13]), (&[0, 80, 0x9c, 0x40][..], out));
        assert_eq!((&tcp[4..8], &tcp[8..12]), (&seq.to_be_bytes()[..], &ack.to_be_bytes()[..]));
        assert_eq!(full(&[&bytes[14..34]]), 0);
        assert_eq!(full(&[&CLIENT, &SERVICE, &[0, PROTO_TCP, 0, 20], tcp]), 0);
        let six = v6(PROTO_TCP, &segment(flags));
        let reply = answer(&six, Cause::Port);
        assert_eq!(reply.kind, ReplyKind::ResetV6);
        let bytes = &reply.bytes[..RESET_V6_LEN];
        ends_are_turned(&six, bytes);
        assert_eq!(&bytes[54 + 8..54 + 12], &ack.to_be_bytes());
        assert_eq!(full(&[&bytes[22..54], &[0, PROTO_TCP, 0, 20], &bytes[54..]]), 0);
    }
    assert_eq!(answer(&v4(PROTO_TCP, &segment(TCP_RST)), Cause::Port).kind, ReplyKind::Silence);
}

#[test]
fn a_datagram_is_unreachable_and_quoted() {
    let four = v4(PROTO_UDP, &datagram());
    let reply = answer(&four, Cause::Port);
    assert_eq!(reply.kind, ReplyKind::ErrorV4);
    let bytes = &reply.bytes[..ERROR_V4_LEN];
    let frame = ends_are_turned(&four, bytes);
    assert_eq!((frame.ip.proto, &bytes[34..36], &bytes[42..]), (PROTO_ICMP, &[3, 3][..], &four[14..42]));
    assert_eq!((full(&[&bytes[14..34]]), full(&[&bytes[34..]])), (0, 0));
    let inner = crate::embedded(bytes, &frame.ip).unwrap().unwrap();
    assert_eq!((inner.dst, inner.ends.dst.get()), (Ip::from_v4(Ip4(SERVICE)), 53));

    let six = v6(PROTO_UDP, &datagram());
    let reply = answer(&six, Cause::Port);
    assert_eq!(reply.kind, ReplyKind::ErrorV6);
    let bytes = &reply.bytes[..ERROR_V6_LEN];
    ends_are_turned(&six, bytes);
    assert_eq!((&bytes[54..56], &bytes[62..]), (&[1, 4][..], &six[14..62]));
    assert_eq!(full(&[&bytes[22..54], &[0, 0, 0, 56, 0, 0, 0, PROTO_ICMPV6], &bytes[54..]]), 0);
}

#[test]
fn what_is_too_big_is_told_how_big_it_may_be() {
    let reply = answer(&v4(PROTO_TCP, &segment(TCP_ACK)), Cause::TooBig(1_450));
    assert_eq!((&reply.bytes[34..36], &reply.bytes[40..42]), (&[3, 4][..], &1_450u16.to_be_bytes()[..]));
    let reply = answer(&v6(PROTO_TCP, &segment(TCP_ACK)), Cause::TooBig(1_430));
    assert_eq!((&reply.bytes[54..56], &reply.bytes[60..62]), (&[2, 0][..], &1_430u16.to_be_bytes()[..]));
}
