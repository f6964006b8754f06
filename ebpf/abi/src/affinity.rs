//! Session affinity: which backend a client had last.

use crate::{Be16, Ip4};

/// Key of `AFFINITY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityKey {
    /// The client: the cookie of its network namespace inside the cluster, its IPv4 address in the low half outside. A cookie is a
    /// small number that counts namespaces; the bit [`AFFINITY_ADDRESS`] keeps the two apart.
    pub client: u64,
    /// Id of the service.
    pub service: u32,
    /// Zero.
    pub pad: u32,
}

/// Bit of [`AffinityKey::client`]: it holds an address.
pub const AFFINITY_ADDRESS: u64 = 1 << 63;

/// Value of `AFFINITY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Affinity {
    /// When the client connected last, nanoseconds of the monotonic clock (`bpf_ktime_get_ns`).
    pub used_ns: u64,
    /// The backend's address.
    pub addr: Ip4,
    /// The backend's port.
    pub port: Be16,
    /// Zero.
    pub pad: [u8; 2],
    /// The row that it stood in.
    pub row: u32,
    /// Zero.
    pub pad2: u32,
}
