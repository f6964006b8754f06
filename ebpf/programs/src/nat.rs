//! Flows whose packets get another tuple: what of a packet is translated, and pods' flows that leave the cluster.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns},
};
use skep_abi::{
    Backend, Be16, Config, FragmentKey, FragmentPorts, Ip, Metric, NAT_FORWARD, NatFlow, NatKey, PROTO_TCP, PROTO_UDP,
    Svc, SvcKey,
};
use skep_logic::{
    Added, ETH_LEN, Embedded, Frame, Has, IpHeader, Malformed, NatTable, Outbound, Outside, Packet as _, ends,
    is_alike, outbound, read_embedded,
};

use crate::maps::{FRAGMENTS, NAT, SUBJECT};
use crate::{Field, NEXT, Skb, count, refuse};

const EEXIST: i32 = -17;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// `NAT` in the kernel.
pub struct Flows;

impl NatTable for Flows {
    #[inline(always)]
    fn read(&self, key: &NatKey, into: &mut NatFlow) -> bool {
        // SAFETY: an element may be replaced by another while it is read; a packet then goes astray, and no memory does.
        let Some(held) = (unsafe { NAT.get(key) }) else { return false };
        *into = *held;
        true
    }

    #[inline(always)]
    fn has(&self, key: &NatKey, flow: &NatFlow) -> Has {
        // SAFETY: as above.
        match unsafe { NAT.get(key) } {
            None => Has::Nothing,
            Some(held) if is_alike(held, flow) => Has::This,
            Some(_) => Has::Other,
        }
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
    pub key: NatKey,
    /// What the packet gets.
    pub flow: NatFlow,
    /// The service that the packet is for, and its head.
    pub service: SvcKey,
    pub head: Svc,
    /// The row of the backend that was chosen, and the backend.
    pub row: u32,
    pub backend: Backend,
    /// The node's end, for flows that take a port.
    pub outside: Outside,
    /// Whether the backend is to see the client.
    pub keep: bool,
    /// Whether it may begin a flow.
    pub opens: bool,
    /// Whether there is a flow: that of `flow`.
    pub known: bool,
    is_error: bool,
    /// Whether it is a later fragment, which has no ports to write.
    is_later: bool,
    /// The packet in an error.
    inner: Embedded,
}

/// Reads what is to be translated; `None` where nothing can be.
#[inline(always)]
pub fn subject<'a>(skb: &Skb<'_>, ip: &IpHeader, dir: u8) -> Result<Option<&'a mut Subject>, Malformed> {
    let Some(subject) = SUBJECT.get_ptr_mut(0) else { return Ok(None) };
    // SAFETY: the row is this CPU's, and no other program runs on it until this one has ended.
    let subject = unsafe { &mut *subject };
    Ok(if fill(skb, ip, dir, subject)? { Some(subject) } else { None })
}

#[inline(never)]
fn fill(skb: &Skb<'_>, ip: &IpHeader, dir: u8, subject: &mut Subject) -> Result<bool, Malformed> {
    let key = &mut subject.key;
    (key.src, key.dst, key.proto, key.dir) = (ip.src, ip.dst, ip.proto, dir);
    (subject.is_error, subject.is_later) = (false, false);
    if ip.fragment {
        return fragment(skb, ip, subject);
    }
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

/// Of a datagram in parts, only the first says the ports: they are kept for the others. Fragments of IPv6 are not told apart.
#[inline(never)]
fn fragment(skb: &Skb<'_>, ip: &IpHeader, subject: &mut Subject) -> Result<bool, Malformed> {
    if !ip.v4 || (ip.proto != PROTO_UDP && ip.proto != PROTO_TCP) {
        return Ok(false);
    }
    let [a, b, c, d] = skb.load::<4>(ETH_LEN + 4).ok_or(Malformed)?;
    let id = u32::from(u16::from_be_bytes([a, b]));
    let key = FragmentKey { src: ip.src, dst: ip.dst, id, proto: ip.proto, pad: [0; 3] };
    subject.is_later = u16::from_be_bytes([c, d]) & FRAGMENT_OFFSET != 0;
    subject.opens = false;
    if subject.is_later {
        // SAFETY: the value is copied out at once.
        let Some(ports) = (unsafe { FRAGMENTS.get(key) }).copied() else { return Ok(false) };
        (subject.key.src_port, subject.key.dst_port) = (ports.src, ports.dst);
        return Ok(true);
    }
    let [a, b, c, d] = skb.load::<4>(ip.l4).ok_or(Malformed)?;
    let ports = FragmentPorts { src: Be16::from_bytes([a, b]), dst: Be16::from_bytes([c, d]) };
    (subject.key.src_port, subject.key.dst_port) = (ports.src, ports.dst);
    subject.opens = ip.proto == PROTO_UDP;
    Ok(FRAGMENTS.insert(key, ports, 0).is_ok())
}

/// Gives a packet the tuple of its flow, as far as that differs.
#[inline(always)]
pub fn translate(skb: &Skb<'_>, ip: &IpHeader, subject: &Subject) -> Result<(), Malformed> {
    let Subject { key, flow, .. } = subject;
    if (flow.dst, flow.dst_port) != (key.dst, key.dst_port) {
        write(skb, ip, subject, Field::Destination, &(flow.dst, flow.dst_port))?;
    }
    if (flow.src, flow.src_port) != (key.src, key.src_port) {
        write(skb, ip, subject, Field::Source, &(flow.src, flow.src_port))?;
    }
    Ok(())
}

#[inline(always)]
fn write(skb: &Skb<'_>, ip: &IpHeader, subject: &Subject, field: Field, new: &(Ip, Be16)) -> Result<(), Malformed> {
    if subject.is_error {
        return skb.rewrite_error(ip, &subject.inner, field, new);
    }
    if subject.is_later {
        return skb.rewrite_address(ip, field, &new.0);
    }
    let old = match field {
        Field::Source => (subject.key.src, subject.key.src_port),
        Field::Destination => (subject.key.dst, subject.key.dst_port),
    };
    rewrite(skb, ip, field, &old, new)
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
    let Some(subject) = subject(skb, ip, NAT_FORWARD)? else { return Ok(refuse(Metric::DropNatProtocol, skb.len())) };
    // An error about a packet that the pod cannot have got is none of ours.
    if subject.key.src != ip.src {
        return Ok(refuse(Metric::DropMalformed, skb.len()));
    }
    match outbound(&Flows, &subject.key, subject.opens, &outside, &mut subject.flow) {
        Outbound::As(_, _) => {
            translate(skb, ip, subject)?;
            count(Metric::MasqueradeForward, skb.len());
            Ok(NEXT)
        }
        Outbound::Unknown => Ok(NEXT),
        Outbound::NoPort => Ok(refuse(Metric::DropNatPorts, skb.len())),
        Outbound::Full => Ok(refuse(Metric::DropTableFull, skb.len())),
    }
}
