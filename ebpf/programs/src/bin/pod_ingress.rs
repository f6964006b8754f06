//! What the node's stack sends to a pod, on the host side of its veth: nothing that policy forbids.

#![no_std]
#![no_main]

use aya_ebpf::{macros::classifier, programs::TcContext};
use skep_abi::Metric;
use skep_logic::Malformed;
use skep_programs::{DROP, NEXT, Skb, endpoint, may_enter, refuse};

#[classifier]
pub fn pod_ingress(ctx: TcContext) -> i32 {
    let skb = Skb::of(ctx.skb.skb);
    admit(&skb).unwrap_or_else(|Malformed| refuse(Metric::DropMalformed, skb.len()))
}

#[inline(always)]
fn admit(skb: &Skb) -> Result<i32, Malformed> {
    let Some(frame) = skb.frame()? else { return Ok(NEXT) };
    let (src, dst) = (endpoint(&frame.ip.src), endpoint(&frame.ip.dst));
    Ok(if may_enter(skb, frame, src.as_ref(), dst.as_ref())? { NEXT } else { DROP })
}
