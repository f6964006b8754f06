//! The way of a pod's packet to other nodes and out of the cluster, past the node's stack.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_F_TUNINFO_IPV6, BPF_F_ZERO_CSUM_TX, BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_SKIP_NEIGH,
        bpf_fib_lookup, bpf_redir_neigh, bpf_tunnel_key,
    },
    helpers::{
        bpf_check_mtu, bpf_fib_lookup as fib_lookup, bpf_redirect, bpf_redirect_neigh, bpf_skb_get_tunnel_key,
        bpf_skb_set_tunnel_key,
    },
};
use skep_abi::{CONFIG_FOREIGN, Config, Ip, Metric, PROTO_TCP, REMOTE_TUNNEL, TUNNEL_MAC};
use skep_logic::{ETH_LEN, Frame, Malformed, Packet as _};

use crate::checked::{MALFORMED, arguments, code, verdict};
use crate::{NEXT, Skb, config, count, remote};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const UDP_LEN: usize = 8;
const CHECK_SEGMENTS: u64 = 1;
const TUNNEL_TTL: u8 = 64;
/// `PACKET_HOST`
const FOR_THIS_HOST: u32 = 0;

/// Sends a packet away from this node.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn leave(skb: *mut __sk_buff, frame: *const Frame) -> i32 {
    arguments!(frame or MALFORMED);
    match config() {
        Some(config) => code(Skb::of(skb).depart(frame, config)),
        None => NEXT,
    }
}

impl Skb {
    /// Another node, or outside of the cluster.
    #[inline(always)]
    pub fn leave(&self, frame: &Frame) -> Result<i32, Malformed> {
        verdict(leave(self.raw(), frame))
    }

    #[inline(always)]
    fn depart(&self, frame: &Frame, config: &Config) -> Result<i32, Malformed> {
        if config.overlay != 0
            && let Some(remote) = remote(&frame.ip.dst)
            && remote.flags & REMOTE_TUNNEL != 0
        {
            return self.tunnel(frame, &remote.node, config);
        }
        self.route(frame, config)
    }

    /// Sends the packet out of the node's link, to the next hop of its route. What has no such route, is too large for it or has no hop left
    /// goes to the stack, which has the right answer.
    #[inline(never)]
    fn route(&self, frame: &Frame, config: &Config) -> Result<i32, Malformed> {
        let ip = &frame.ip;
        // SAFETY: the struct is made of integers, for which zero is a value.
        let mut fib: bpf_fib_lookup = unsafe { core::mem::zeroed() };
        fib.ifindex = self.ifindex();
        fib.__bindgen_anon_1.tot_len = self.packet_len(frame)?;
        if ip.v4 {
            fib.family = AF_INET;
            fib.__bindgen_anon_3.ipv4_src = ip.src.v4().to_ne();
            fib.__bindgen_anon_4.ipv4_dst = ip.dst.v4().to_ne();
        } else {
            fib.family = AF_INET6;
            fib.__bindgen_anon_3.ipv6_src = ip.src.words();
            fib.__bindgen_anon_4.ipv6_dst = ip.dst.words();
        }
        let len = size_of::<bpf_fib_lookup>() as i32;
        // SAFETY: context and parameter block are valid for the call, and the length is the block's.
        let found = unsafe { fib_lookup(self.0.as_ptr(), &raw mut fib, len, BPF_FIB_LOOKUP_SKIP_NEIGH) };
        let ours = fib.ifindex == config.link || config.flags & CONFIG_FOREIGN != 0;
        if found != i64::from(BPF_FIB_LKUP_RET_SUCCESS) || !ours {
            count(Metric::PodToStack, self.len());
            return Ok(NEXT);
        }
        let (dst, src) = frame.macs();
        if !self.hop(frame, dst, src)? {
            return Ok(NEXT);
        }
        count(Metric::PodToLink, self.len());
        // SAFETY: as above; the look-up has filled in the next hop, of the family that it says.
        unsafe {
            let mut next: bpf_redir_neigh = core::mem::zeroed();
            next.nh_family = u32::from(fib.family);
            next.__bindgen_anon_1.ipv6_nh = fib.__bindgen_anon_4.ipv6_dst;
            Ok(bpf_redirect_neigh(fib.ifindex, &raw mut next, size_of::<bpf_redir_neigh>() as i32, 0) as i32)
        }
    }

