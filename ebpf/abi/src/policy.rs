//! Who may exchange what with whom: pods' identities, address blocks, and rows of allowed traffic.

use crate::{Be16, Ip};

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

/// Reader of [`FragmentKey::by`]: policy, which sees the packet as it came.
pub const FRAGMENT_POLICED: u8 = 0;
/// Reader of [`FragmentKey::by`]: translation, to which an echo has one port.
pub const FRAGMENT_TRANSLATED: u8 = 1;

/// Key of `FRAGMENTS`: what the fragments of a datagram have in common.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Source address.
    pub src: Ip,
    /// Destination address.
    pub dst: Ip,
    /// Identification, in the packet's own order.
    pub id: u32,
    /// IANA protocol number.
    pub proto: u8,
    /// `FRAGMENT_*`: for whom the ports are kept.
    pub by: u8,
    /// Zero.
    pub pad: [u8; 2],
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
