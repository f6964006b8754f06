//! The load-balancer tables: heads in a hash, backends in ranges of an array.

use crate::{Be16, Ip4};

/// Scope of callers outside the cluster (external traffic policy).
pub const SCOPE_EXTERNAL: u8 = 0;
/// Scope of callers inside the cluster (internal traffic policy).
pub const SCOPE_INTERNAL: u8 = 1;

/// Flag of [`SvcV4::flags`]: the head stands for a node port.
pub const SVC_NODE_PORT: u32 = 1 << 0;
/// Flag of [`SvcV4::flags`]: callers outside the cluster may have it, as an external IP or a load balancer's address.
pub const SVC_EXTERNAL: u32 = 1 << 1;
/// Flag of [`SvcV4::flags`]: this list is for callers outside; those inside have one of their own, at [`SCOPE_INTERNAL`].
pub const SVC_TWO_SCOPES: u32 = 1 << 2;

/// Flag of [`BackendV4::flags`]: the backend is terminating and serves still; it stands after the active ones.
pub const BACKEND_TERMINATING: u8 = 1 << 0;

/// Key of `SVC_V4`. A node port has the address [`Ip4::ANY`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SvcKeyV4 {
    /// Service address.
    pub addr: Ip4,
    /// Service port.
    pub port: Be16,
    /// IANA protocol number.
    pub proto: u8,
    /// [`SCOPE_EXTERNAL`] or [`SCOPE_INTERNAL`].
    pub scope: u8,
}

/// Value of `SVC_V4`: which rows of `BACKENDS_V4` serve it. Replaced as a whole, so that a reader sees one list or the next.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SvcV4 {
    /// Id of the service; each of its rows carries the same.
    pub service: u32,
    /// `SVC_*` flags.
    pub flags: u32,
    /// First row of the range.
    pub base: u32,
    /// Rows in the range that take new connections, from `base` on.
    pub active: u32,
    /// Rows after the active ones: terminating backends, used while there is no active one (KEP-1669).
    pub terminating: u32,
    /// Session affinity time-out in seconds; 0 is none.
    pub affinity_timeout_s: u32,
}

/// A row of `BACKENDS_V4`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendV4 {
    /// Backend address.
    pub addr: Ip4,
    /// Backend port.
    pub port: Be16,
    /// IANA protocol number.
    pub proto: u8,
    /// `BACKEND_*` flags.
    pub flags: u8,
    /// Service whose list the row is part of; 0 is none. A reader for whom it differs has raced with a reuse of the row.
    pub service: u32,
    /// Zero.
    pub pad: u32,
}
