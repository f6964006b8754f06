//! What leaves the node: replies of a backend in the node's own network to the client of a node port.

#![no_std]
#![no_main]

use aya_ebpf::{macros::classifier, programs::TcContext};
use skep_abi::Metric;
use skep_logic::{Frame, Malformed, Tables as _};
use skep_programs::{DROP, Kernel, NEXT, Skb, count, reverse};

#[classifier]
pub fn host_egress(ctx: TcContext) -> i32 {
    let skb = Skb(&ctx);
    match translate(&skb) {
        Ok(()) => NEXT,
        Err(Malformed) => {
            count(Metric::DropMalformed, skb.len());
            DROP
        }
    }
}

#[inline(always)]
fn translate(skb: &Skb<'_>) -> Result<(), Malformed> {
    let Some(frame) = Frame::parse(skb)? else { return Ok(()) };
    if Kernel::at_link().is_node_address(frame.ip.src) {
        reverse(skb, &frame)?;
    }
    Ok(())
}
