//! A socket buffer as the packet that `skep-logic` reads, and the writes that keep its checksums right.

use aya_ebpf::{
    bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR},
    helpers::{bpf_redirect_neigh, bpf_redirect_peer},
    programs::TcContext,
};
use skep_abi::{Be16, Endpoint, Ip4, PROTO_UDP};
use skep_logic::{ETH_LEN, Frame, Ipv4, Malformed, Packet};

use crate::maps::FRAME;
use crate::may_pass;

/// The next program on the link decides, and after the last one the stack.
pub const NEXT: i32 = -1;
/// The packet is dropped.
pub const DROP: i32 = 2;

const IP_CHECKSUM: usize = ETH_LEN + 10;
const IP_SRC: usize = ETH_LEN + 12;
const IP_DST: usize = ETH_LEN + 16;

/// One end of a tuple.
#[derive(Clone, Copy)]
pub enum Field {
    /// Source address and port.
    Source,
    /// Destination address and port.
    Destination,
}

/// A socket buffer at a tc hook.
pub struct Skb<'a>(pub &'a TcContext);

impl Packet for Skb<'_> {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.load::<[u8; N]>(offset).ok()
    }
}

impl Skb<'_> {
    /// Rewrites one end of the tuple; `old` is what it is now. Works on partial checksums too, as a veth hands them on.
    #[inline(always)]
    pub fn rewrite(&self, ip: &Ipv4, field: Field, old: (Ip4, Be16), new: (Ip4, Be16)) -> Result<(), Malformed> {
        let (addr_at, port_at, checksum_at) = match (field, ip.proto) {
            (Field::Source, PROTO_UDP) => (IP_SRC, ip.l4, ip.l4 + 6),
            (Field::Destination, PROTO_UDP) => (IP_DST, ip.l4 + 2, ip.l4 + 6),
            (Field::Source, _) => (IP_SRC, ip.l4, ip.l4 + 16),
            (Field::Destination, _) => (IP_DST, ip.l4 + 2, ip.l4 + 16),
        };
        // UDP's zero means that there is no checksum, and must stay so.
        let keep_zero = if ip.proto == PROTO_UDP { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
        let (from, to) = (u64::from(old.0.to_ne()), u64::from(new.0.to_ne()));
        let pseudo = u64::from(BPF_F_PSEUDO_HDR) | keep_zero | 4;
        self.0.l4_csum_replace(checksum_at, from, to, pseudo).map_err(|_| Malformed)?;
        let (port_from, port_to) = (u64::from(old.1.to_ne()), u64::from(new.1.to_ne()));
        self.0.l4_csum_replace(checksum_at, port_from, port_to, keep_zero | 2).map_err(|_| Malformed)?;
        self.0.l3_csum_replace(IP_CHECKSUM, from, to, 4).map_err(|_| Malformed)?;
        self.0.store(addr_at, &new.0.0, 0).map_err(|_| Malformed)?;
        self.0.store(port_at, &new.1.bytes(), 0).map_err(|_| Malformed)
    }

    /// Hands a packet that comes from no pod of this node to the pod behind an endpoint, if policy lets it.
    #[inline(always)]
    pub fn deliver(&self, frame: &Frame, endpoint: &Endpoint) -> Result<i32, Malformed> {
        if may_pass(self, frame, None, Some(endpoint))? { self.hand_over(frame, endpoint) } else { Ok(DROP) }
    }

    /// Hands the packet to the pod behind an endpoint, as a router would: one hop less, and new Ethernet addresses. A packet that has no
    /// hop left goes to the stack, which answers it.
    #[inline(never)]
    pub fn hand_over(&self, frame: &Frame, endpoint: &Endpoint) -> Result<i32, Malformed> {
        let Some(head) = frame.hop(endpoint.pod_mac, endpoint.host_mac) else { return Ok(NEXT) };
        self.0.store(0, &head, 0).map_err(|_| Malformed)?;
        // SAFETY: the helper takes no pointer.
        Ok(unsafe { bpf_redirect_peer(endpoint.ifindex, 0) as i32 })
    }

    /// Sends the packet out of a link, to the next hop that its routes and neighbours give.
    #[inline(always)]
    pub fn send(&self, frame: &Frame, ifindex: u32) -> Result<i32, Malformed> {
        let (dst, src) = frame.macs();
        let Some(head) = frame.hop(dst, src) else { return Ok(NEXT) };
        self.0.store(0, &head, 0).map_err(|_| Malformed)?;
        // SAFETY: a null parameter block of length 0 asks the helper to look the next hop up.
        Ok(unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as i32 })
    }

    /// Index of the link that the packet is on.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: the context is valid for the whole program.
        unsafe { (*self.0.skb.skb).ifindex }
    }

    /// Bytes of the frame.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        self.0.len()
    }
}

/// Reads a packet's headers into this CPU's own row of a map: a program and all that it calls share 512 bytes of stack. They hold until
/// the next call.
#[inline(always)]
pub fn parse<'a>(skb: &Skb<'_>) -> Result<Option<&'a Frame>, Malformed> {
    let Some(slot) = FRAME.get_ptr_mut(0) else { return Err(Malformed) };
    // SAFETY: the row is this CPU's own, and no other program runs on it until this one has come to its verdict.
    let slot = unsafe { &mut *slot };
    match parse_into(skb, slot) {
        0 => Ok(Some(slot)),
        1 => Ok(None),
        _ => Err(Malformed),
    }
}

#[inline(never)]
fn parse_into(skb: &Skb<'_>, slot: &mut Frame) -> u32 {
    match Frame::parse(skb) {
        Ok(Some(frame)) => {
            *slot = frame;
            0
        }
        Ok(None) => 1,
        Err(Malformed) => 2,
    }
}
