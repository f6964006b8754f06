//! Policy in the kernel: the tables of flows and rows, and what becomes of a packet.

use aya_ebpf::{
    bindings::__sk_buff,
    btf_maps::lpm_trie::Key,
    cty::c_void,
    helpers::{bpf_ktime_get_coarse_ns, bpf_loop},
};
use skep_abi::{Ct, CtKey, Endpoint, FragmentPorts, Ip, Metric, POLICY_BITS, Peer, PolicyKey};
use skep_logic::{
    End, Flow, Flows, Frame, Held, Malformed, NAMES_MAX, Part, Place, Policies, Tables as _, Verdict, allows, evaluate,
    is_policed, is_related, keep, police,
};

use crate::checked::{MALFORMED, arguments, code, verdict};
use crate::maps::{BLOCKS, CT, CT_BRIEF, CT_SHARE, FRAGMENTS, IDENTITIES, POLICY, POLICY_STATE, SCRATCH};
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

    #[inline(always)]
    fn keep(&self, key: &CtKey, was: &Held, ct: &Ct) {
        keep_flow(key, was, ct);
    }
}

impl Policies for Kernel {
    #[inline(always)]
    fn verdicts(&self, key: &PolicyKey, peers: &[u32; NAMES_MAX]) -> u8 {
        let mut search = Search { key: Key::new(POLICY_BITS, *key), peers: *peers, found: 0 };
        // SAFETY: the callback matches the helper's signature, and the context lives on this stack until the call returns.
        unsafe { bpf_loop(NAMES_MAX as u32, visit as *mut c_void, (&raw mut search).cast(), 0) };
        search.found as u8
    }

    #[inline(always)]
    fn peer(&self, addr: &Ip) -> Peer {
        // SAFETY: the value is copied at once.
        match unsafe { IDENTITIES.get(addr) } {
            Some(peer) => *peer,
            None => Peer { identity: 0, namespace: 0 },
        }
    }

    #[inline(always)]
    fn block(&self, addr: &Ip) -> u32 {
        BLOCKS.get(&Key::new(128, addr.0)).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn is_node(&self, addr: &Ip) -> bool {
        self.is_node_address(addr)
    }

    #[inline(always)]
    fn is_from_stack(&self) -> bool {
        self.from_stack
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

    #[inline(always)]
    fn evaluate(&self, flow: &Flow, src: &End, dst: &End, as_sent: bool) -> Verdict {
        match policy_verdict(flow, src, dst, as_sent.into(), self.from_stack.into()) {
            0 => Verdict::Pass,
            1 => Verdict::Egress,
            _ => Verdict::Ingress,
        }
    }

    #[inline(always)]
    fn allows(&self, key: &PolicyKey, own: &Ip, other: &Ip) -> bool {
        policy_allows(key, own, other) != 0
    }
}

/// What the policies say of a flow: 0 that it may pass, 1 that its source may not send it, 2 that its destination may not get it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn policy_verdict(
    flow: *const Flow,
    src: *const End,
    dst: *const End,
    as_sent: u32,
    from_stack: u32,
) -> i32 {
    arguments!(flow, src, dst or 2);
    let mut kernel = Kernel::at_link();
    kernel.from_stack = from_stack != 0;
    match evaluate(&kernel, flow, src, dst, as_sent != 0) {
        Verdict::Pass => 0,
        Verdict::Egress => 1,
        Verdict::Ingress => 2,
    }
}

/// Puts a flow's entry where it belongs.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn keep_flow(key: *const CtKey, was: *const Held, ct: *const Ct) -> i32 {
    arguments!(key, was, ct or 0);
    keep(&Kernel::at_link(), key, was, ct);
    0
}

/// Whether the policies' rows allow something between two addresses: 1, or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn policy_allows(key: *const PolicyKey, own: *const Ip, other: *const Ip) -> i32 {
    arguments!(key, own, other or 0);
    allows(&Kernel::at_link(), key, own, other).into()
}

/// A search for the rows of all names of a peer.
#[repr(C)]
struct Search {
    key: Key<PolicyKey>,
    peers: [u32; NAMES_MAX],
    found: u32,
}

/// Looks up one name; always goes on to the next. A loop of the kernel's, since the verifier walks one of ours once per outcome.
unsafe extern "C" fn visit(place: u64, search: *mut Search) -> i64 {
    // SAFETY: the helper hands on the context that `verdicts` gave it.
    let search = unsafe { &mut *search };
    let Some(&peer) = search.peers.get(place as usize) else { return 0 };
    if peer != 0 || place == 0 {
        search.key.data.peer = peer;
        if let Some(row) = POLICY.get(&search.key) {
            search.found |= u32::from(row.verdict);
        }
    }
    0
}

