//! Packets to services that no socket hook has translated: from outside, and of pods whose sockets it does not see.

use aya_ebpf::{bindings::__sk_buff, btf_maps::lpm_trie::Key};
use skep_abi::{
    Be16, Ip, Metric, NAT_FORWARD, PROTO_ICMP, PROTO_ICMPV6, REMOTE_TUNNEL, SCOPE_EXTERNAL, SVC_ELSEWHERE,
    SVC_EXTERNAL, SVC_NODE_PORT, SVC_SOURCES, Source, Svc, SvcKey,
};
use skep_logic::{
    Drawn, Frame, Last, Malformed, Opened, Part, Picked, find, flow_hash, forget, is_service_address, pick,
};

use crate::checked::{MALFORMED, arguments, code, verdict};
use crate::maps::{NAT, SOURCES};
use crate::nat::{Flows, Subject, enter, is_known, subject, translate};
use crate::{Kernel, Skb, config, count, endpoint, is_of_stack, refuse, remote};

/// Why a packet is refused: nothing is at its port.
const NO_PORT: u16 = 0;

/// The packet goes to a backend now. Neither this nor the next is a verdict of tc.
pub const TRANSLATED: i32 = 1_000;
/// The packet is for no service, and as it was.
pub const NOT_SERVICE: i32 = 1_001;

/// Sends a packet to a backend of the service that it is for: [`TRANSLATED`], [`NOT_SERVICE`], or what becomes of it instead.
#[inline(always)]
pub fn serve(skb: &Skb, frame: &Frame, inside: bool) -> Result<i32, Malformed> {
    verdict(serve_packet(skb.raw(), frame, inside.into()))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn serve_packet(skb: *mut __sk_buff, frame: *const Frame, inside: u32) -> i32 {
    arguments!(frame or MALFORMED);
    code(dispatch(&Skb::of(skb), frame, inside != 0))
}

#[inline(always)]
fn dispatch(skb: &Skb, frame: &Frame, inside: bool) -> Result<i32, Malformed> {
    let Some(subject) = subject(skb, frame, NAT_FORWARD)? else { return Ok(NOT_SERVICE) };
    subject.known = is_known(subject);
    if !subject.opens {
        let ours = subject.known && subject.flow.service != 0;
        return if ours { hand_on(skb, frame, subject, inside) } else { Ok(NOT_SERVICE) };
    }
    let mut begun = find_service(subject, inside.into());
    if begun == NEW {
        begun = pick_backend(subject, inside.into());
    }
    match begun {
        KNOWN => {
            renew(subject);
            hand_on(skb, frame, subject, inside)
        }
        NEW if !direct(skb.ifindex(), subject, inside) => Ok(NOT_SERVICE),
        NEW => match enter(subject) {
            Opened::Yes => hand_on(skb, frame, subject, inside),
            Opened::NoPort => Ok(refuse(Metric::DropNatPorts, skb.len())),
            Opened::Full => Ok(refuse(Metric::DropTableFull, skb.len())),
        },
        ADDRESS if is_whole_echo(frame) => skb.echo(frame, inside),
        ADDRESS => skb.reject(frame, NO_PORT, inside),
        CLOSED => Ok(refuse(Metric::DropSource, skb.len())),
        ELSEWHERE => Ok(refuse(Metric::DropNoLocalBackend, skb.len())),
        NO_BACKEND => {
            count(Metric::DropNoBackend, skb.len());
            skb.reject(frame, NO_PORT, inside)
        }
        RACED => Ok(refuse(Metric::DropBackendRace, skb.len())),
        _ => Ok(NOT_SERVICE),
    }
}

// Whose packet it is that may begin a flow.
/// Nobody's.
const NOBODYS: i32 = 0;
/// Of a flow that goes on as it was.
const KNOWN: i32 = 1;
/// Of one that is to be entered, with the backend that was chosen.
const NEW: i32 = 2;
/// A service's address has no such port.
const ADDRESS: i32 = 3;
/// The caller may not have it.
const CLOSED: i32 = 4;
/// All backends are on other nodes, and policy leaves those out.
const ELSEWHERE: i32 = 5;
/// There is no backend.
const NO_BACKEND: i32 = 6;
/// Every attempt met a row of another service.
const RACED: i32 = 7;

/// Whether what opens a flow is an echo request that can be answered in its place: of one in parts, the sum over all is not known here.
#[inline(always)]
fn is_whole_echo(frame: &Frame) -> bool {
    let ip = &frame.ip;
    ip.part == Part::Whole && (ip.proto == PROTO_ICMP || ip.proto == PROTO_ICMPV6)
}

#[inline(always)]
fn hand_on(skb: &Skb, frame: &Frame, subject: &Subject, inside: bool) -> Result<i32, Malformed> {
    // Told before it is translated, the client reads of its own packet, and from whom it knows.
    if !inside && let Some(mtu) = exceeds(skb, &subject.flow.dst) {
        if frame.ip.v4 && !frame.ip.unfragmented {
            return Ok(refuse(Metric::DropNoRoute, skb.len()));
        }
        return skb.reject(frame, mtu, false);
    }
    translate(skb, frame, subject)?;
    count(if inside { Metric::ServiceForward } else { Metric::NodePortForward }, skb.len());
    Ok(TRANSLATED)
}

/// Finds the service. What is kept of it is in the subject.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_service(subject: *mut Subject, inside: u32) -> i32 {
    arguments!(mut subject or NOBODYS);
    let inside = inside != 0;
    let kernel = if inside { Kernel::at_pod() } else { Kernel::at_link() };
    let (addr, port, proto) = (subject.key.dst, subject.key.dst_port, subject.key.proto);
    subject.service = SvcKey { addr, port, proto, scope: SCOPE_EXTERNAL };
    if !find(&kernel, &mut subject.service, &mut subject.picked.head) {
        return if is_service_address(&kernel, addr) { ADDRESS } else { NOBODYS };
    }
    let head = &subject.picked.head;
    if inside {
        return NEW;
    }
    if head.flags & (SVC_NODE_PORT | SVC_EXTERNAL) == 0 {
        return NOBODYS;
    }
    if may_call(head, &subject.key.src) { NEW } else { CLOSED }
}

