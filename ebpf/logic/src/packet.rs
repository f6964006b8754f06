//! Headers of a frame, as far as the programs look.

use skep_abi::{Be16, Ip4, Mac, PROTO_TCP, PROTO_UDP};

use crate::checksum::decrement_ttl;

/// Bytes of an Ethernet header.
pub const ETH_LEN: usize = 14;
/// Bytes of an Ethernet header and an IPv4 header without options, which is what [`Frame`] reads at once.
pub const HEADERS_LEN: usize = ETH_LEN + 20;

/// Bytes at the start of a frame that change at a hop: both Ethernet addresses, time to live and header checksum.
pub const HOP_LEN: usize = ETH_LEN + 12;

/// SYN in [`Ports::tcp_flags`].
pub const TCP_SYN: u8 = 0x02;
/// ACK in [`Ports::tcp_flags`].
pub const TCP_ACK: u8 = 0x10;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const FRAGMENT_OFFSET: u16 = 0x1fff;
const MORE_FRAGMENTS: u16 = 0x2000;

/// Bytes of a packet, from its Ethernet header on.
pub trait Packet {
    /// `N` bytes at an offset; `None` where the packet ends before.
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Packet for [u8] {
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

/// A header that does not hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The Ethernet and IPv4 headers of a frame, raw and decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The bytes, for a program that writes some of them back.
    pub raw: [u8; HEADERS_LEN],
    /// The IPv4 header.
    pub ip: Ipv4,
}

/// An IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Source.
    pub src: Ip4,
    /// Destination.
    pub dst: Ip4,
    /// IANA protocol number.
    pub proto: u8,
    /// Time to live.
    pub ttl: u8,
    /// Header checksum.
    pub checksum: Be16,
    /// Where the next header begins, counted from the frame's first byte.
    pub l4: usize,
    /// Whether it is a fragment, and so may lack the next header.
    pub fragment: bool,
}

/// Ports of a TCP or UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Source port.
    pub src: Be16,
    /// Destination port.
    pub dst: Be16,
    /// TCP's flags; 0 for UDP.
    pub tcp_flags: u8,
}

impl Frame {
    /// Reads a frame: `None` where it carries something other than IPv4.
    ///
    /// # Errors
    /// The IPv4 header is cut short, or has a version or length that cannot be.
    #[inline(always)]
    pub fn parse<P: Packet + ?Sized>(packet: &P) -> Result<Option<Self>, Malformed> {
        let Some(raw) = packet.load::<HEADERS_LEN>(0) else {
            return match packet.load::<ETH_LEN>(0) {
                Some(eth) if [eth[12], eth[13]] == ETHERTYPE_IPV4 => Err(Malformed),
                _ => Ok(None),
            };
        };
        if [raw[12], raw[13]] != ETHERTYPE_IPV4 {
            return Ok(None);
        }
        let words = (raw[ETH_LEN] & 0x0f) as usize;
        if raw[ETH_LEN] >> 4 != 4 || words < 5 {
            return Err(Malformed);
        }
        let fragment = u16::from_be_bytes([raw[20], raw[21]]) & (FRAGMENT_OFFSET | MORE_FRAGMENTS) != 0;
        let ip = Ipv4 {
            src: Ip4([raw[26], raw[27], raw[28], raw[29]]),
            dst: Ip4([raw[30], raw[31], raw[32], raw[33]]),
            proto: raw[23],
            ttl: raw[22],
            checksum: Be16::from_bytes([raw[24], raw[25]]),
            l4: ETH_LEN + words * 4,
            fragment,
        };
        Ok(Some(Self { raw, ip }))
    }

    /// The start of the frame as a router sends it on to `dst` from `src`; `None` where it has no hop left.
    #[inline(always)]
    pub fn hop(&self, dst: Mac, src: Mac) -> Option<[u8; HOP_LEN]> {
        let (ttl, checksum) = decrement_ttl(self.ip.ttl, self.ip.proto, self.ip.checksum)?;
        let mut head = [0; HOP_LEN];
        head.copy_from_slice(&self.raw[..HOP_LEN]);
        head[..6].copy_from_slice(&dst);
        head[6..12].copy_from_slice(&src);
        head[22] = ttl;
        head[24..26].copy_from_slice(&checksum.bytes());
        Some(head)
    }

    /// Destination and source address of the Ethernet header.
    #[inline(always)]
    pub fn macs(&self) -> (Mac, Mac) {
        let r = &self.raw;
        ([r[0], r[1], r[2], r[3], r[4], r[5]], [r[6], r[7], r[8], r[9], r[10], r[11]])
    }
}

impl Ipv4 {
    /// Ports of an unfragmented TCP or UDP packet; `None` for anything else.
    ///
    /// # Errors
    /// The transport header is cut short.
    #[inline(always)]
    pub fn ports<P: Packet + ?Sized>(&self, packet: &P) -> Result<Option<Ports>, Malformed> {
        if self.fragment || (self.proto != PROTO_TCP && self.proto != PROTO_UDP) {
            return Ok(None);
        }
        let tcp_flags = if self.proto == PROTO_TCP {
            let [flags] = packet.load::<1>(self.l4 + 13).ok_or(Malformed)?;
            flags
        } else {
            0
        };
        let [a, b, c, d] = packet.load::<4>(self.l4).ok_or(Malformed)?;
        Ok(Some(Ports { src: Be16::from_bytes([a, b]), dst: Be16::from_bytes([c, d]), tcp_flags }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
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

    #[test]
    fn options_move_the_transport_header() {
        for options in 0..=10 {
            let bytes = frame(PROTO_UDP, options, &[0x1f, 0x90, 0, 53, 0, 8, 0, 0]);
            let parsed = Frame::parse(&bytes[..]).unwrap().unwrap();
            assert_eq!((parsed.ip.src, parsed.ip.dst), (Ip4([10, 0, 0, 1]), Ip4([10, 0, 0, 2])));
            assert!(!parsed.ip.fragment);
            let ports = parsed.ip.ports(&bytes[..]).unwrap().unwrap();
            assert_eq!((ports.src.get(), ports.dst.get(), ports.tcp_flags), (8080, 53, 0));
        }
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
    }

    #[test]
    fn fragments_and_other_protocols_have_no_ports() {
        let mut bytes = frame(PROTO_UDP, 0, &[0; 8]);
        bytes[20] = 0x20;
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
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(Some(frame)) = Frame::parse(&bytes[..]) {
                let _ = frame.ip.ports(&bytes[..]);
            }
        }
    }
}
