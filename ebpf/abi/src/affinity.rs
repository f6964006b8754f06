//! Session affinity: which backend a client had last.

use crate::{Be16, Ip};

/// Key of `AFFINITY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityKey {
    /// The client: its address outside the cluster, and inside it the cookie of its network namespace ([`Ip::of_cookie`]).
    pub client: Ip,
    /// Id of the service.
    pub service: u32,
}

/// Value of `AFFINITY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Affinity {
    /// When the client connected last, nanoseconds of the monotonic clock (`bpf_ktime_get_ns`).
    pub used_ns: u64,
    /// The backend's address.
    pub addr: Ip,
    /// The backend's port.
    pub port: Be16,
    /// Zero.
    pub pad: [u8; 2],
    /// The row that it stood in.
    pub row: u32,
}
