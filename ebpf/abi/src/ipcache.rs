//! Prefixes of the cluster: pods and nodes, wherever they are.

use crate::Ip;

/// Flag of [`Remote::flags`]: pods' addresses.
pub const REMOTE_PODS: u32 = 1 << 0;
/// Flag of [`Remote::flags`]: an address of a node itself.
pub const REMOTE_NODE: u32 = 1 << 1;
/// Flag of [`Remote::flags`]: packets go there through the tunnel.
pub const REMOTE_TUNNEL: u32 = 1 << 2;

/// UDP port of the tunnel (VXLAN as Linux has had it first).
pub const TUNNEL_PORT: u16 = 8472;
/// What both Ethernet addresses of a packet hold that a program puts into the tunnel: no device has it, and no one looks.
pub const TUNNEL_MAC: crate::Mac = [0x0a, 0x76, 0, 0, 0, 1];
/// Network identifier of the cluster's tunnel.
pub const OVERLAY_VNI: u32 = 0x73_6b_70;

/// Key of `IPCACHE`. The kernel wants the length of the prefix, in bits and host order, before the bytes that it counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixKey {
    /// Bits of the prefix; an IPv4 prefix has [`Ip::MAPPED_BITS`] more.
    pub bits: u32,
    /// The address.
    pub addr: Ip,
}

/// Value of `IPCACHE`. A packet to an address that is in no prefix leaves the cluster.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Remote {
    /// The node that has the prefix: where a tunnel ends. [`Ip::NONE`] for prefixes that an operator listed.
    pub node: Ip,
    /// `REMOTE_*` flags.
    pub flags: u32,
    /// Id of the node, a key of `NAMES`; 0 is none.
    pub id: u32,
}
