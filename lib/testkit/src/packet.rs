//! Packets as programs may meet them: well-formed ones of every kind, and the same with faults.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::icmpv4::DestUnreachableHeader as Unreachable4;
use etherparse::icmpv6::DestUnreachableCode as Unreachable6;
use etherparse::{
    Icmpv4Type, Icmpv6Type, IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv4Options, Ipv6Extensions,
    Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, PacketBuilder, PacketBuilderStep, TcpHeader,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

const ETHERNET_LEN: usize = 14;
/// An error quotes so much of what it is about.
const QUOTE_MAX: usize = 64;

/// Who packets are between: each has two of these ends.
#[derive(Clone, Debug)]
pub struct Ends {
    /// Ethernet addresses of the sender and the receiver.
    pub macs: [[u8; 6]; 2],
    /// Addresses of either family.
    pub addresses: Vec<IpAddr>,
    /// Ports.
    pub ports: Vec<u16>,
}

/// An endless row of Ethernet frames, the same for the same seed: TCP, UDP, ICMP echoes and errors and other protocols, over IPv4
/// with and without options and IPv6 with and without extension headers, whole and in fragments; every other one damaged.
pub struct Packets {
    rng: StdRng,
    ends: Ends,
}

impl Packets {
    /// Packets between `ends`, which has at least one address of each family and a port.
    pub fn new(seed: u64, ends: Ends) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), ends }
    }

    fn v4(&mut self) -> Ipv4Addr {
        let own: Vec<Ipv4Addr> = self
            .ends
            .addresses
            .iter()
            .filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None })
            .collect();
        *own.choose(&mut self.rng).expect("an IPv4 address")
    }

    fn v6(&mut self) -> Ipv6Addr {
        let own: Vec<Ipv6Addr> = self
            .ends
            .addresses
            .iter()
            .filter_map(|ip| if let IpAddr::V6(ip) = ip { Some(*ip) } else { None })
            .collect();
        *own.choose(&mut self.rng).expect("an IPv6 address")
    }

    fn port(&mut self) -> u16 {
        *self.ends.ports.choose(&mut self.rng).expect("a port")
    }

    fn bytes(&mut self, len_max: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.rng.random_range(0..=len_max)];
        self.rng.fill(&mut bytes[..]);
        bytes
    }

    fn ip(&mut self) -> IpHeaders {
        let fragment = self.rng.random_bool(0.1);
        let offset = IpFragOffset::try_new(self.rng.random_range(0..3)).expect("13 bits");
        let (more, identification) = (self.rng.random_bool(0.5), self.rng.random());
        if self.rng.random_bool(0.5) {
            let options = [Ipv4Options::new(), Ipv4Options::from([1; 4]), Ipv4Options::from([0; 40])];
            let mut header = Ipv4Header {
                source: self.v4().octets(),
                destination: self.v4().octets(),
                time_to_live: self.rng.random(),
                options: if self.rng.random_bool(0.3) {
                    options[self.rng.random_range(0..3)].clone()
                } else {
                    Ipv4Options::new()
                },
                identification,
                ..Ipv4Header::default()
            };
            if fragment {
                (header.fragment_offset, header.more_fragments, header.dont_fragment) = (offset, more, false);
            }
            return IpHeaders::Ipv4(header, Default::default());
        }
        let header = Ipv6Header {
            source: self.v6().octets(),
            destination: self.v6().octets(),
            hop_limit: self.rng.random(),
            ..Ipv6Header::default()
        };
        let mut extensions = Ipv6Extensions::default();
        let option =
            |len: usize| Ipv6RawExtHeader::new_raw(IpNumber(0), &vec![0; len]).expect("a multiple of eight, less two");
        if self.rng.random_bool(0.2) {
            extensions.hop_by_hop_options = Some(option(6));
        }
        if self.rng.random_bool(0.2) {
            extensions.destination_options = Some(option(if self.rng.random_bool(0.9) { 14 } else { 1278 }));
        }
        if fragment {
            extensions.fragment = Some(Ipv6FragmentHeader::new(IpNumber(0), offset, more, identification.into()));
        }
        IpHeaders::Ipv6(header, extensions)
    }

    /// A whole frame, as its sender means it.
    fn frame(&mut self, deep: bool) -> Vec<u8> {
        let ip = self.ip();
        let is_v4 = matches!(ip, IpHeaders::Ipv4(..));
        let builder = PacketBuilder::ethernet2(self.ends.macs[0], self.ends.macs[1]).ip(ip);
        let (source, destination) = (self.port(), self.port());
        let payload = self.bytes(64);
        match self.rng.random_range(0..10) {
            0..=3 => {
                let mut header = TcpHeader::new(source, destination, self.rng.random(), self.rng.random());
                (header.syn, header.ack) = (self.rng.random_bool(0.4), self.rng.random_bool(0.6));
                (header.fin, header.rst) = (self.rng.random_bool(0.2), self.rng.random_bool(0.1));
                written(&payload, |out| builder.tcp_header(header).write(out, &payload))
            }
            4..=6 => written(&payload, |out| builder.udp(source, destination).write(out, &payload)),
            7 => self.other(builder, is_v4, &payload),
            _ if deep => self.error(builder, is_v4),
            _ => written(&payload, |out| builder.udp(source, destination).write(out, &payload)),
        }
    }

    /// An echo, or a protocol without ports.
    fn other(&mut self, builder: PacketBuilderStep<IpHeaders>, is_v4: bool, payload: &[u8]) -> Vec<u8> {
        let (id, sequence) = (self.rng.random(), self.rng.random());
        match (self.rng.random_bool(0.7), is_v4) {
            (true, true) => written(payload, |out| builder.icmpv4_echo_request(id, sequence).write(out, payload)),
            (true, false) => written(payload, |out| builder.icmpv6_echo_request(id, sequence).write(out, payload)),
            (false, _) => {
                let protocol = IpNumber(*[2, 47, 50, 51, 132, 255].choose(&mut self.rng).expect("some"));
                written(payload, |out| builder.write(out, protocol, payload))
            }
        }
    }

    /// An ICMP error about another packet.
    fn error(&mut self, builder: PacketBuilderStep<IpHeaders>, is_v4: bool) -> Vec<u8> {
        let about = self.frame(false).split_off(ETHERNET_LEN);
        let quote = &about[..about.len().min(self.rng.random_range(0..=QUOTE_MAX))];
        let mtu = self.rng.random();
        if is_v4 {
            let kind = match self.rng.random_range(0..3) {
                0 => Icmpv4Type::DestinationUnreachable(Unreachable4::Port),
                1 => Icmpv4Type::DestinationUnreachable(Unreachable4::FragmentationNeeded { next_hop_mtu: mtu }),
                _ => Icmpv4Type::TimeExceeded(etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit),
            };
            return written(quote, |out| builder.icmpv4(kind).write(out, quote));
        }
        let kind = match self.rng.random_range(0..3) {
            0 => Icmpv6Type::DestinationUnreachable(Unreachable6::Port),
            1 => Icmpv6Type::PacketTooBig { mtu: mtu.into() },
            _ => Icmpv6Type::TimeExceeded(etherparse::icmpv6::TimeExceededCode::HopLimitExceeded),
        };
        written(quote, |out| builder.icmpv6(kind).write(out, quote))
    }

    /// Bytes that are others, too few, or too many.
    fn damage(&mut self, frame: &mut Vec<u8>) {
        match self.rng.random_range(0..4) {
            0 => frame.truncate(self.rng.random_range(ETHERNET_LEN..=frame.len())),
            1 => frame.extend(self.bytes(32)),
            _ => {
                for _ in 0..self.rng.random_range(1..=4) {
                    // Mostly headers.
                    let place = self.rng.random_range(0..frame.len().min(ETHERNET_LEN + 80));
                    frame[place] = self.rng.random();
                }
            }
        }
    }
}

fn written<E: std::fmt::Debug>(payload: &[u8], write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128 + payload.len());
    write(&mut frame).expect("headers that hold their payload");
    frame
}

impl Iterator for Packets {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut frame = self.frame(true);
        if self.rng.random_bool(0.5) {
            self.damage(&mut frame);
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_the_same_again_and_mostly_whole() {
        let ends = Ends {
            macs: [[2; 6], [4; 6]],
            addresses: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            ports: vec![80],
        };
        let first: Vec<_> = Packets::new(7, ends.clone()).take(500).collect();
        assert_eq!(first, Packets::new(7, ends).take(500).collect::<Vec<_>>());
        assert!(first.iter().all(|frame| frame.len() >= ETHERNET_LEN));
        let whole = first.iter().filter(|frame| etherparse::SlicedPacket::from_ethernet(frame).is_ok()).count();
        assert!((250..500).contains(&whole), "{whole}");
    }
}
