//! Flows whose packets get another tuple: what of a packet is translated, and pods' flows that leave the cluster.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_NOEXIST},
    helpers::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns},
};
use skep_abi::{Config, FRAGMENT_TRANSLATED, FragmentKey, FragmentPorts, Metric, NAT_FORWARD, NatFlow, NatKey, SvcKey};
use skep_logic::{
    Added, Embedded, Frame, Has, IpHeader, Malformed, NatTable, Opened, Outbound, Outside, Part, Picked, current, ends,
    hold, is_alike, open, outbound, read_embedded,
};

use crate::checked::{MALFORMED, arguments, code, done, is_done, verdict};
use crate::maps::{FRAGMENTS, NAT, SUBJECT};
use crate::{Field, NEXT, Skb, config, count, refuse};

const EEXIST: i32 = -17;

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
    fn hold(&self, key: &NatKey, flow: &NatFlow) -> Added {
        match hold_port(key, flow) {
            0 => Added::Yes,
            1 => Added::Taken,
            _ => Added::Full,
        }
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

/// Adds the way back of a flow, which holds its port: 0, or 1 where another one has it, or 2 where there is no room.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hold_port(key: *const NatKey, flow: *const NatFlow) -> i32 {
    arguments!(key, flow or 2);
    match hold(&Flows, key, flow) {
        Added::Yes => 0,
        Added::Taken => 1,
        Added::Full => 2,
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
    /// The service that the packet is for, and the backend that was chosen.
    pub service: SvcKey,
    pub picked: Picked,
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
pub fn subject<'a>(skb: &Skb, frame: &Frame, dir: u8) -> Result<Option<&'a mut Subject>, Malformed> {
    let Some(subject) = SUBJECT.get_ptr_mut(0) else { return Ok(None) };
    let is_some = verdict(read_subject(skb.raw(), frame, dir, subject))? != 0;
    // SAFETY: the row is this CPU's, and no other program runs on it until this one has ended.
    Ok(if is_some { Some(unsafe { &mut *subject }) } else { None })
}

/// Fills the subject of a packet: 1, or 0 where nothing can be translated.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_subject(skb: *mut __sk_buff, frame: *const Frame, dir: u8, subject: *mut Subject) -> i32 {
    arguments!(frame or MALFORMED);
    arguments!(mut subject or MALFORMED);
    code(fill(&Skb::of(skb), &frame.ip, dir, subject).map(i32::from))
}

#[inline(always)]
fn fill(skb: &Skb, ip: &IpHeader, dir: u8, subject: &mut Subject) -> Result<bool, Malformed> {
    let key = &mut subject.key;
    (key.src, key.dst, key.proto, key.dir) = (ip.src, ip.dst, ip.proto, dir);
    (subject.is_error, subject.is_later) = (false, ip.part == Part::Later);
    if subject.is_later {
        subject.opens = false;
        // SAFETY: the value is copied out at once.
        let Some(ports) = (unsafe { FRAGMENTS.get(fragment_key(ip)) }) else { return Ok(false) };
        (key.src_port, key.dst_port) = (ports.src, ports.dst);
        return Ok(true);
    }
    if let Some(ends) = ends(skb, ip)? {
        (key.src_port, key.dst_port, subject.opens) = (ends.src, ends.dst, ends.opens);
        if ip.part == Part::Whole {
            return Ok(true);
        }
        // Of a datagram in parts, only the first says the ports: they are kept for the others.
        return Ok(FRAGMENTS.insert(fragment_key(ip), FragmentPorts { src: ends.src, dst: ends.dst }, 0).is_ok());
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

/// Looks the flow of a packet up: 1, or 0 where it is part of none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn recall(subject: *mut Subject) -> i32 {
    arguments!(mut subject or 0);
    i32::from(current(&Flows, &subject.key, &mut subject.flow))
}

/// Whether the packet is part of a flow, which is in the subject then.
#[inline(always)]
pub fn is_known(subject: &mut Subject) -> bool {
    recall(subject) != 0
}

/// Enters a flow: 0, or 1 where no port was free, or 2 where there was no room.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn open_flow(subject: *mut Subject) -> i32 {
    arguments!(mut subject or 2);
    match open(&Flows, &subject.key, &subject.outside, subject.keep, &mut subject.flow) {
        Opened::Yes => 0,
        Opened::NoPort => 1,
        Opened::Full => 2,
    }
}

/// Enters the flow of a subject, whose backend sees the client where that is to be kept.
#[inline(always)]
pub fn enter(subject: &mut Subject) -> Opened {
    match open_flow(subject) {
        0 => Opened::Yes,
        1 => Opened::NoPort,
        _ => Opened::Full,
    }
}

#[inline(always)]
fn fragment_key(ip: &IpHeader) -> FragmentKey {
    FragmentKey { src: ip.src, dst: ip.dst, id: ip.id, proto: ip.proto, by: FRAGMENT_TRANSLATED, pad: [0; 2] }
}

/// Gives a packet the tuple of its flow, as far as that differs.
#[inline(always)]
pub fn translate(skb: &Skb, frame: &Frame, subject: &Subject) -> Result<(), Malformed> {
    let Subject { key, flow, .. } = subject;
    if (flow.dst, flow.dst_port) != (key.dst, key.dst_port) {
        is_done(write_end(skb.raw(), frame, subject, DESTINATION))?;
    }
    if (flow.src, flow.src_port) != (key.src, key.src_port) {
        is_done(write_end(skb.raw(), frame, subject, SOURCE))?;
    }
    Ok(())
}

const SOURCE: u32 = 0;
const DESTINATION: u32 = 1;

/// Gives a packet one end of the tuple of its flow.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn write_end(skb: *mut __sk_buff, frame: *const Frame, subject: *const Subject, field: u32) -> i32 {
    arguments!(frame, subject or MALFORMED);
    let Subject { key, flow, .. } = subject;
    let (field, old, new) = if field == SOURCE {
        (Field::Source, (key.src, key.src_port), (flow.src, flow.src_port))
    } else {
        (Field::Destination, (key.dst, key.dst_port), (flow.dst, flow.dst_port))
    };
    let (skb, ip) = (Skb::of(skb), &frame.ip);
    done(if subject.is_error {
        skb.rewrite_error(ip, &subject.inner, field, &new)
    } else if subject.is_later {
        skb.rewrite_address(ip, field, &new.0)
    } else {
        skb.rewrite(ip, field, &old, &new)
    })
}

/// Sends a pod's packet that leaves the cluster under the node's address.
#[inline(always)]
pub fn masquerade(skb: &Skb, frame: &Frame) -> Result<i32, Malformed> {
    let Some(config) = config() else { return Ok(NEXT) };
    let Some(outside) = outside(config, frame.ip.v4) else { return Ok(NEXT) };
    let Some(subject) = subject(skb, frame, NAT_FORWARD)? else {
        return Ok(refuse(Metric::DropNatProtocol, skb.len()));
    };
    // An error about a packet that the pod cannot have got is none of ours.
    if subject.key.src != frame.ip.src {
        return Ok(refuse(Metric::DropMalformed, skb.len()));
    }
    match outbound(&Flows, &subject.key, subject.opens, &outside, &mut subject.flow) {
        Outbound::As(_, _) => {
            translate(skb, frame, subject)?;
            count(Metric::MasqueradeForward, skb.len());
            Ok(NEXT)
        }
        Outbound::Unknown => Ok(NEXT),
        Outbound::NoPort => Ok(refuse(Metric::DropNatPorts, skb.len())),
        Outbound::Full => Ok(refuse(Metric::DropTableFull, skb.len())),
    }
}
