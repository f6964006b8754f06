//! What arrives at the node from outside: node ports, sent on to a backend.

#![no_std]
#![no_main]

use aya_ebpf::{macros::classifier, programs::TcContext};
use aya_log_ebpf::info;
use skep_abi::{CT_FORWARD, CtKeyV4, CtV4, Ip4, Metric};
use skep_logic::{
    Choice, Frame, Ipv4, Malformed, Picked, Ports, Tables as _, choose, choose_sticky, forward_keys, lookup, opens_flow,
};
use skep_programs::{CT_V4, DROP, ENDPOINTS, Field, Kernel, NEXT, Skb, count, debugging, parse};

#[classifier]
pub fn host_ingress(ctx: TcContext) -> i32 {
    let skb = Skb(&ctx);
    let verdict = translate(&ctx, &skb).and_then(|to| match to {
        Some(addr) => deliver(&skb, addr),
        None => Ok(NEXT),
    });
    verdict.unwrap_or_else(|Malformed| {
        count(Metric::DropMalformed, skb.len());
        DROP
    })
}

/// Translates a packet of a node port and says where it goes now; `None` where it is none, or where the node's own stack has the
/// right answer: RST or port unreachable, since nothing listens there.
#[inline(never)]
fn translate(ctx: &TcContext, skb: &Skb<'_>) -> Result<Option<Ip4>, Malformed> {
    let Some(frame) = Frame::parse(skb)? else { return Ok(None) };
    let kernel = Kernel::at_link();
    if !kernel.is_node_address(frame.ip.dst) {
        return Ok(None);
    }
    let Some(ports) = frame.ip.ports(skb)? else { return Ok(None) };
    let (min, max) = kernel.node_ports();
    if ports.dst.get() < min || ports.dst.get() > max {
        return Ok(None);
    }
    let known = flow(&frame.ip, &ports);
    let (addr, port) = if opens_flow(&frame.ip, &ports) {
        let Some((key, head)) = lookup(&kernel, frame.ip.dst, ports.dst, frame.ip.proto) else { return Ok(None) };
        let choice = match known {
            Some(known) => choose_sticky(&kernel, &key, head, (known.addr, known.port), known.row),
            None => choose(&kernel, &key, head),
        };
        let Choice::Backend(picked) = choice else {
            count(Metric::DropNoBackend, skb.len());
            return Ok(None);
        };
        if !open(ctx, skb, &frame.ip, &ports, &picked, known) {
            return Ok(None);
        }
        (picked.backend.addr, picked.backend.port)
    } else {
        let Some(known) = known else { return Ok(None) };
        (known.addr, known.port)
    };
    skb.rewrite(&frame.ip, Field::Destination, (frame.ip.dst, ports.dst), (addr, port))?;
    count(Metric::NodePortForward, skb.len());
    Ok(Some(addr))
}

#[inline(always)]
fn flow<'a>(ip: &Ipv4, ports: &Ports) -> Option<&'a CtV4> {
    let key = CtKeyV4 {
        src: ip.src,
        dst: ip.dst,
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
fn open(ctx: &TcContext, skb: &Skb<'_>, ip: &Ipv4, ports: &Ports, picked: &Picked, known: Option<&CtV4>) -> bool {
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
        let (src, to) = (u32::from_be(ip.src.to_ne()), u32::from_be(value.addr.to_ne()));
        info!(ctx, "node port {} from {:i} goes to {:i}:{}", ports.dst.get(), src, to, value.port.get());
    }
    true
}

/// To the pod itself where it is on this node, else wherever the stack routes it.
#[inline(always)]
fn deliver(skb: &Skb<'_>, addr: Ip4) -> Result<i32, Malformed> {
    // SAFETY: the value is read while this program runs; an update replaces the element and frees the old one after a grace period.
    let Some(endpoint) = (unsafe { ENDPOINTS.get(addr) }) else { return Ok(NEXT) };
    let Some(frame) = parse(skb)? else { return Err(Malformed) };
    skb.deliver(frame, endpoint)
}
