//! Pods' flows that leave the cluster, under the node's address and back.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns},
};
use skep_abi::{Be16, Config, Ip, Metric, NAT_EGRESS, NAT_INGRESS, NatFlow, NatKey};
use skep_logic::{
    Added, Embedded, Frame, IpHeader, Malformed, NatTable, Outbound, Outside, ends, inbound, outbound, read_embedded,
};

use crate::maps::{NAT, SUBJECT};
use crate::{Field, NEXT, Skb, count, refuse};

const EEXIST: i32 = -17;

/// `NAT` in the kernel.
struct Kernel;

impl NatTable for Kernel {
    #[inline(always)]
    fn get(&self, key: &NatKey) -> Option<NatFlow> {
        // SAFETY: an element may be replaced by another while it is read; a packet then goes astray, and no memory does.
        unsafe { NAT.get(key) }.copied()
    }

    #[inline(always)]
    fn add(&self, key: &NatKey, flow: &NatFlow) -> Added {
        match NAT.insert(key, flow, u64::from(BPF_NOEXIST)) {
            Ok(()) => Added::Yes,
            Err(EEXIST) => Added::Taken,
            Err(_) => Added::Full,
        }
    }

    #[inline(always)]
    fn confirm(&self, key: &NatKey, now_ns: u64) {
        if let Some(flow) = NAT.get_ptr_mut(key) {
            // SAFETY: the pointer is into the element, and one aligned word is written, which readers take or leave.
            unsafe { (*flow).checked_ns = now_ns };
        }
    }

    #[inline(always)]
    fn remove(&self, key: &NatKey) {
        // One that is gone is as wanted.
        let _ = NAT.remove(key);
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper takes nothing and touches no memory of ours.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: as above.
        unsafe { bpf_get_prandom_u32() }
    }
}

/// The node's end for a family; `None` where the node has no address of it, or masquerades nothing.
#[inline(always)]
fn outside(config: &Config, v4: bool) -> Option<Outside> {
    let addr = if v4 { config.masquerade_v4 } else { config.masquerade_v6 };
    let outside = Outside { addr, port_min: config.nat_port_min, port_max: config.nat_port_max };
    (!addr.is_none() && outside.port_min <= outside.port_max).then_some(outside)
}

/// What of a packet is translated: its own tuple, or that of the packet in an ICMP error, which went the other way.
#[repr(C)]
pub struct Subject {
    /// The tuple of the flow in the direction that the packet goes.
    key: NatKey,
    opens: bool,
    is_error: bool,
    /// The packet in an error.
    inner: Embedded,
}

/// Reads what is to be translated; `None` where nothing can be.
#[inline(always)]
fn subject<'a>(skb: &Skb<'_>, ip: &IpHeader, dir: u8) -> Result<Option<&'a Subject>, Malformed> {
    let Some(subject) = SUBJECT.get_ptr_mut(0) else { return Ok(None) };
    // SAFETY: the row is this CPU's, and no other program runs on it until this one has ended.
    let subject = unsafe { &mut *subject };
    Ok(if fill(skb, ip, dir, subject)? { Some(subject) } else { None })
}

#[inline(never)]
fn fill(skb: &Skb<'_>, ip: &IpHeader, dir: u8, subject: &mut Subject) -> Result<bool, Malformed> {
    let key = &mut subject.key;
    (key.src, key.dst, key.proto, key.dir) = (ip.src, ip.dst, ip.proto, dir);
    subject.is_error = false;
    if let Some(ends) = ends(skb, ip)? {
        (key.src_port, key.dst_port, subject.opens) = (ends.src, ends.dst, ends.opens);
        return Ok(true);
    }
    let inner = &mut subject.inner;
    if !read_embedded(skb, ip, inner)? {
        return Ok(false);
    }
    (key.src, key.src_port) = (inner.dst, inner.ends.dst);
    (key.dst, key.dst_port) = (inner.src, inner.ends.src);
    key.proto = inner.proto;
    (subject.opens, subject.is_error) = (false, true);
    Ok(true)
}

#[inline(always)]
fn write(skb: &Skb<'_>, ip: &IpHeader, subject: &Subject, field: Field, new: &(Ip, Be16)) -> Result<(), Malformed> {
    if subject.is_error {
        return skb.rewrite_error(ip, &subject.inner, field, new);
    }
    let (old, port) = match field {
        Field::Source => (ip.src, subject.key.src_port),
        Field::Destination => (ip.dst, subject.key.dst_port),
    };
    rewrite(skb, ip, field, &(old, port), new)
}

#[inline(never)]
fn rewrite(skb: &Skb<'_>, ip: &IpHeader, field: Field, old: &(Ip, Be16), new: &(Ip, Be16)) -> Result<(), Malformed> {
    skb.rewrite(ip, field, old, new)
}

/// Sends a pod's packet that leaves the cluster under the node's address.
#[inline(never)]
pub fn masquerade(skb: &Skb<'_>, frame: &Frame, config: &Config) -> Result<i32, Malformed> {
    let ip = &frame.ip;
    let Some(outside) = outside(config, ip.v4) else { return Ok(NEXT) };
    let Some(subject) = subject(skb, ip, NAT_EGRESS)? else { return Ok(refuse(Metric::DropNatProtocol, skb.len())) };
    // An error about a packet that the pod cannot have got is none of ours.
    if subject.key.src != ip.src {
        return Ok(refuse(Metric::DropMalformed, skb.len()));
    }
    match outbound(&Kernel, &subject.key, subject.opens, &outside) {
        Outbound::As(addr, port) => {
            write(skb, ip, subject, Field::Source, &(addr, port))?;
            count(Metric::MasqueradeForward, skb.len());
            Ok(NEXT)
        }
        Outbound::Unknown => Ok(NEXT),
        Outbound::NoPort => Ok(refuse(Metric::DropNatPorts, skb.len())),
        Outbound::Full => Ok(refuse(Metric::DropTableFull, skb.len())),
    }
}

/// Turns a packet that came to the node's address into the pod's that it is for; `false` where it is no pod's. Called rather than inlined,
/// so that its stack is not added to that of node ports.
#[inline(never)]
pub fn unmasquerade(skb: &Skb<'_>, frame: &Frame, config: &Config) -> Result<bool, Malformed> {
    let ip = &frame.ip;
    let Some(outside) = outside(config, ip.v4).filter(|outside| outside.addr == ip.dst) else { return Ok(false) };
    let Some(subject) = subject(skb, ip, NAT_INGRESS)? else { return Ok(false) };
    let port = subject.key.dst_port.get();
    if port < outside.port_min || port > outside.port_max || subject.key.dst != outside.addr {
        return Ok(false);
    }
    let Some(to) = inbound(&Kernel, &subject.key) else { return Ok(false) };
    write(skb, ip, subject, Field::Destination, &to)?;
    count(Metric::MasqueradeReverse, skb.len());
    Ok(true)
}
