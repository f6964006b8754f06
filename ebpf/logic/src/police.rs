//! Whether a packet of a policed endpoint may pass: by its flow, or by the policy tables.
//!
//! What is not inlined here is so because a program and all that it calls share 512 bytes of stack.

use skep_abi::{
    CT_DENIED, Ct, EP_EGRESS, EP_INGRESS, Ip16, PEER_ANY_POD, PEER_ANYONE, POLICY_ALLOW, POLICY_DENY, POLICY_EGRESS,
    POLICY_INGRESS, Peer, PolicyKey, PolicyRow,
};

use crate::conntrack::{Flows, Place, advance, is_closing, is_expired, is_from_origin, keep, open};
use crate::flow::Flow;

/// The policy tables.
pub trait Policies: Flows {
    /// The row of the longest prefix that matches; verdict 0 where none does.
    fn row(&self, key: &PolicyKey) -> PolicyRow;
    /// The pod that has an address; zeros where none is known.
    fn peer(&self, addr: &Ip16) -> Peer;
    /// The smallest address block around an address; 0 where there is none.
    fn block(&self, addr: &Ip16) -> u32;
    /// Whether an address is the node's own.
    fn is_node(&self, addr: &Ip16) -> bool;
    /// Generation of the tables.
    fn generation(&self) -> u32;
    /// Seconds of the monotonic clock.
    fn now_s(&self) -> u32;
}

/// One end of a flow, as far as it is an endpoint of this node; zeros where it is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Endpoint id.
    pub id: u32,
    /// `EP_*` flags.
    pub flags: u32,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// The source may not send it.
    Egress,
    /// The destination may not get it.
    Ingress,
}

/// Whether any policy selects an end: without one, no table is looked at.
#[inline(always)]
pub const fn is_policed(src: &End, dst: &End) -> bool {
    (src.flags | dst.flags) & (EP_INGRESS | EP_EGRESS) != 0
}

/// The verdict on a packet between policed ends. A packet of a known flow is passed as its first one was, unless policy has changed
/// since. One of a TCP connection whose beginning was not seen passes only if either end may have begun it: which one did cannot be
/// told any more.
#[inline(never)]
pub fn police<T: Policies>(tables: &T, flow: &Flow, src: &End, dst: &End) -> Verdict {
    if flow.src == flow.dst {
        return Verdict::Pass;
    }
    let (now_s, generation) = (tables.now_s(), tables.generation());
    let (key, from_low) = flow.key();
    let held = tables.find(&key);
    let known = held.place != Place::Nowhere && !is_expired(flow.proto, &held.ct, now_s);
    let forward = is_from_origin(held.ct.flags, from_low);
    let reopens = flow.is_syn() && (!forward || is_closing(held.ct.flags) || held.ct.flags & CT_DENIED != 0);
    let goes_on = known && !reopens;
    if goes_on && held.ct.generation == generation {
        let flags = advance(held.ct.flags, flow, from_low);
        if flags != held.ct.flags || held.ct.seen_s != now_s {
            keep(tables, &key, &held, &Ct { seen_s: now_s, flags, ..held.ct });
        }
        return if flags & CT_DENIED == 0 { Verdict::Pass } else { denied(dst) };
    }
    let as_sent = !goes_on || forward;
    let mut verdict = evaluate(tables, flow, src, dst, as_sent);
    if verdict == Verdict::Pass && !known && flow.is_midstream() {
        verdict = evaluate(tables, flow, src, dst, false);
    }
    if goes_on {
        let flags = advance(held.ct.flags & !CT_DENIED, flow, from_low);
        let flags = if verdict == Verdict::Pass { flags } else { flags | CT_DENIED };
        keep(tables, &key, &held, &Ct { seen_s: now_s, generation, flags, ..held.ct });
    } else if verdict == Verdict::Pass {
        let owner = if src.id != 0 { src.id } else { dst.id };
        keep(tables, &key, &held, &open(flow, from_low, owner, generation, now_s));
    }
    verdict
}

/// Whether an ICMP error is about a flow that is known and may go on.
#[inline(never)]
pub fn is_related<T: Policies>(tables: &T, reported: &Flow) -> bool {
    let held = tables.find(&reported.key().0);
    held.place != Place::Nowhere
        && held.ct.flags & CT_DENIED == 0
        && !is_expired(reported.proto, &held.ct, tables.now_s())
}

/// What the policies say of a connection that the packet's sender has opened, or else its receiver.
#[inline(never)]
pub fn evaluate<T: Policies>(tables: &T, flow: &Flow, src: &End, dst: &End, as_sent: bool) -> Verdict {
    let (from, to, port) =
        if as_sent { (flow.src, flow.dst, flow.dst_port) } else { (flow.dst, flow.src, flow.src_port) };
    let (opener, target) = if as_sent { (src.flags, dst.flags) } else { (dst.flags, src.flags) };
    // Protocols without ports are allowed by rows for any port alone; an echo's id is none.
    let key = |direction| PolicyKey { subject: 0, peer: 0, direction, proto: flow.proto, port };
    if opener & EP_EGRESS != 0 && !allows(tables, &key(POLICY_EGRESS), &from, &to) {
        return Verdict::Egress;
    }
    if target & EP_INGRESS != 0 && !tables.is_node(&from) && !allows(tables, &key(POLICY_INGRESS), &to, &from) {
        return Verdict::Ingress;
    }
    Verdict::Pass
}

/// Whether a row allows it and none denies it. The other side goes by all its names: as anyone, as a pod, by its namespace, its
/// identity and its address.
#[inline(never)]
fn allows<T: Policies>(tables: &T, key: &PolicyKey, own: &Ip16, other: &Ip16) -> bool {
    let mut key = *key;
    key.subject = tables.peer(own).identity;
    let peer = tables.peer(other);
    let any_pod = if peer.identity == 0 { PEER_ANYONE } else { PEER_ANY_POD };
    let (mut allowed, mut denied) = (false, false);
    for (place, id) in
        [PEER_ANYONE, any_pod, peer.namespace, peer.identity, tables.block(other)].into_iter().enumerate()
    {
        if place > 0 && id == PEER_ANYONE {
            continue;
        }
        key.peer = id;
        let verdict = tables.row(&key).verdict;
        allowed |= verdict == POLICY_ALLOW;
        denied |= verdict == POLICY_DENY;
    }
    allowed && !denied
}

/// The reason to give for a flow that policy has come to forbid.
#[inline(always)]
const fn denied(dst: &End) -> Verdict {
    if dst.flags & EP_INGRESS != 0 { Verdict::Ingress } else { Verdict::Egress }
}