/// What is judged: in a map, since a program and all that it calls share 512 bytes of stack.
#[repr(C)]
pub struct Scratch {
    flow: Flow,
    /// The flow that an ICMP error is about.
    reported: Flow,
    src: End,
    dst: End,
    from_stack: bool,
}

/// Whether a packet that a pod or someone outside has sent may pass between two ends, of which those that are endpoints of this node may
/// be policed. What may not is counted with its reason.
///
/// # Errors
/// Its transport header is cut short.
#[inline(always)]
pub fn may_pass(skb: &Skb, frame: &Frame, src: Option<&Endpoint>, dst: Option<&Endpoint>) -> Result<bool, Malformed> {
    consider(skb, frame, &end(src), &end(dst), false)
}

/// The same of a packet that the node's stack sends to a pod.
///
/// # Errors
/// Its transport header is cut short.
#[inline(always)]
pub fn may_enter(skb: &Skb, frame: &Frame, src: Option<&Endpoint>, dst: Option<&Endpoint>) -> Result<bool, Malformed> {
    consider(skb, frame, &end(src), &end(dst), true)
}

#[inline(always)]
fn consider(skb: &Skb, frame: &Frame, src: &End, dst: &End, from_stack: bool) -> Result<bool, Malformed> {
    if !is_policed(src, dst) {
        return Ok(true);
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return Ok(false) };
    // SAFETY: the row is this CPU's own, and no other program runs on it until this one has come to its verdict.
    let scratch = unsafe { &mut *scratch };
    (scratch.src, scratch.dst, scratch.from_stack) = (*src, *dst, from_stack);
    Ok(verdict(judge(skb.raw(), frame, scratch))? != 0)
}

#[inline(always)]
fn end(endpoint: Option<&Endpoint>) -> End {
    match endpoint {
        Some(endpoint) => End { id: endpoint.id, flags: endpoint.flags },
        None => End { id: 0, flags: 0 },
    }
}

/// Judges a packet between the ends that are in the scratch: 1 where it may pass.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge(skb: *mut __sk_buff, frame: *const Frame, scratch: *mut Scratch) -> i32 {
    arguments!(frame or MALFORMED);
    arguments!(mut scratch or MALFORMED);
    code(passes(&Skb::of(skb), frame, scratch).map(i32::from))
}

#[inline(always)]
fn passes(skb: &Skb, frame: &Frame, scratch: &mut Scratch) -> Result<bool, Malformed> {
    let Scratch { flow, reported, src, dst, from_stack } = scratch;
    note(skb, frame, flow)?;
    let mut kernel = Kernel::at_link();
    kernel.from_stack = *from_stack;
    if flow.reports && concerns_known_flow(skb.raw(), frame, reported) != 0 {
        return Ok(true);
    }
    if flow.part == Part::Later && !find_ports(flow) {
        count(Metric::DropFragment, skb.len());
        return Ok(false);
    }
    let reason = match police(&kernel, flow, src, dst) {
        Verdict::Pass => {
            if flow.part == Part::First {
                keep_ports(flow);
            }
            return Ok(true);
        }
        Verdict::Egress => Metric::DropEgressPolicy,
        Verdict::Ingress => Metric::DropIngressPolicy,
    };
    count(reason, skb.len());
    Ok(false)
}

/// Whether an ICMP error is about a flow that is known, and so may reach its end: 1, or 0. The flow is put into the slot.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn concerns_known_flow(skb: *mut __sk_buff, frame: *const Frame, slot: *mut Flow) -> i32 {
    arguments!(frame or 0);
    arguments!(mut slot or 0);
    let (skb, l4) = (Skb::of(skb), frame.ip.l4);
    let told = if frame.ip.v4 { note_reported::<true>(&skb, l4, slot) } else { note_reported::<false>(&skb, l4, slot) };
    (told && is_related(&Kernel::at_link(), slot)).into()
}

/// Called rather than inlined, for its stack.
#[inline(never)]
fn note(skb: &Skb, frame: &Frame, slot: &mut Flow) -> Result<(), Malformed> {
    *slot = Flow::of(skb, frame)?;
    Ok(())
}

/// As [`note`].
#[inline(never)]
fn note_reported<const V4: bool>(skb: &Skb, l4: usize, slot: &mut Flow) -> bool {
    slot.read_reported(skb, l4, V4)
}

/// The ports that the first fragment had.
#[inline(never)]
fn find_ports(flow: &mut Flow) -> bool {
    // SAFETY: the value is copied at once.
    let Some(ports) = (unsafe { FRAGMENTS.get(flow.fragment_key()) }).copied() else { return false };
    (flow.src_port, flow.dst_port) = (ports.src, ports.dst);
    true
}

#[inline(never)]
fn keep_ports(flow: &Flow) {
    let _ = FRAGMENTS.insert(flow.fragment_key(), FragmentPorts { src: flow.src_port, dst: flow.dst_port }, 0);
}
