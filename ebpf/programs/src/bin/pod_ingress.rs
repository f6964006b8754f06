//! What the node's stack sends to a pod, on the host side of its veth: nothing that policy forbids.

#![no_std]
#![no_main]

use aya_ebpf::{macros::classifier, programs::TcContext};
use skep_abi::Metric;
use skep_logic::Malformed;
use skep_programs::{DROP, ENDPOINTS, NEXT, Skb, count, may_enter, parse};

#[classifier]
pub fn pod_ingress(ctx: TcContext) -> i32 {
    let skb = Skb(&ctx);
    admit(&skb).unwrap_or_else(|Malformed| {
        count(Metric::DropMalformed, skb.len());
        DROP
    })
}

#[inline(always)]
fn admit(skb: &Skb<'_>) -> Result<i32, Malformed> {
    let Some(frame) = parse(skb)? else { return Ok(NEXT) };
    // SAFETY: the values are read at once; an update replaces an element and frees the old one after a grace period.
    let (src, dst) = unsafe { (ENDPOINTS.get(frame.ip.src), ENDPOINTS.get(frame.ip.dst)) };
    Ok(if may_enter(skb, frame, src, dst)? { NEXT } else { DROP })
}
