//! Flows of policed endpoints, for both directions in one entry.

use crate::{Be16, Ip};

/// Flag of [`Ct::flags`]: it is an entry, and not what an empty look-up leaves.
pub const CT_PRESENT: u32 = 1 << 0;
/// The end that stands first in the key has opened it.
pub const CT_ORIGIN_LOW: u32 = 1 << 1;
/// The other end has answered.
pub const CT_ANSWERED: u32 = 1 << 2;
/// TCP: the end that stands first has ended its side.
pub const CT_FIN_LOW: u32 = 1 << 3;
/// TCP: the end that stands second has ended its side.
pub const CT_FIN_HIGH: u32 = 1 << 4;
/// TCP: reset.
pub const CT_RESET: u32 = 1 << 5;
/// Policy has come to forbid it: packets of either end are dropped.
pub const CT_DENIED: u32 = 1 << 6;

/// Entries of `CT` that one endpoint may have opened. What is more stays in `CT_BRIEF`.
pub const CT_SHARE_MAX: u32 = 32_768;

/// Key of `CT` and `CT_BRIEF`: both ends, in the same order for packets of either.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CtKey {
    /// Address of one end.
    pub low: Ip,
    /// Address of the other.
    pub high: Ip,
    /// Port of the one, or an echo's id.
    pub low_port: Be16,
    /// Port of the other, or an echo's id.
    pub high_port: Be16,
    /// IANA protocol number.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// Value of `CT` and `CT_BRIEF`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ct {
    /// When a packet was last seen, in seconds of the monotonic clock.
    pub seen_s: u32,
    /// Generation of the policy that it was looked at under.
    pub generation: u32,
    /// Endpoint whose share it counts for.
    pub owner: u32,
    /// `CT_*` flags.
    pub flags: u32,
}
