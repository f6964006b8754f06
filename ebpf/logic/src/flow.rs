//! What a packet says of its flow.

use skep_abi::{
    Be16, CtKey, FRAGMENT_POLICED, FragmentKey, Ip, Ip4, PROTO_ICMP, PROTO_ICMPV6, PROTO_SCTP, PROTO_TCP, PROTO_UDP,
};

use crate::packet::{Chain, Frame, Malformed, Packet, Part, TCP_ACK, TCP_SYN, follow};

/// FIN in TCP's flags.
pub(crate) const TCP_FIN: u8 = 0x01;
/// RST in TCP's flags.
pub(crate) const TCP_RST: u8 = 0x04;

const FRAGMENT_OFFSET: u16 = 0x1fff;

const ICMP_ECHO_REPLY: u8 = 0;
const ICMP_UNREACHABLE: u8 = 3;
const ICMP_ECHO: u8 = 8;
const ICMP_TIME_EXCEEDED: u8 = 11;
const ICMP_PARAMETER: u8 = 12;
/// Types of ICMPv6 below this one report errors (RFC 4443, 2.1).
const ICMPV6_ECHO: u8 = 128;
const ICMPV6_ECHO_REPLY: u8 = 129;

/// A packet's flow, as the packet travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source address.
    pub src: Ip,
    /// Destination address.
    pub dst: Ip,
    /// Identification of a fragmented datagram.
    pub id: u32,
    /// Source port, or an echo's id.
    pub src_port: Be16,
    /// Destination port, or an echo's id.
    pub dst_port: Be16,
    /// IANA protocol number.
    pub proto: u8,
    /// TCP's flags; 0 for others.
    pub tcp_flags: u8,
    /// Whether it reports an error of another flow, whose packet it bears.
    pub reports: bool,
    /// Which part of its datagram it is.
    pub part: Part,
}

impl Flow {
    /// Of a packet.
    ///
    /// # Errors
    /// The transport header is cut short.
    #[inline(always)]
    pub fn of<P: Packet + ?Sized>(packet: &P, frame: &Frame) -> Result<Self, Malformed> {
        let mut flow = Self {
            src: frame.ip.src,
            dst: frame.ip.dst,
            id: frame.ip.id,
            src_port: Be16::new(0),
            dst_port: Be16::new(0),
            proto: frame.ip.proto,
            tcp_flags: 0,
            reports: false,
            part: frame.ip.part,
        };
        if flow.part != Part::Later {
            flow.read_transport(packet, frame.ip.l4)?;
        }
        Ok(flow)
    }

    #[inline(always)]
    fn read_transport<P: Packet + ?Sized>(&mut self, packet: &P, l4: usize) -> Result<(), Malformed> {
        if has_ports(self.proto) {
            let [a, b, c, d] = packet.load::<4>(l4).ok_or(Malformed)?;
            self.src_port = Be16::from_bytes([a, b]);
            self.dst_port = Be16::from_bytes([c, d]);
            if self.proto == PROTO_TCP {
                let [flags] = packet.load::<1>(l4 + 13).ok_or(Malformed)?;
                self.tcp_flags = flags;
            }
        } else if self.proto == PROTO_ICMP {
            let [kind, _, _, _, a, b, _, _] = packet.load::<8>(l4).ok_or(Malformed)?;
            if matches!(kind, ICMP_ECHO | ICMP_ECHO_REPLY) {
                self.src_port = Be16::from_bytes([a, b]);
                self.dst_port = self.src_port;
            }
            self.reports = matches!(kind, ICMP_UNREACHABLE | ICMP_TIME_EXCEEDED | ICMP_PARAMETER);
        } else if self.proto == PROTO_ICMPV6 {
            let [kind, _, _, _, a, b, _, _] = packet.load::<8>(l4).ok_or(Malformed)?;
            if matches!(kind, ICMPV6_ECHO | ICMPV6_ECHO_REPLY) {
                self.src_port = Be16::from_bytes([a, b]);
                self.dst_port = self.src_port;
            }
            self.reports = kind < ICMPV6_ECHO;
        }
        Ok(())
    }

