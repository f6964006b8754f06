//! States of a flow, and where its entry belongs.

use skep_abi::{
    CT_ANSWERED, CT_DENIED, CT_FIN_HIGH, CT_FIN_LOW, CT_ORIGIN_LOW, CT_PRESENT, CT_RESET, CT_SHARE_MAX, Ct, CtKey,
    PROTO_TCP,
};

use crate::flow::{Flow, TCP_FIN, TCP_RST};

/// Seconds after which a TCP connection that was never answered is forgotten.
pub const SYN_TIMEOUT_S: u32 = 60;
/// An answered one on which nothing is sent.
pub const ESTABLISHED_TIMEOUT_S: u32 = 21_600;
/// One that was reset or has ended on both sides.
pub const CLOSING_TIMEOUT_S: u32 = 10;
/// Anything but TCP.
pub const DATAGRAM_TIMEOUT_S: u32 = 60;

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere.
    Nowhere,
    /// In `CT_BRIEF`.
    Brief,
    /// In `CT`.
    Settled,
}

/// An entry as it was found; flags are 0 where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its content.
    pub ct: Ct,
    /// Where it is.
    pub place: Place,
}

/// The flow tables.
pub trait Flows {
    /// The entry of a flow.
    fn find(&self, key: &CtKey) -> Held;
    /// Writes an entry to a place; false where it has no room.
    fn write(&self, place: Place, key: &CtKey, ct: &Ct) -> bool;
    /// Writes over an entry that is there.
    fn overwrite(&self, place: Place, key: &CtKey, ct: &Ct);
    /// Removes an entry from a place.
    fn remove(&self, place: Place, key: &CtKey);
    /// Entries of `CT` that an endpoint has opened.
    fn share(&self, owner: u32) -> u32;
    /// One more of them, or one less.
    fn count_share(&self, owner: u32, more: bool);
    /// [`keep`]; tables may bring it as a function that is checked by itself.
    #[inline(always)]
    fn keep(&self, key: &CtKey, was: &Held, ct: &Ct)
    where
        Self: Sized,
    {
        keep(self, key, was, ct);
    }
}

/// Seconds of silence after which an entry is worth nothing.
#[inline(always)]
pub const fn timeout_s(proto: u8, flags: u32) -> u32 {
    if proto != PROTO_TCP {
        DATAGRAM_TIMEOUT_S
    } else if is_closing(flags) {
        CLOSING_TIMEOUT_S
    } else if flags & (CT_ANSWERED | CT_DENIED) == CT_ANSWERED {
        ESTABLISHED_TIMEOUT_S
    } else {
        SYN_TIMEOUT_S
    }
}

/// Whether an entry has been silent for too long.
#[inline(always)]
pub const fn is_expired(proto: u8, ct: &Ct, now_s: u32) -> bool {
    // A clock that another CPU has read a moment later must not make it old.
    let silent_s = now_s.wrapping_sub(ct.seen_s) as i32;
    silent_s > timeout_s(proto, ct.flags) as i32
}

/// Whether the connection was reset, or has ended on both sides.
#[inline(always)]
pub const fn is_closing(flags: u32) -> bool {
    flags & CT_RESET != 0 || flags & (CT_FIN_LOW | CT_FIN_HIGH) == CT_FIN_LOW | CT_FIN_HIGH
}

/// Whether it is worth a place that nobody else can take: somebody answers, and goes on to.
#[inline(always)]
pub const fn is_settled(flags: u32) -> bool {
    flags & CT_ANSWERED != 0 && flags & CT_DENIED == 0 && !is_closing(flags)
}

/// A new entry for the flow of a packet.
#[inline(always)]
pub(crate) fn open(flow: &Flow, from_low: bool, owner: u32, generation: u32, now_s: u32) -> Ct {
    let origin = if from_low { CT_ORIGIN_LOW } else { 0 };
    let ct = Ct { seen_s: now_s, generation, owner, flags: CT_PRESENT | origin };
    Ct { flags: advance(ct.flags, flow, from_low), ..ct }
}

/// The flags after a packet.
#[inline(always)]
pub(crate) fn advance(mut flags: u32, flow: &Flow, from_low: bool) -> u32 {
    if !is_from_origin(flags, from_low) {
        flags |= CT_ANSWERED;
    }
    if flow.proto == PROTO_TCP {
        if flow.tcp_flags & TCP_RST != 0 {
            flags |= CT_RESET;
        }
        if flow.tcp_flags & TCP_FIN != 0 {
            flags |= if from_low { CT_FIN_LOW } else { CT_FIN_HIGH };
        }
    }
    flags
}

/// Whether a packet is of the end that opened the flow.
#[inline(always)]
pub(crate) const fn is_from_origin(flags: u32, from_low: bool) -> bool {
    (flags & CT_ORIGIN_LOW != 0) == from_low
}

/// Puts an entry where it belongs. It always finds a place: beyond its owner's share, or where `CT` is full, it stays among those that
/// a flood may evict.
#[inline(always)]
pub fn keep<F: Flows>(flows: &F, key: &CtKey, was: &Held, ct: &Ct) {
    let settled = is_settled(ct.flags);
    match was.place {
        Place::Settled if settled => flows.overwrite(Place::Settled, key, ct),
        Place::Settled => {
            flows.write(Place::Brief, key, ct);
            flows.remove(Place::Settled, key);
            flows.count_share(was.ct.owner, false);
        }
        Place::Brief | Place::Nowhere if settled && flows.share(ct.owner) < CT_SHARE_MAX => {
            if flows.write(Place::Settled, key, ct) {
                flows.count_share(ct.owner, true);
                if was.place == Place::Brief {
                    flows.remove(Place::Brief, key);
                }
            } else {
                flows.write(Place::Brief, key, ct);
            }
        }
        Place::Brief => flows.overwrite(Place::Brief, key, ct),
        Place::Nowhere => {
            flows.write(Place::Brief, key, ct);
        }
    }
}