    /// Bytes of the IP packet, or of each of those that a device will cut the buffer into.
    #[inline(always)]
    fn packet_len(&self, frame: &Frame) -> Result<u16, Malformed> {
        let segment = self.segment();
        if segment == 0 {
            return Ok(self.len().saturating_sub(ETH_LEN as u32).min(u32::from(u16::MAX)) as u16);
        }
        let transport = if frame.ip.proto == PROTO_TCP {
            let [words] = self.load::<1>(frame.ip.l4 + 12).ok_or(Malformed)?;
            (words >> 4) as usize * 4
        } else {
            UDP_LEN
        };
        Ok((frame.ip.l4 - ETH_LEN + transport) as u16 + segment as u16)
    }

    /// What a device takes, where the packet, or a segment of it, is larger.
    #[inline(always)]
    pub fn exceeds(&self, ifindex: u32) -> Option<u16> {
        let mut mtu = 0;
        // SAFETY: context and result are valid for the call.
        let fits = unsafe { bpf_check_mtu(self.0.as_ptr(), ifindex, &raw mut mtu, 0, CHECK_SEGMENTS) } == 0;
        if fits { None } else { Some(mtu as u16) }
    }

    /// Sends the packet to a node through the tunnel; too large a one goes to the stack, which answers or cuts it.
    #[inline(never)]
    fn tunnel(&self, frame: &Frame, node: &Ip, config: &Config) -> Result<i32, Malformed> {
        if self.exceeds(config.overlay).is_some() || !self.hop(frame, TUNNEL_MAC, TUNNEL_MAC)? {
            count(Metric::PodToStack, self.len());
            return Ok(NEXT);
        }
        // SAFETY: the struct is made of integers, for which zero is a value.
        let mut key: bpf_tunnel_key = unsafe { core::mem::zeroed() };
        key.tunnel_id = config.vni;
        key.tunnel_ttl = TUNNEL_TTL;
        let flags = if node.is_v4() {
            // In host order, unlike all others.
            key.__bindgen_anon_1.remote_ipv4 = u32::from_be(node.v4().to_ne());
            BPF_F_ZERO_CSUM_TX
        } else {
            key.__bindgen_anon_1.remote_ipv6 = node.words();
            BPF_F_TUNINFO_IPV6
        };
        let len = size_of::<bpf_tunnel_key>() as u32;
        // SAFETY: the buffer and the key are valid for the call, and the length is the key's.
        let set = unsafe { bpf_skb_set_tunnel_key(self.0.skb.skb, &raw mut key, len, u64::from(flags)) };
        if set != 0 {
            return Err(Malformed);
        }
        count(Metric::PodToTunnel, self.len());
        // SAFETY: the helper takes no pointer.
        Ok(unsafe { bpf_redirect(config.overlay, 0) as i32 })
    }

    /// The network identifier that the packet came through the tunnel with. Called rather than inlined, for its stack.
    #[inline(never)]
    pub fn tunnel_id(&self) -> Option<u32> {
        // SAFETY: the struct is made of integers, for which zero is a value.
        let mut key: bpf_tunnel_key = unsafe { core::mem::zeroed() };
        let len = size_of::<bpf_tunnel_key>() as u32;
        let mut get = |flags| {
            // SAFETY: the buffer and the key are valid for the call, and the length is the key's.
            unsafe { bpf_skb_get_tunnel_key(self.0.skb.skb, &raw mut key, len, flags) == 0 }
        };
        // A key must be asked for in the family that it has.
        let found = get(0) || get(u64::from(BPF_F_TUNINFO_IPV6));
        found.then_some(key.tunnel_id)
    }

    /// Takes the packet for this host's, whatever its Ethernet header says: inside the tunnel that means nothing.
    #[inline(always)]
    pub fn claim(&self) -> Result<(), Malformed> {
        self.0.change_type(FOR_THIS_HOST).map_err(|_| Malformed)
    }
}
