//! What leaves the node by its link: pods' packets to outside of the cluster, and replies of a backend in the node's own network to
//! the client of a service.

#![no_std]
#![no_main]

use aya_ebpf::{macros::classifier, programs::TcContext};
use skep_abi::{Be16, Metric, PROTO_UDP, TUNNEL_PORT};
use skep_logic::{Frame, Malformed, Packet as _};
use skep_programs::{NEXT, Skb, endpoint, is_of_stack, masquerade, refuse, remote, reverse};

#[classifier]
pub fn host_egress(ctx: TcContext) -> i32 {
    let skb = Skb::of(ctx.skb.skb);
    translate(&skb).unwrap_or_else(|Malformed| refuse(Metric::DropMalformed, skb.len()))
}

#[inline(always)]
fn translate(skb: &Skb) -> Result<i32, Malformed> {
    let Some(frame) = skb.frame()? else { return Ok(NEXT) };
    if endpoint(&frame.ip.src).is_some() {
        return if remote(&frame.ip.dst).is_none() { masquerade(skb, frame) } else { Ok(NEXT) };
    }
    if is_of_stack(&frame.ip.src) && !is_tunnel(skb, frame) {
        reverse(skb, frame)?;
    }
    Ok(NEXT)
}

/// Whether it is a packet of the tunnel, which no service has anything to do with.
#[inline(always)]
fn is_tunnel(skb: &Skb, frame: &Frame) -> bool {
    frame.ip.proto == PROTO_UDP
        && skb.load::<2>(frame.ip.l4 + 2).is_some_and(|port| Be16::from_bytes(port).get() == TUNNEL_PORT)
}