/// Chooses a backend of the service. A datagram of a flow that is known stays with its own while that is listed.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pick_backend(subject: *mut Subject, inside: u32) -> i32 {
    arguments!(mut subject or NOBODYS);
    let Subject { key, flow, service, picked, .. } = subject;
    let head = &picked.head;
    let known = subject.known && flow.service == head.service;
    let last = Last { known, addr: flow.dst, port: flow.dst_port, row: flow.row };
    let mut kernel = Kernel::at_link();
    if inside == 0 && head.slots != 0 {
        let port = if head.affinity_timeout_s == 0 { key.src_port } else { Be16::new(0) };
        kernel.hash = Some(flow_hash(service, &key.src, port));
    }
    match pick(&kernel, service, picked, &key.src, last) {
        Drawn::Backend if known && flow.dst == picked.backend.addr && flow.dst_port == picked.backend.port => KNOWN,
        Drawn::Backend => NEW,
        Drawn::NoBackend if picked.head.flags & SVC_ELSEWHERE != 0 => ELSEWHERE,
        Drawn::NoBackend => NO_BACKEND,
        Drawn::Raced => RACED,
        Drawn::NotService => NOBODYS,
    }
}

/// Whether a caller outside may have a service.
#[inline(always)]
fn may_call(head: &Svc, client: &Ip) -> bool {
    head.flags & SVC_SOURCES == 0
        || SOURCES.get(&Key::new(Source::BITS, Source { service: head.service, addr: *client })).is_some()
}

/// Notes the row in which a flow's backend stands now.
#[inline(always)]
fn renew(subject: &Subject) {
    if subject.flow.row != subject.picked.row
        && let Some(flow) = NAT.get_ptr_mut(&subject.key)
    {
        // SAFETY: the pointer is into the element, and one aligned word is written, which readers take or leave.
        unsafe { (*flow).row = subject.picked.row };
    }
}

/// Turns the flow into that to the backend which was chosen. The backend sees the client where its answers come by here anyway: where it is on
/// this node, or the client is. A pod that is sent to itself sees the node.
#[inline(always)]
fn direct(ifindex: u32, subject: &mut Subject, inside: bool) -> bool {
    let Some(config) = config() else { return false };
    let Subject { key, flow, picked: Picked { backend, row, .. }, known, outside, keep, .. } = subject;
    if *known {
        forget(&Flows, key, flow);
    }
    (flow.dst, flow.dst_port) = (backend.addr, backend.port);
    (flow.service, flow.row) = (backend.service, *row);
    flow.ifindex = if inside { 0 } else { ifindex };
    outside.addr = if key.dst.is_v4() { config.node_v4 } else { config.node_v6 };
    (outside.port_min, outside.port_max) = (config.nat_port_min, config.nat_port_max);
    *keep = if inside { backend.addr != key.src } else { is_here(&backend.addr) };
    true
}

/// What the tunnel takes, where the packet has to go through it and is larger.
#[inline(always)]
fn exceeds(skb: &Skb, dst: &Ip) -> Option<u16> {
    let config = config().filter(|config| config.overlay != 0)?;
    let remote = remote(dst).filter(|remote| remote.flags & REMOTE_TUNNEL != 0)?;
    if remote.node.is_none() { None } else { skb.exceeds(config.overlay) }
}

/// Whether what has an address is on this node: a pod, or the node itself.
#[inline(always)]
pub fn is_here(addr: &Ip) -> bool {
    endpoint(addr).is_some() || is_of_stack(addr)
}
