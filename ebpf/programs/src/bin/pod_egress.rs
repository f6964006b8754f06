//! What a pod sends, on the host side of its veth: straight to another pod of this node, to a backend of the service that it is for,
//! back to the client of a service, to another node, out of the cluster, or to the stack.

#![no_std]
#![no_main]

use aya_ebpf::{macros::classifier, programs::TcContext};
use aya_log_ebpf::info;
use skep_abi::{EP_TRANSLATED, Endpoint, Ip, Metric, REMOTE_PODS};
use skep_logic::{Frame, Malformed, Tables as _};
use skep_programs::{
    DROP, Kernel, NOT_SERVICE, Skb, TRANSLATED, count, debugging, endpoint, may_pass, note_translated, refuse, remote,
    reverse, sent_by, serve,
};

#[classifier]
pub fn pod_egress(ctx: TcContext) -> i32 {
    let skb = Skb::of(ctx.skb.skb);
    forward(&skb).unwrap_or_else(|Malformed| refuse(Metric::DropMalformed, skb.len()))
}

#[inline(always)]
fn forward(skb: &Skb) -> Result<i32, Malformed> {
    let Some(frame) = skb.frame()? else { return Ok(refuse(Metric::DropNotUnicast, skb.len())) };
    if frame.ip.dst.is_multicast() {
        return Ok(refuse(Metric::DropNotUnicast, skb.len()));
    }
    let Some(own) = sent_by(skb, frame) else { return Ok(refuse(Metric::DropSpoofed, skb.len())) };
    let (mut frame, mut peer) = (frame, endpoint(&frame.ip.dst));
    if peer.is_none() && !is_pods(&frame.ip.dst) {
        match ask(skb, frame, &own)? {
            TRANSLATED => {
                frame = skb.frame()?.ok_or(Malformed)?;
                peer = endpoint(&frame.ip.dst);
                // What a pod sends to itself that way never meets policy, and neither do its answers, which come to the node.
                if let Some(itself) = peer.filter(|peer| peer.ifindex == own.ifindex) {
                    return skb.hand_over(frame, &itself);
                }
            }
            NOT_SERVICE => {}
            verdict => return Ok(verdict),
        }
    }
    if !may_pass(skb, frame, Some(&own), peer.as_ref())? {
        return Ok(DROP);
    }
    if let Some(peer) = peer {
        count(Metric::LocalDelivery, skb.len());
        if debugging() {
            tell(frame, peer.ifindex);
        }
        return skb.answer(frame, &peer);
    }
    go_on(skb, frame)
}

/// Whether an address is that of a pod, wherever that is.
#[inline(always)]
fn is_pods(addr: &Ip) -> bool {
    remote(addr).is_some_and(|remote| remote.flags & REMOTE_PODS != 0)
}

/// Sends the packet to a backend where it is for a service, and its own answer to the pod that has asked itself.
#[inline(always)]
fn ask(skb: &Skb, frame: &Frame, own: &Endpoint) -> Result<i32, Malformed> {
    if own.flags & EP_TRANSLATED != 0
        && Kernel::at_pod().is_node_address(&frame.ip.dst)
        && reverse(skb, frame)?.is_some()
    {
        return match skb.frame()? {
            Some(frame) => skb.hand_over(frame, own),
            None => Err(Malformed),
        };
    }
    let outcome = serve(skb, frame, true)?;
    if outcome == TRANSLATED {
        note_translated(own, &frame.ip.src);
    }
    Ok(outcome)
}

/// Back to the client of a service, or away from this node.
#[inline(always)]
fn go_on(skb: &Skb, frame: &Frame) -> Result<i32, Malformed> {
    if let Some(ifindex) = reverse(skb, frame)? {
        // The source is the node's own address now, or a service's, which the stack would not take from a veth.
        return match skb.frame()? {
            Some(frame) => skb.give_back(frame, ifindex),
            None => Err(Malformed),
        };
    }
    skb.leave(frame)
}

/// A debug line of a packet to a pod of this node.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell(frame: *const Frame, ifindex: u32) -> i32 {
    // SAFETY: the kernel has checked that it points to such, or is null.
    let Some(frame) = (unsafe { frame.as_ref() }) else { return 0 };
    // Lines are written without it.
    let ctx = &TcContext::new(core::ptr::null_mut());
    info!(ctx, "pod {:i} to pod {:i} by link {}", frame.ip.src.0, frame.ip.dst.0, ifindex);
    0
}