    /// The flow whose packet an ICMP error bears, as that packet travelled; `None` where it cannot be told.
    #[inline(always)]
    pub fn reported<P: Packet + ?Sized>(packet: &P, l4: usize, v4: bool) -> Option<Self> {
        let mut flow = Self {
            src: Ip::NONE,
            dst: Ip::NONE,
            id: 0,
            src_port: Be16::new(0),
            dst_port: Be16::new(0),
            proto: 0,
            tcp_flags: 0,
            reports: false,
            part: Part::Whole,
        };
        flow.read_reported(packet, l4, v4).then_some(flow)
    }

    /// As [`Flow::reported`], in place: `false` where it cannot be told.
    #[inline(always)]
    pub fn read_reported<P: Packet + ?Sized>(&mut self, packet: &P, l4: usize, v4: bool) -> bool {
        let place = if v4 { self.read_reported_v4(packet, l4 + 8) } else { self.read_reported_v6(packet, l4 + 8) };
        let Some(place) = place else { return false };
        (self.id, self.tcp_flags, self.reports, self.part) = (0, 0, false, Part::Whole);
        (self.src_port, self.dst_port) = (Be16::new(0), Be16::new(0));
        let Some([a, b, c, d]) = packet.load::<4>(place) else { return false };
        if has_ports(self.proto) {
            self.src_port = Be16::from_bytes([a, b]);
            self.dst_port = Be16::from_bytes([c, d]);
        } else if self.proto == if v4 { PROTO_ICMP } else { PROTO_ICMPV6 } {
            let Some(id) = packet.load::<2>(place + 4) else { return false };
            self.src_port = Be16::from_bytes(id);
            self.dst_port = self.src_port;
        }
        true
    }

    /// Reads addresses and protocol; gives back where the transport's header is.
    #[inline(always)]
    fn read_reported_v6<P: Packet + ?Sized>(&mut self, packet: &P, at: usize) -> Option<usize> {
        let [proto] = packet.load::<1>(at + 6)?;
        let mut chain = Chain { proto, at: at + 40, part: Part::Whole, id: 0 };
        follow(packet, &mut chain).ok()?;
        let told = packet.read(at + 8, &mut self.src.0) && packet.read(at + 24, &mut self.dst.0);
        // A later fragment has no ports to tell, and an address of the other family is nobody's here.
        if !told || chain.part == Part::Later || self.src.is_v4() || self.dst.is_v4() {
            return None;
        }
        self.proto = chain.proto;
        Some(chain.at)
    }

    #[inline(always)]
    fn read_reported_v4<P: Packet + ?Sized>(&mut self, packet: &P, at: usize) -> Option<usize> {
        let raw = packet.load::<20>(at)?;
        let words = (raw[0] & 0x0f) as usize;
        let later = u16::from_be_bytes([raw[6], raw[7]]) & FRAGMENT_OFFSET != 0;
        if raw[0] >> 4 != 4 || words < 5 || later {
            return None;
        }
        self.src = Ip4([raw[12], raw[13], raw[14], raw[15]]).into();
        self.dst = Ip4([raw[16], raw[17], raw[18], raw[19]]).into();
        self.proto = raw[9];
        Some(at + words * 4)
    }

    /// Its key, and whether this packet's source stands first in it.
    #[inline(always)]
    pub fn key(&self) -> (CtKey, bool) {
        let from_low = self.src.words() < self.dst.words();
        let (low, high, low_port, high_port) = if from_low {
            (self.src, self.dst, self.src_port, self.dst_port)
        } else {
            (self.dst, self.src, self.dst_port, self.src_port)
        };
        (CtKey { low, high, low_port, high_port, proto: self.proto, pad: [0; 3] }, from_low)
    }

    /// What its fragments have in common.
    #[inline(always)]
    pub fn fragment_key(&self) -> FragmentKey {
        FragmentKey { src: self.src, dst: self.dst, id: self.id, proto: self.proto, by: FRAGMENT_POLICED, pad: [0; 2] }
    }

    /// Whether it asks for a new connection.
    #[inline(always)]
    pub fn is_syn(&self) -> bool {
        self.proto == PROTO_TCP && self.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN
    }

    /// Whether it is of a TCP connection that began before, or of none.
    #[inline(always)]
    pub fn is_midstream(&self) -> bool {
        self.proto == PROTO_TCP && !self.is_syn()
    }
}

#[inline(always)]
fn has_ports(proto: u8) -> bool {
    proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP
}
