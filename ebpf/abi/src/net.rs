//! Addresses and ports as they stand in a packet.

use core::fmt;

/// IANA protocol number of ICMP.
pub const PROTO_ICMP: u8 = 1;
/// IANA protocol number of TCP.
pub const PROTO_TCP: u8 = 6;
/// IANA protocol number of UDP.
pub const PROTO_UDP: u8 = 17;
/// IANA protocol number of SCTP.
pub const PROTO_SCTP: u8 = 132;
/// IANA protocol number of ICMPv6.
pub const PROTO_ICMPV6: u8 = 58;

/// An IPv4 address in network order, aligned so that the kernel side copies it as one word.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ip4(pub [u8; 4]);

impl Ip4 {
    /// From the word that the kernel hands over (`user_ip4`), whose bytes in memory are in network order.
    #[inline(always)]
    pub const fn from_ne(word: u32) -> Self {
        Self(word.to_ne_bytes())
    }

    /// The word to hand back to the kernel.
    #[inline(always)]
    pub const fn to_ne(self) -> u32 {
        u32::from_ne_bytes(self.0)
    }
}

impl From<core::net::Ipv4Addr> for Ip4 {
    fn from(address: core::net::Ipv4Addr) -> Self {
        Self(address.octets())
    }
}

impl From<Ip4> for core::net::Ipv4Addr {
    fn from(address: Ip4) -> Self {
        Self::from(address.0)
    }
}

impl fmt::Display for Ip4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::net::Ipv4Addr::from(*self).fmt(f)
    }
}

/// A 16 bit number in network order: a port, a checksum, a length.
#[repr(C, align(2))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Be16([u8; 2]);

impl Be16 {
    /// From a number in host order.
    #[inline(always)]
    pub const fn new(value: u16) -> Self {
        Self(value.to_be_bytes())
    }

    /// The number in host order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.0)
    }

    /// From bytes of a packet.
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; 2]) -> Self {
        Self(bytes)
    }

    /// The bytes as they go into a packet.
    #[inline(always)]
    pub const fn bytes(self) -> [u8; 2] {
        self.0
    }

    /// From a kernel word that holds the port in network order in its low 16 bits (`bpf_sock_addr.user_port`).
    #[inline(always)]
    pub const fn from_ne(word: u32) -> Self {
        Self((word as u16).to_ne_bytes())
    }

    /// The word to hand back to the kernel.
    #[inline(always)]
    pub const fn to_ne(self) -> u32 {
        u16::from_ne_bytes(self.0) as u32
    }
}

impl fmt::Display for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
