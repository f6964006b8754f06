//! Headers of a frame, as far as the programs look.

mod ipv6;

pub(crate) use ipv6::{Chain, follow};
use skep_abi::{Be16, Ip, Ip4, Mac, PROTO_TCP, PROTO_UDP};

use crate::checksum::decrement_ttl;

/// Bytes of an Ethernet header.
pub const ETH_LEN: usize = 14;
/// Bytes of an Ethernet header and an IPv4 header without options, which is what [`Frame`] reads at once.
pub const HEADERS_LEN: usize = ETH_LEN + 20;

/// Bytes at the start of a frame in which all that changes at a hop is: both Ethernet addresses, time to live or hop limit, and
/// IPv4's header checksum.
pub const HOP_LEN: usize = ETH_LEN + 12;

/// SYN in [`Ports::tcp_flags`].
pub const TCP_SYN: u8 = 0x02;
/// ACK in [`Ports::tcp_flags`].
pub const TCP_ACK: u8 = 0x10;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const FRAGMENT_OFFSET: u16 = 0x1fff;
const MORE_FRAGMENTS: u16 = 0x2000;

/// Bytes of a packet, from its Ethernet header on.
pub trait Packet {
    /// Fills `into` with the bytes at an offset; `false` where the packet ends before.
    fn read<const N: usize>(&self, offset: usize, into: &mut [u8; N]) -> bool;

    /// `N` bytes at an offset; `None` where the packet ends before.
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes).then_some(bytes)
    }
}

impl Packet for [u8] {
    fn read<const N: usize>(&self, offset: usize, into: &mut [u8; N]) -> bool {
        let Some(bytes) = self.get(offset..).and_then(|rest| rest.first_chunk()) else { return false };
        *into = *bytes;
        true
    }
}

/// A header that does not hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The Ethernet and IP headers of a frame, raw and decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The first bytes, for a program that writes some of them back.
    pub raw: [u8; HEADERS_LEN],
    /// The IP header.
    pub ip: IpHeader,
}

/// An IP header of either family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpHeader {
    /// Source.
    pub src: Ip,
    /// Destination.
    pub dst: Ip,
    /// Whether it is IPv4.
    pub v4: bool,
    /// IANA protocol number of the transport header.
    pub proto: u8,
    /// Time to live, or hop limit.
    pub hops: u8,
    /// Header checksum; 0 for IPv6, which has none.
    pub checksum: Be16,
    /// Where the transport header begins, counted from the frame's first byte.
    pub l4: usize,
    /// Identification of a fragmented datagram.
    pub id: u32,
    /// Which part of its datagram it is: a later one lacks the transport header.
    pub part: Part,
    /// Whether nobody may make fragments of it: always so of IPv6.
    pub unfragmented: bool,
}

/// Which part of a datagram a packet is.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// The first fragment.
    First,
    /// A later fragment, which has no ports.
    Later,
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

impl Default for Frame {
    #[inline(always)]
    fn default() -> Self {
        Self { raw: [0; HEADERS_LEN], ip: IpHeader::default() }
    }
}

impl Frame {
    /// Reads a frame: `None` where it carries something other than IP.
    ///
    /// # Errors
    /// The IP header is cut short, or has a version or length that cannot be, or more extension headers than are followed.
    #[inline(always)]
    pub fn parse<P: Packet + ?Sized>(packet: &P) -> Result<Option<Self>, Malformed> {
        let mut frame = Self::default();
        Ok(frame.read(packet)?.then_some(frame))
    }

    /// As [`Frame::parse`], in place: `false` where it carries something other than IP.
    ///
    /// # Errors
    /// As for [`Frame::parse`].
    #[inline(always)]
    pub fn read<P: Packet + ?Sized>(&mut self, packet: &P) -> Result<bool, Malformed> {
        if !packet.read(0, &mut self.raw) {
            return match packet.load::<2>(ETH_LEN - 2) {
                Some(ETHERTYPE_IPV4 | ETHERTYPE_IPV6) => Err(Malformed),
                _ => Ok(false),
            };
        }
        match [self.raw[12], self.raw[13]] {
            ETHERTYPE_IPV4 => self.read_ipv4()?,
            ETHERTYPE_IPV6 => ipv6::read(self, packet)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    #[inline(always)]
    fn read_ipv4(&mut self) -> Result<(), Malformed> {
        let (raw, ip) = (&self.raw, &mut self.ip);
        let words = (raw[ETH_LEN] & 0x0f) as usize;
        if raw[ETH_LEN] >> 4 != 4 || words < 5 {
            return Err(Malformed);
        }
        ip.src = Ip::from_v4(Ip4([raw[26], raw[27], raw[28], raw[29]]));
        ip.dst = Ip::from_v4(Ip4([raw[30], raw[31], raw[32], raw[33]]));
        ip.v4 = true;
        ip.proto = raw[23];
        ip.hops = raw[22];
        ip.checksum = Be16::from_bytes([raw[24], raw[25]]);
        ip.l4 = ETH_LEN + words * 4;
        ip.unfragmented = raw[20] & 0x40 != 0;
        ip.id = u32::from(u16::from_be_bytes([raw[18], raw[19]]));
        let word = u16::from_be_bytes([raw[20], raw[21]]);
        ip.part = Part::of(word & FRAGMENT_OFFSET != 0, word & MORE_FRAGMENTS != 0);
        Ok(())
    }

    /// The start of the frame as a router sends it on to `dst` from `src`; `None` where it has no hop left.
    #[inline(always)]
    pub fn hop(&self, dst: Mac, src: Mac) -> Option<[u8; HOP_LEN]> {
        let mut head = [0; HOP_LEN];
        head.copy_from_slice(&self.raw[..HOP_LEN]);
        head[..6].copy_from_slice(&dst);
        head[6..12].copy_from_slice(&src);
        if self.ip.v4 {
            let (ttl, checksum) = decrement_ttl(self.ip.hops, self.ip.proto, self.ip.checksum)?;
            head[22] = ttl;
            head[24..26].copy_from_slice(&checksum.bytes());
        } else {
            if self.ip.hops <= 1 {
                return None;
            }
            head[ipv6::HOP_LIMIT] = self.ip.hops - 1;
        }
        Some(head)
    }

    /// Destination and source address of the Ethernet header.
    #[inline(always)]
    pub fn macs(&self) -> (Mac, Mac) {
        let r = &self.raw;
        ([r[0], r[1], r[2], r[3], r[4], r[5]], [r[6], r[7], r[8], r[9], r[10], r[11]])
    }
}

impl IpHeader {
    /// Ports of a TCP or UDP packet, or of the first part of one; `None` for anything else.
    ///
    /// # Errors
    /// The transport header is cut short.
    #[inline(always)]
    pub fn ports<P: Packet + ?Sized>(&self, packet: &P) -> Result<Option<Ports>, Malformed> {
        if self.part == Part::Later || (self.proto != PROTO_TCP && self.proto != PROTO_UDP) {
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

impl Part {
    #[inline(always)]
    const fn of(has_offset: bool, has_more: bool) -> Self {
        match (has_offset, has_more) {
            (false, false) => Self::Whole,
            (false, true) => Self::First,
            (true, _) => Self::Later,
        }
    }
}

/// Whether a packet may begin a flow. TCP begins with SYN alone; a stray segment belongs to a flow that is forgotten, and is answered as
/// one that nobody has heard of.
#[inline(always)]
pub fn opens_flow(ip: &IpHeader, ports: &Ports) -> bool {
    ip.proto != PROTO_TCP || ports.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN
}

#[cfg(test)]
#[path = "packet/tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
