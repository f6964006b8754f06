//! What arrives through the tunnel, which is as what arrives by the link: pods of other nodes call services here too.

#![no_std]
#![no_main]

use aya_ebpf::{macros::classifier, programs::TcContext};
use skep_abi::Metric;
use skep_logic::Malformed;
use skep_programs::{DROP, NEXT, Skb, arrive, config, refuse};

#[classifier]
pub fn overlay_ingress(ctx: TcContext) -> i32 {
    let skb = Skb::of(ctx.skb.skb);
    deliver(&skb).unwrap_or_else(|Malformed| refuse(Metric::DropMalformed, skb.len()))
}

#[inline(always)]
fn deliver(skb: &Skb) -> Result<i32, Malformed> {
    let Some(config) = config() else { return Ok(DROP) };
    if skb.tunnel_id() != Some(config.vni) {
        return Ok(refuse(Metric::DropTunnelId, skb.len()));
    }
    skb.claim()?;
    match skb.frame()? {
        Some(frame) => arrive(skb, frame),
        None => Ok(NEXT),
    }
}
