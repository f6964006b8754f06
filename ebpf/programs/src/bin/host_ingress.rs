//! What arrives at the node from outside: packets to its pods, node ports, sent on to a backend, and answers to pods' flows that left
//! under the node's address.

#![no_std]
#![no_main]

use aya_ebpf::{macros::classifier, programs::TcContext};
use aya_log_ebpf::info;
use skep_abi::{CT_FORWARD, CtKeyV4, CtV4, Ip, Metric};
use skep_logic::{
    Choice, Frame, IpHeader, Malformed, Picked, Ports, Tables as _, choose, choose_sticky, forward_keys, lookup,
    opens_flow,
};
use skep_programs::{CT_V4, Field, Kernel, NEXT, Skb, config, count, debugging, endpoint, refuse, unmasquerade};

#[classifier]
pub fn host_ingress(ctx: TcContext) -> i32 {
    let skb = Skb(&ctx);
    receive(&ctx, &skb).unwrap_or_else(|Malformed| refuse(Metric::DropMalformed, skb.len()))
}

#[inline(always)]
fn receive(ctx: &TcContext, skb: &Skb<'_>) -> Result<i32, Malformed> {
    let Some(frame) = skb.frame()? else { return Ok(NEXT) };
    if endpoint(&frame.ip.dst).is_some() {
        count(Metric::RemoteDelivery, skb.len());
    } else {
        let node_port = if frame.ip.v4 { translate(ctx, skb, frame)? } else { false };
        let ours = node_port || matches!(config(), Some(config) if unmasquerade(skb, frame, config)?);
        if !ours {
            return Ok(NEXT);
        }
    }
    // To the pod itself where it is on this node, else wherever the stack routes what has been translated.
    let Some(frame) = skb.frame()? else { return Ok(NEXT) };
    match endpoint(&frame.ip.dst) {
        Some(endpoint) => skb.deliver(frame, &endpoint),
        None => Ok(NEXT),
    }
}

/// Translates a packet of a node port; `false` where it is none, or where the node's own stack has the right answer: RST or port
/// unreachable, since nothing listens there. Called rather than inlined, as [`unmasquerade`] is.
#[inline(never)]
fn translate(ctx: &TcContext, skb: &Skb<'_>, frame: &Frame) -> Result<bool, Malformed> {
    let (kernel, dst) = (Kernel::at_link(), frame.ip.dst.v4());
    if !kernel.is_node_address(dst) {
        return Ok(false);
    }
    let Some(ports) = frame.ip.ports(skb)? else { return Ok(false) };
    let (min, max) = kernel.node_ports();
    if ports.dst.get() < min || ports.dst.get() > max {
        return Ok(false);
    }
    let known = flow(&frame.ip, &ports);
    let (addr, port) = if opens_flow(&frame.ip, &ports) {
        let Some((key, head)) = lookup(&kernel, dst, ports.dst, frame.ip.proto) else { return Ok(false) };
        let choice = match known {
            Some(known) => choose_sticky(&kernel, &key, head, (known.addr, known.port), known.row),
            None => choose(&kernel, &key, head),
        };
        let Choice::Backend(picked) = choice else {
            count(Metric::DropNoBackend, skb.len());
            return Ok(false);
        };
        if !open(ctx, skb, &frame.ip, &ports, &picked, known) {
            return Ok(false);
        }
        (picked.backend.addr, picked.backend.port)
    } else {
        let Some(known) = known else { return Ok(false) };
        (known.addr, known.port)
    };
    skb.rewrite(&frame.ip, Field::Destination, &(frame.ip.dst, ports.dst), &(Ip::from_v4(addr), port))?;
    count(Metric::NodePortForward, skb.len());
    Ok(true)
}

#[inline(always)]
fn flow<'a>(ip: &IpHeader, ports: &Ports) -> Option<&'a CtV4> {
    let key = CtKeyV4 {
        src: ip.src.v4(),
        dst: ip.dst.v4(),
        src_port: ports.src,
        dst_port: ports.dst,
        proto: ip.proto,
        dir: CT_FORWARD,
        pad: [0; 2],
    };
    // SAFETY: a flow's entry may be replaced by another while it is read; a packet then goes astray, and no memory does.
    unsafe { CT_V4.get(key) }
}

/// Enters a flow in both directions, or only confirms it. Without room for it, replies could not be translated: leave it alone.
#[inline(always)]
fn open(ctx: &TcContext, skb: &Skb<'_>, ip: &IpHeader, ports: &Ports, picked: &Picked, known: Option<&CtV4>) -> bool {
    let flow = forward_keys(ip, ports, picked, skb.ifindex());
    let (key, value) = flow.forward;
    if known == Some(&value) {
        return true;
    }
    let (back_key, back) = flow.reverse;
    if CT_V4.insert(key, value, 0).is_err() || CT_V4.insert(back_key, back, 0).is_err() {
        count(Metric::DropTableFull, skb.len());
        return false;
    }
    if debugging() {
        tell(ctx, ip, ports, &value);
    }
    true
}

/// Called rather than inlined, for its stack is large.
#[inline(never)]
fn tell(ctx: &TcContext, ip: &IpHeader, ports: &Ports, to: &CtV4) {
    let (src, dst) = (u32::from_be(ip.src.v4().to_ne()), u32::from_be(to.addr.to_ne()));
    info!(ctx, "node port {} from {:i} goes to {:i}:{}", ports.dst.get(), src, dst, to.port.get());
}
