//! What arrives through the tunnel: pods' packets to their pods, all else to the node.

#![no_std]
#![no_main]

use aya_ebpf::{macros::classifier, programs::TcContext};
use skep_abi::Metric;
use skep_logic::Malformed;
use skep_programs::{DROP, NEXT, Skb, config, count, endpoint, refuse};

#[classifier]
pub fn overlay_ingress(ctx: TcContext) -> i32 {
    let skb = Skb(&ctx);
    deliver(&skb).unwrap_or_else(|Malformed| refuse(Metric::DropMalformed, skb.len()))
}

#[inline(always)]
fn deliver(skb: &Skb<'_>) -> Result<i32, Malformed> {
    let Some(config) = config() else { return Ok(DROP) };
    if skb.tunnel_id() != Some(config.vni) {
        return Ok(refuse(Metric::DropTunnelId, skb.len()));
    }
    skb.claim()?;
    let Some(frame) = skb.frame()? else { return Ok(NEXT) };
    let Some(endpoint) = endpoint(&frame.ip.dst) else { return Ok(NEXT) };
    count(Metric::RemoteDelivery, skb.len());
    skb.deliver(frame, &endpoint)
}
