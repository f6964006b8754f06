//! What arrives at the node by its link: packets to its pods, packets to services, sent on to a backend wherever that is, and answers
//! to flows that went on under the node's address.

#![no_std]
#![no_main]

use aya_ebpf::{macros::classifier, programs::TcContext};
use skep_abi::Metric;
use skep_logic::Malformed;
use skep_programs::{NEXT, Skb, arrive, refuse};

#[classifier]
pub fn host_ingress(ctx: TcContext) -> i32 {
    let skb = Skb::of(ctx.skb.skb);
    receive(&skb).unwrap_or_else(|Malformed| refuse(Metric::DropMalformed, skb.len()))
}

#[inline(always)]
fn receive(skb: &Skb) -> Result<i32, Malformed> {
    match skb.frame()? {
        Some(frame) => arrive(skb, frame),
        None => Ok(NEXT),
    }
}
