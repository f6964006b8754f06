//! Whether a packet of a policed endpoint may pass: by its flow, or by the policy tables.
//!
//! What is not inlined here is so because a program and all that it calls share 512 bytes of stack.

use skep_abi::{
    CT_DENIED, Ct, EP_EGRESS, EP_INGRESS, Ip, PEER_ANY_POD, PEER_ANYONE, POLICY_ALLOW, POLICY_DENY, POLICY_EGRESS,
    POLICY_INGRESS, Peer, PolicyKey,
};

use crate::conntrack::{Flows, Place, advance, is_closing, is_expired, is_from_origin, open};
use crate::flow::Flow;

/// Names by which policies may know one address.
pub const NAMES_MAX: usize = 5;

/// The policy tables.
pub trait Policies: Flows {
    /// All verdicts, as bits of one number, of the rows for a key with each of these peers in turn: of each the row of the longest
    /// prefix. A peer of 0 after the first stands for none.
    fn verdicts(&self, key: &PolicyKey, peers: &[u32; NAMES_MAX]) -> u8;
    /// The pod that has an address; zeros where none is known.
    fn peer(&self, addr: &Ip) -> Peer;
    /// The smallest address block around an address; 0 where there is none.
    fn block(&self, addr: &Ip) -> u32;
    /// Whether an address is the node's own.
    fn is_node(&self, addr: &Ip) -> bool;
    /// Whether the packet comes from the node's stack, which alone may use the node's addresses.
    fn is_from_stack(&self) -> bool;
    /// Generation of the tables.
    fn generation(&self) -> u32;
    /// Seconds of the monotonic clock.
    fn now_s(&self) -> u32;
    /// [`evaluate`]; tables may bring it as a function that is checked by itself.
    #[inline(always)]
    fn evaluate(&self, flow: &Flow, src: &End, dst: &End, as_sent: bool) -> Verdict
    where
        Self: Sized,
    {
        evaluate(self, flow, src, dst, as_sent)
    }
    /// [`allows`]; tables may bring it as a function that is checked by itself.
    #[inline(always)]
    fn allows(&self, key: &PolicyKey, own: &Ip, other: &Ip) -> bool
    where
        Self: Sized,
    {
        allows(self, key, own, other)
    }
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
    let current = goes_on && held.ct.generation == generation;
    let mut verdict = Verdict::Pass;
    if !current {
        verdict = tables.evaluate(flow, src, dst, !goes_on || forward);
        if verdict == Verdict::Pass && !known && flow.is_midstream() {
            verdict = tables.evaluate(flow, src, dst, false);
        }
    }
    let next = if goes_on {
        let flags = advance(held.ct.flags, flow, from_low);
        let flags = match (current, verdict) {
            (true, _) => flags,
            (false, Verdict::Pass) => flags & !CT_DENIED,
            (false, _) => flags | CT_DENIED,
        };
        Ct { seen_s: now_s, generation, flags, ..held.ct }
    } else {
        open(flow, from_low, if src.id != 0 { src.id } else { dst.id }, generation, now_s)
    };
    if next != held.ct && (goes_on || verdict == Verdict::Pass) {
        tables.keep(&key, &held, &next);
    }
    if current && next.flags & CT_DENIED != 0 { denied(dst) } else { verdict }
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
#[inline(always)]
pub fn evaluate<T: Policies>(tables: &T, flow: &Flow, src: &End, dst: &End, as_sent: bool) -> Verdict {
    let (from, to, port) =
        if as_sent { (&flow.src, &flow.dst, flow.dst_port) } else { (&flow.dst, &flow.src, flow.src_port) };
    let (opener, target) = if as_sent { (src.flags, dst.flags) } else { (dst.flags, src.flags) };
    // Protocols without ports are allowed by rows for any port alone; an echo's id is none.
    let key = |direction| PolicyKey { subject: 0, peer: 0, direction, proto: flow.proto, port };
    if opener & EP_EGRESS != 0 && !tables.allows(&key(POLICY_EGRESS), from, to) {
        return Verdict::Egress;
    }
    let by_node = (!as_sent || tables.is_from_stack()) && tables.is_node(from);
    if target & EP_INGRESS != 0 && !by_node && !tables.allows(&key(POLICY_INGRESS), to, from) {
        return Verdict::Ingress;
    }
    Verdict::Pass
}

/// Whether a row allows it and none denies it. The other side goes by all its names: as anyone, as a pod, by its namespace, its
/// identity and its address.
#[inline(always)]
pub fn allows<T: Policies>(tables: &T, key: &PolicyKey, own: &Ip, other: &Ip) -> bool {
    let mut key = *key;
    key.subject = tables.peer(own).identity;
    let peer = tables.peer(other);
    let any_pod = if peer.identity == 0 { PEER_ANYONE } else { PEER_ANY_POD };
    let names = [PEER_ANYONE, any_pod, peer.namespace, peer.identity, tables.block(other)];
    tables.verdicts(&key, &names) & (POLICY_ALLOW | POLICY_DENY) == POLICY_ALLOW
}

/// The reason to give for a flow that policy has come to forbid.
#[inline(always)]
const fn denied(dst: &End) -> Verdict {
    if dst.flags & EP_INGRESS != 0 { Verdict::Ingress } else { Verdict::Egress }
}
