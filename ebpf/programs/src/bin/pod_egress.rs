//! What a pod sends, on the host side of its veth: straight to another pod of this node, back to the client of a node port, to
//! another node, out of the cluster, or to the stack.

#![no_std]
#![no_main]

use aya_ebpf::{macros::classifier, programs::TcContext};
use aya_log_ebpf::info;
use skep_abi::{Config, Metric, REMOTE_TUNNEL};
use skep_logic::{Frame, Malformed};
use skep_programs::{DROP, NEXT, Skb, config, count, debugging, endpoint, may_pass, refuse, remote, reverse, sent_by};

#[classifier]
pub fn pod_egress(ctx: TcContext) -> i32 {
    let skb = Skb(&ctx);
    forward(&ctx, &skb).unwrap_or_else(|Malformed| refuse(Metric::DropMalformed, skb.len()))
}

#[inline(always)]
fn forward(ctx: &TcContext, skb: &Skb<'_>) -> Result<i32, Malformed> {
    let Some(frame) = skb.frame()? else { return Ok(refuse(Metric::DropNotUnicast, skb.len())) };
    if frame.ip.dst.is_multicast() {
        return Ok(refuse(Metric::DropNotUnicast, skb.len()));
    }
    let Some(own) = sent_by(skb, frame) else { return Ok(refuse(Metric::DropSpoofed, skb.len())) };
    let peer = endpoint(&frame.ip.dst);
    if !may_pass(skb, frame, Some(&own), peer.as_ref())? {
        return Ok(DROP);
    }
    if let Some(peer) = peer {
        count(Metric::LocalDelivery, skb.len());
        if debugging() {
            tell(ctx, frame, peer.ifindex);
        }
        return skb.hand_over(frame, &peer);
    }
    go_on(skb, frame)
}

/// Back to the client of a node port, or away from this node.
#[inline(never)]
fn go_on(skb: &Skb<'_>, frame: &Frame) -> Result<i32, Malformed> {
    if let Some(ifindex) = reverse(skb, frame)? {
        // The source is the node's own address now, which the stack would not take from a veth.
        return match skb.frame()? {
            Some(frame) => skb.send(frame, ifindex),
            None => Err(Malformed),
        };
    }
    match config() {
        Some(config) => leave(skb, frame, config),
        None => Ok(NEXT),
    }
}

/// Called rather than inlined, for its stack is large.
#[inline(never)]
fn tell(ctx: &TcContext, frame: &Frame, ifindex: u32) {
    info!(ctx, "pod {:i} to pod {:i} by link {}", frame.ip.src.0, frame.ip.dst.0, ifindex);
}

/// Another node, or outside of the cluster.
#[inline(always)]
fn leave(skb: &Skb<'_>, frame: &Frame, config: &Config) -> Result<i32, Malformed> {
    if config.overlay != 0
        && let Some(remote) = remote(&frame.ip.dst)
        && remote.flags & REMOTE_TUNNEL != 0
    {
        return skb.tunnel(frame, &remote.node, config);
    }
    skb.route(frame, config)
}
