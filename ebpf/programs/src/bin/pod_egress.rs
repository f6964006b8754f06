//! What a pod sends, on the host side of its veth: straight to another pod of this node, back to the client of a node port, or
//! to the stack; and nothing that policy forbids, at either end.

#![no_std]
#![no_main]

use aya_ebpf::{macros::classifier, programs::TcContext};
use aya_log_ebpf::info;
use skep_abi::Metric;
use skep_logic::{Frame, Malformed};
use skep_programs::{DROP, ENDPOINTS, NEXT, Skb, count, debugging, may_pass, parse, reverse};

#[classifier]
pub fn pod_egress(ctx: TcContext) -> i32 {
    let skb = Skb(&ctx);
    forward(&ctx, &skb).unwrap_or_else(|Malformed| {
        count(Metric::DropMalformed, skb.len());
        DROP
    })
}

#[inline(always)]
fn forward(ctx: &TcContext, skb: &Skb<'_>) -> Result<i32, Malformed> {
    let Some(frame) = parse(skb)? else { return Ok(NEXT) };
    // SAFETY: the values are read while this program runs; an update replaces an element and frees the old one after a grace period.
    let (source, endpoint) = unsafe { (ENDPOINTS.get(frame.ip.src), ENDPOINTS.get(frame.ip.dst)) };
    if !may_pass(skb, frame, source, endpoint)? {
        return Ok(DROP);
    }
    if let Some(endpoint) = endpoint {
        count(Metric::LocalDelivery, skb.len());
        if debugging() {
            show(ctx, frame, endpoint.ifindex);
        }
        return skb.hand_over(frame, endpoint);
    }
    answer(skb, frame)
}

/// Back to the client of a node port, or to the stack.
#[inline(never)]
fn answer(skb: &Skb<'_>, frame: &Frame) -> Result<i32, Malformed> {
    if let Some(flow) = reverse(skb, frame)? {
        // The source is the node's own address now, which the stack would not take from a veth.
        let Some(frame) = Frame::parse(skb)? else { return Err(Malformed) };
        return skb.send(&frame, flow.ifindex);
    }
    count(Metric::PodToStack, skb.len());
    Ok(NEXT)
}

#[inline(never)]
fn show(ctx: &TcContext, frame: &Frame, ifindex: u32) {
    let (src, dst) = (u32::from_be(frame.ip.src.to_ne()), u32::from_be(frame.ip.dst.to_ne()));
    info!(ctx, "pod {:i} to pod {:i} by link {}", src, dst, ifindex);
}
