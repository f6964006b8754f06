//! Policy in the kernel: the tables of flows and rows, and what becomes of a packet.

use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use skep_abi::{Ct, CtKey, Endpoint, FragmentPorts, Ip16, Metric, POLICY_BITS, Peer, PolicyKey, PolicyRow};
use skep_logic::{
    End, Flow, Flows, Frame, Held, Malformed, Part, Place, Policies, Tables as _, Verdict, is_policed, is_related,
    police,
};

use crate::maps::{BLOCKS, CT, CT_BRIEF, CT_SHARE, FRAGMENTS, IDENTITIES, POLICY, POLICY_STATE};
use crate::{Kernel, Skb, count};

const NS_PER_S: u64 = 1_000_000_000;

impl Flows for Kernel {
    #[inline(always)]
    fn find(&self, key: &CtKey) -> Held {
        // SAFETY: the values are copied at once. An element may be reused for another flow while it is read, which sends that one packet by
        // another flow's state, at worst.
        unsafe {
            if let Some(ct) = CT.get(key) {
                return Held { ct: *ct, place: Place::Settled };
            }
            match CT_BRIEF.get(key) {
                Some(ct) => Held { ct: *ct, place: Place::Brief },
                None => Held { ct: Ct { seen_s: 0, generation: 0, owner: 0, flags: 0 }, place: Place::Nowhere },
            }
        }
    }

    #[inline(always)]
    fn write(&self, place: Place, key: &CtKey, ct: &Ct) -> bool {
        match place {
            Place::Settled => CT.insert(key, ct, 0).is_ok(),
            _ => CT_BRIEF.insert(key, ct, 0).is_ok(),
        }
    }

    #[inline(always)]
    fn overwrite(&self, place: Place, key: &CtKey, ct: &Ct) {
        let slot = match place {
            Place::Settled => CT.get_ptr_mut(key),
            _ => CT_BRIEF.get_ptr_mut(key),
        };
        if let Some(slot) = slot {
            // SAFETY: the pointer is into the map's element. Two CPUs that see packets of one flow may lose one of two flags, which its next
            // packets or its time-out make up for.
            unsafe { *slot = *ct };
        }
    }

    #[inline(always)]
    fn remove(&self, place: Place, key: &CtKey) {
        let _ = match place {
            Place::Settled => CT.remove(key),
            _ => CT_BRIEF.remove(key),
        };
    }

    #[inline(always)]
    fn share(&self, owner: u32) -> u32 {
        CT_SHARE.get(owner).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn count_share(&self, owner: u32, more: bool) {
        if let Some(slot) = CT_SHARE.get_ptr_mut(owner) {
            // SAFETY: the pointer is into the array. A count that two CPUs change at once is off by one until the daemon counts again.
            unsafe { *slot = if more { (*slot).saturating_add(1) } else { (*slot).saturating_sub(1) } };
        }
    }
}

impl Policies for Kernel {
    #[inline(always)]
    fn row(&self, key: &PolicyKey) -> PolicyRow {
        match POLICY.get(&Key::new(POLICY_BITS, *key)) {
            Some(row) => *row,
            None => PolicyRow { policy: 0, index: 0, verdict: 0, pad: 0 },
        }
    }

    #[inline(always)]
    fn peer(&self, addr: &Ip16) -> Peer {
        // SAFETY: the value is copied at once.
        match unsafe { IDENTITIES.get(addr) } {
            Some(peer) => *peer,
            None => Peer { identity: 0, namespace: 0 },
        }
    }

    #[inline(always)]
    fn block(&self, addr: &Ip16) -> u32 {
        BLOCKS.get(&Key::new(128, addr.0)).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn is_node(&self, addr: &Ip16) -> bool {
        addr.mapped().is_some_and(|addr| self.is_node_address(addr))
    }

    #[inline(always)]
    fn generation(&self) -> u32 {
        POLICY_STATE.get(0).map_or(0, |state| state.generation)
    }

    #[inline(always)]
    fn now_s(&self) -> u32 {
        // SAFETY: the helper takes nothing.
        (unsafe { bpf_ktime_get_coarse_ns() } / NS_PER_S) as u32
    }
}

/// Whether a packet may pass between two ends, of which those that are endpoints of this node may be policed. What may not is
/// counted with its reason.
///
/// # Errors
/// Its transport header is cut short.
#[inline(always)]
pub fn may_pass(
    skb: &Skb<'_>,
    frame: &Frame,
    src: Option<&Endpoint>,
    dst: Option<&Endpoint>,
) -> Result<bool, Malformed> {
    let (src, dst) = (end(src), end(dst));
    if !is_policed(&src, &dst) {
        return Ok(true);
    }
    judge(skb, &Flow::of_v4(skb, frame)?, frame.ip.l4, &src, &dst)
}

#[inline(always)]
fn end(endpoint: Option<&Endpoint>) -> End {
    match endpoint {
        Some(endpoint) => End { id: endpoint.id, flags: endpoint.flags },
        None => End { id: 0, flags: 0 },
    }
}

#[inline(always)]
fn judge(skb: &Skb<'_>, flow: &Flow, l4: usize, src: &End, dst: &End) -> Result<bool, Malformed> {
    let kernel = Kernel::at_link();
    let mut flow = *flow;
    if flow.reports && concerns_known_flow(skb, l4) {
        return Ok(true);
    }
    if flow.part == Part::Later {
        // SAFETY: the value is copied at once.
        let Some(ports) = (unsafe { FRAGMENTS.get(flow.fragment_key()) }).copied() else {
            count(Metric::DropFragment, skb.len());
            return Ok(false);
        };
        (flow.src_port, flow.dst_port) = (ports.src, ports.dst);
    }
    let reason = match police(&kernel, &flow, src, dst) {
        Verdict::Pass => {
            if flow.part == Part::First {
                let ports = FragmentPorts { src: flow.src_port, dst: flow.dst_port };
                let _ = FRAGMENTS.insert(flow.fragment_key(), ports, 0);
            }
            return Ok(true);
        }
        Verdict::Egress => Metric::DropEgressPolicy,
        Verdict::Ingress => Metric::DropIngressPolicy,
    };
    count(reason, skb.len());
    Ok(false)
}

#[inline(never)]
fn concerns_known_flow(skb: &Skb<'_>, l4: usize) -> bool {
    Flow::reported_v4(skb, l4).is_some_and(|reported| is_related(&Kernel::at_link(), &reported))
}
