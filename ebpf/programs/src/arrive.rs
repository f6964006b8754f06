//! Packets that come to this node from another host, by its link or through the tunnel.

use aya_ebpf::bindings::__sk_buff;
use skep_abi::{Metric, REMOTE_PODS};
use skep_logic::{Frame, Malformed, Tables as _};

use crate::checked::{MALFORMED, arguments, code, verdict};
use crate::{Kernel, NEXT, NOT_SERVICE, Skb, TRANSLATED, count, endpoint, is_of_stack, refuse, remote, reverse, serve};

/// Hands the packet to its pod, or sends it on to a backend or to the client that it answers; what is left is the node's.
#[inline(always)]
pub fn arrive(skb: &Skb, frame: &Frame) -> Result<i32, Malformed> {
    if let Some(endpoint) = endpoint(&frame.ip.dst) {
        count(Metric::RemoteDelivery, skb.len());
        return skb.deliver(frame, &endpoint);
    }
    match serve(skb, frame, false)? {
        TRANSLATED => go_on(skb),
        NOT_SERVICE if Kernel::at_link().is_node_address(&frame.ip.dst) => answer(skb, frame),
        NOT_SERVICE => Ok(NEXT),
        verdict => Ok(verdict),
    }
}

/// On to the backend: a pod of this node, the node itself, or whoever is elsewhere, who sees the node as the sender. Since the node's
/// own stack takes no packet from the node's address, what it would have to answer for is dropped then.
#[inline(always)]
fn go_on(skb: &Skb) -> Result<i32, Malformed> {
    let Some(frame) = skb.frame()? else { return Ok(NEXT) };
    if let Some(endpoint) = endpoint(&frame.ip.dst) {
        return skb.deliver(frame, &endpoint);
    }
    if is_of_stack(&frame.ip.dst) {
        return Ok(NEXT);
    }
    match skb.leave(frame)? {
        NEXT => Ok(refuse(Metric::DropNoRoute, skb.len())),
        verdict => Ok(verdict),
    }
}

/// An answer that came to the node's address goes on to whom it is for.
#[inline(always)]
fn answer(skb: &Skb, frame: &Frame) -> Result<i32, Malformed> {
    let Some(ifindex) = reverse(skb, frame)? else { return Ok(NEXT) };
    let Some(frame) = skb.frame()? else { return Ok(NEXT) };
    match endpoint(&frame.ip.dst) {
        Some(endpoint) => skb.deliver(frame, &endpoint),
        None => skb.give_back(frame, ifindex),
    }
}

/// Sends an answer to the client behind a link.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn give_back(skb: *mut __sk_buff, frame: *const Frame, ifindex: u32) -> i32 {
    arguments!(frame or MALFORMED);
    code(Skb::of(skb).to_client(frame, ifindex))
}

impl Skb {
    /// Sends an answer to the client behind a link: a pod of another node gets it as all else, by its routes or through the tunnel.
    #[inline(always)]
    pub fn give_back(&self, frame: &Frame, ifindex: u32) -> Result<i32, Malformed> {
        verdict(give_back(self.raw(), frame, ifindex))
    }

    #[inline(always)]
    fn to_client(&self, frame: &Frame, ifindex: u32) -> Result<i32, Malformed> {
        if remote(&frame.ip.dst).is_some_and(|remote| remote.flags & REMOTE_PODS != 0) {
            return self.leave(frame);
        }
        if ifindex == 0 { Ok(NEXT) } else { self.send(frame, ifindex) }
    }
}
