//! The load-balancer tables: heads in a hash, backends in ranges of an array.

use crate::{Be16, Ip};

/// Scope of callers outside the cluster (external traffic policy).
pub const SCOPE_EXTERNAL: u8 = 0;
/// Scope of callers inside the cluster (internal traffic policy).
pub const SCOPE_INTERNAL: u8 = 1;

/// Flag of [`Svc::flags`]: the head stands for a node port.
pub const SVC_NODE_PORT: u32 = 1 << 0;
/// Flag of [`Svc::flags`]: callers outside the cluster may have it, as an external IP or a load balancer's address.
pub const SVC_EXTERNAL: u32 = 1 << 1;
/// Flag of [`Svc::flags`]: this list is for callers outside; those inside have one of their own, at [`SCOPE_INTERNAL`].
pub const SVC_TWO_SCOPES: u32 = 1 << 2;
/// Flag of [`Svc::flags`]: the head stands for all of an address, at port 0 of protocol 0: what else comes to it is refused.
pub const SVC_ADDRESS: u32 = 1 << 3;
/// Flag of [`Svc::flags`]: packets are dropped where the list is empty rather than refused, since its backends are on other nodes.
pub const SVC_ELSEWHERE: u32 = 1 << 4;
/// Flag of [`Svc::flags`]: callers outside must be in one of the service's prefixes in `SOURCES`.
pub const SVC_SOURCES: u32 = 1 << 5;

/// Flag of [`Backend::flags`]: the backend is terminating and serves still; it stands after the active ones.
pub const BACKEND_TERMINATING: u8 = 1 << 0;

/// Key of `SVC`. A node port has the address [`Ip::ANY_V4`] or [`Ip::NONE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SvcKey {
    /// Service address.
    pub addr: Ip,
    /// Service port.
    pub port: Be16,
    /// IANA protocol number.
    pub proto: u8,
    /// [`SCOPE_EXTERNAL`] or [`SCOPE_INTERNAL`].
    pub scope: u8,
}

impl SvcKey {
    /// The key under which an address as a whole stands.
    #[inline(always)]
    pub const fn address(addr: Ip) -> Self {
        Self { addr, port: Be16::new(0), proto: 0, scope: SCOPE_EXTERNAL }
    }
}

/// Value of `SVC`: which rows of `BACKENDS` serve it. Replaced as a whole, so that a reader sees one list or the next.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Svc {
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
    /// First row of its table in `MAGLEV`.
    pub maglev: u32,
    /// Slots of that table; 0 where backends are chosen at random.
    pub slots: u32,
}

/// A row of `MAGLEV`: slots, each the place of an active backend in the list that the table is of.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MaglevRow(pub [u16; Self::SLOTS]);

impl MaglevRow {
    /// Slots in a row.
    pub const SLOTS: usize = 4;

    /// A slot of the row; by its number's last bits, where that is larger. As one word, since the kernel lets no program index its stack.
    #[inline(always)]
    pub const fn slot(self, number: u32) -> u16 {
        let [a, b, c, d] = self.0;
        let word = a as u64 | (b as u64) << 16 | (c as u64) << 32 | (d as u64) << 48;
        (word >> (number as usize % Self::SLOTS * 16)) as u16
    }
}

/// A row of `BACKENDS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Backend address, of the same family as the service's.
    pub addr: Ip,
    /// Backend port.
    pub port: Be16,
    /// IANA protocol number.
    pub proto: u8,
    /// `BACKEND_*` flags.
    pub flags: u8,
    /// Service whose list the row is part of; 0 is none. A reader for whom it differs has raced with a reuse of the row.
    pub service: u32,
}

/// Key of `SOURCES` behind its prefix length.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Id of the service.
    pub service: u32,
    /// The client's address.
    pub addr: Ip,
}

/// Key of `SOURCES`, whose value says nothing: a prefix that may call a service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourcePrefix {
    /// Bits of `key` that count, [`Source::SERVICE_BITS`] at least; host order.
    pub bits: u32,
    /// The key.
    pub key: Source,
}

impl Source {
    /// Bits before those of the address.
    pub const SERVICE_BITS: u32 = 32;
    /// Bits of a whole key, as a look-up has it.
    pub const BITS: u32 = Self::SERVICE_BITS + 128;
}
