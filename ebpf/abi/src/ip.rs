//! An address of either family.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Ip4;

const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// An address of either family in network order; IPv4 stands in it as `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2).
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ip(pub [u8; 16]);

impl Ip {
    /// No address; as the address of a node port, every IPv6 address of the node.
    pub const NONE: Self = Self([0; 16]);
    /// As the address of a node port, every IPv4 address of the node.
    pub const ANY_V4: Self = Self::from_v4(Ip4([0; 4]));
    /// Bits before those of an IPv4 address.
    pub const MAPPED_BITS: u32 = 96;

    /// From an IPv4 address.
    #[inline(always)]
    pub const fn from_v4(address: Ip4) -> Self {
        let [a, b, c, d] = address.0;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// The last four bytes: the address itself where it is an IPv4 one.
    #[inline(always)]
    pub const fn v4(&self) -> Ip4 {
        Ip4([self.0[12], self.0[13], self.0[14], self.0[15]])
    }

    /// What stands for a network namespace where an address stands for a client: a multicast address, which no client has.
    #[inline(always)]
    pub const fn of_cookie(cookie: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = cookie.to_ne_bytes();
        Self([0xff, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h])
    }

    /// The wildcard of the same family: any address of the node, under which node ports stand.
    #[inline(always)]
    pub fn any(&self) -> Self {
        if self.is_v4() { Self::ANY_V4 } else { Self::NONE }
    }

    /// Whether it is in 127.0.0.0/8, or is `::1`.
    #[inline(always)]
    pub fn is_loopback(&self) -> bool {
        if self.is_v4() { self.0[12] == 127 } else { self.words() == [0, 0, 0, 1_u32.to_be()] }
    }

    /// From the words that the kernel hands over (`user_ip6`), whose bytes in memory are in network order.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        let [a, b, c, d] =
            [words[0].to_ne_bytes(), words[1].to_ne_bytes(), words[2].to_ne_bytes(), words[3].to_ne_bytes()];
        Self([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]])
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub fn is_v4(&self) -> bool {
        let words = self.words();
        words[0] == 0 && words[1] == 0 && words[2] == u32::from_ne_bytes([MAPPED[8], MAPPED[9], MAPPED[10], MAPPED[11]])
    }

    /// The IPv4 address that it maps.
    #[inline(always)]
    pub fn mapped(&self) -> Option<Ip4> {
        if self.is_v4() { Some(self.v4()) } else { None }
    }

    /// Whether it is no address.
    #[inline(always)]
    pub fn is_none(&self) -> bool {
        self.words() == [0; 4]
    }

    /// The words that the kernel's helpers take, whose bytes in memory are in network order.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        let b = &self.0;
        [
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        ]
    }

    /// Whether more than one host may answer to it: multicast, or IPv4's broadcast.
    #[inline(always)]
    pub fn is_multicast(&self) -> bool {
        if self.is_v4() { self.0[12] >= 0xe0 } else { self.0[0] == 0xff }
    }
}

impl From<Ip4> for Ip {
    #[inline(always)]
    fn from(address: Ip4) -> Self {
        Self::from_v4(address)
    }
}

impl From<Ipv4Addr> for Ip {
    fn from(address: Ipv4Addr) -> Self {
        Self::from_v4(address.into())
    }
}

impl From<Ipv6Addr> for Ip {
    fn from(address: Ipv6Addr) -> Self {
        Self(address.octets())
    }
}

impl From<IpAddr> for Ip {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

impl From<Ip> for IpAddr {
    fn from(address: Ip) -> Self {
        if address.is_v4() { Self::V4(address.v4().into()) } else { Self::V6(address.0.into()) }
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_families_come_back_as_they_went_in() {
        for text in ["10.42.0.7", "0.0.0.0", "255.255.255.255", "fd00:42::7", "::", "::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Ip::from(address)), address);
        }
        assert!(Ip::NONE.is_none() && !Ip::from(Ipv4Addr::UNSPECIFIED).is_none());
        assert_eq!(Ip::from_words(Ip::from(Ipv4Addr::LOCALHOST).words()), Ip::from(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn wildcards_and_loopback_are_of_a_family() {
        let ip = |text: &str| Ip::from(text.parse::<IpAddr>().unwrap());
        assert_eq!((ip("192.0.2.1").any(), ip("2001:db8::1").any()), (ip("0.0.0.0"), ip("::")));
        assert!(ip("127.9.9.9").is_loopback() && ip("::1").is_loopback());
        assert!(!ip("128.0.0.1").is_loopback() && !ip("::2").is_loopback() && !ip("::").is_loopback());
    }

    #[test]
    fn what_is_not_for_one_host() {
        let many = |text: &str| Ip::from(text.parse::<IpAddr>().unwrap()).is_multicast();
        assert!(many("224.0.0.1") && many("255.255.255.255") && many("ff02::1"));
        assert!(!many("10.0.0.1") && !many("223.255.255.255") && !many("fe80::1") && !many("fd00::1"));
    }
}
