//! Who may exchange what with whom: pods' identities, address blocks, and rows of allowed traffic.

use core::fmt;

use crate::{Be16, Ip4};

/// Flag of [`crate::Endpoint::flags`]: connections to it need a row.
pub const EP_INGRESS: u32 = 1 << 0;
/// Flag of [`crate::Endpoint::flags`]: connections by it need a row.
pub const EP_EGRESS: u32 = 1 << 1;

/// Peer of [`PolicyKey::peer`]: every address.
pub const PEER_ANYONE: u32 = 0;
/// Peer of [`PolicyKey::peer`]: every pod.
pub const PEER_ANY_POD: u32 = 1;

/// Direction of [`PolicyKey::direction`]: connections to the subject.
pub const POLICY_INGRESS: u8 = 0;
/// Direction of [`PolicyKey::direction`]: connections by the subject.
pub const POLICY_EGRESS: u8 = 1;

/// Verdict of [`PolicyRow::verdict`]: may pass, unless another row that matches denies.
pub const POLICY_ALLOW: u8 = 1;
/// Verdict of [`PolicyRow::verdict`]: is dropped.
pub const POLICY_DENY: u8 = 2;

/// Prefix length of a [`PolicyKey`] for every protocol.
pub const POLICY_BITS_PEER: u32 = 72;
/// Prefix length for every port of a protocol; up to 16 more for a block of ports.
pub const POLICY_BITS_PROTO: u32 = 80;
/// Prefix length of a whole key, as a look-up has it.
pub const POLICY_BITS: u32 = 96;

/// An address of either family in network order; IPv4 as a mapped one (RFC 4291, 2.5.5.2).
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ip16(pub [u8; 16]);

/// Key of `POLICY` behind its prefix length.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyKey {
    /// Identity of the pods that policies select.
    pub subject: u32,
    /// Id of the other side: a wildcard, a namespace, an identity or an address block.
    pub peer: u32,
    /// [`POLICY_INGRESS`] or [`POLICY_EGRESS`].
    pub direction: u8,
    /// IANA protocol number.
    pub proto: u8,
    /// Destination port.
    pub port: Be16,
}

/// Key of `POLICY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyPrefix {
    /// Bits of `key` that count; host order.
    pub bits: u32,
    /// The key.
    pub key: PolicyKey,
}

/// Value of `POLICY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyRow {
    /// Id of the policy that says so.
    pub policy: u32,
    /// Place of the rule in the policy.
    pub index: u16,
    /// [`POLICY_ALLOW`] or [`POLICY_DENY`].
    pub verdict: u8,
    /// Zero.
    pub pad: u8,
}

/// Value of `IDENTITIES`, whose key is a pod's address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its identity.
    pub identity: u32,
    /// Its namespace's id.
    pub namespace: u32,
}

/// Key of `BLOCKS`, whose value is the block's id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockPrefix {
    /// Bits of `addr` that count, of 128; host order.
    pub bits: u32,
    /// The address, not aligned.
    pub addr: [u8; 16],
}

/// The one row of `POLICY_STATE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyEpoch {
    /// Rises with every change that may forbid what was allowed: a flow seen under another one is looked at again.
    pub generation: u32,
}

/// Key of `FRAGMENTS`: what the fragments of a datagram have in common.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Source address.
    pub src: Ip16,
    /// Destination address.
    pub dst: Ip16,
    /// Identification, in the packet's own order.
    pub id: u32,
    /// IANA protocol number.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// Value of `FRAGMENTS`: what only the first one says.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentPorts {
    /// Source port.
    pub src: Be16,
    /// Destination port.
    pub dst: Be16,
}

impl Ip16 {
    const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

    /// Both halves, for comparison alone.
    #[inline(always)]
    pub const fn words(&self) -> (u64, u64) {
        let b = &self.0;
        (
            u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            u64::from_ne_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
        )
    }

    /// The IPv4 address that it maps.
    #[inline(always)]
    pub fn mapped(&self) -> Option<Ip4> {
        let b = &self.0;
        if b[..12] == Self::MAPPED { Some(Ip4([b[12], b[13], b[14], b[15]])) } else { None }
    }
}

impl From<Ip4> for Ip16 {
    #[inline(always)]
    fn from(Ip4([a, b, c, d]): Ip4) -> Self {
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }
}

impl From<core::net::IpAddr> for Ip16 {
    fn from(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(v4) => Ip4::from(v4).into(),
            core::net::IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Ip16> for core::net::IpAddr {
    fn from(address: Ip16) -> Self {
        match address.mapped() {
            Some(v4) => Self::V4(v4.into()),
            None => Self::V6(address.0.into()),
        }
    }
}

impl fmt::Display for Ip16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::net::IpAddr::from(*self).fmt(f)
    }
}
