//! A socket buffer as the packet that `skep-logic` reads, and the ways it goes on.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_redirect_neigh, bpf_redirect_peer, bpf_skb_load_bytes},
    programs::TcContext,
};
use skep_abi::{EP_TRANSLATED, Endpoint, Mac};
use skep_logic::{Frame, Malformed, Packet};

use crate::checked::{MALFORMED, arguments, code, verdict};
use crate::maps::FRAME;
use crate::{may_pass, reverse};

/// The next program on the link decides, and after the last one the stack.
pub const NEXT: i32 = -1;
/// The packet is dropped.
pub const DROP: i32 = 2;

/// A socket buffer at a tc hook.
pub struct Skb(pub(crate) TcContext);

impl Packet for Skb {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize, into: &mut [u8; N]) -> bool {
        // SAFETY: the buffer is valid for the whole program, and `into` for the `N` bytes that the helper writes.
        unsafe { bpf_skb_load_bytes(self.0.skb.skb.cast(), offset as u32, into.as_mut_ptr().cast(), N as u32) == 0 }
    }
}

/// Reads the headers of a packet: 1, or 0 where it carries something other than IP.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_frame(skb: *mut __sk_buff, frame: *mut Frame) -> i32 {
    arguments!(mut frame or MALFORMED);
    code(frame.read(&Skb::of(skb)).map(i32::from))
}

/// Hands a packet to the pod behind an endpoint.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hand_over(skb: *mut __sk_buff, frame: *const Frame, endpoint: *const Endpoint) -> i32 {
    arguments!(frame, endpoint or MALFORMED);
    code(Skb::of(skb).into_pod(frame, endpoint))
}

impl Skb {
    /// The packet of a context.
    #[inline(always)]
    pub const fn of(skb: *mut __sk_buff) -> Self {
        Self(TcContext::new(skb))
    }

    /// The context.
    #[inline(always)]
    pub(crate) const fn raw(&self) -> *mut __sk_buff {
        self.0.skb.skb
    }

    /// The packet's headers, kept off the stack, of which a program has 512 bytes: `None` where it carries something other than IP.
    #[inline(always)]
    pub fn frame<'f>(&self) -> Result<Option<&'f Frame>, Malformed> {
        let Some(frame) = FRAME.get_ptr_mut(0) else { return Ok(None) };
        let is_ip = verdict(read_frame(self.raw(), frame))? != 0;
        // SAFETY: the row is this CPU's, and no other program on a link runs on it until this one has ended.
        Ok(if is_ip { Some(unsafe { &*frame }) } else { None })
    }

    /// Hands a packet that comes from no pod of this node to the pod behind an endpoint, if policy lets it.
    #[inline(always)]
    pub fn deliver(&self, frame: &Frame, endpoint: &Endpoint) -> Result<i32, Malformed> {
        if may_pass(self, frame, None, Some(endpoint))? { self.answer(frame, endpoint) } else { Ok(DROP) }
    }

    /// Hands a packet to a pod, as from the service that it had asked where the packet is such an answer.
    #[inline(always)]
    pub fn answer(&self, frame: &Frame, endpoint: &Endpoint) -> Result<i32, Malformed> {
        if endpoint.flags & EP_TRANSLATED == 0 || reverse(self, frame)?.is_none() {
            return self.hand_over(frame, endpoint);
        }
        match self.frame()? {
            Some(frame) => self.hand_over(frame, endpoint),
            None => Err(Malformed),
        }
    }

    /// Hands the packet to the pod behind an endpoint, as a router would: one hop less, and new Ethernet addresses. A packet that has no
    /// hop left goes to the stack, which answers it.
    #[inline(always)]
    pub fn hand_over(&self, frame: &Frame, endpoint: &Endpoint) -> Result<i32, Malformed> {
        verdict(hand_over(self.raw(), frame, endpoint))
    }

    #[inline(always)]
    fn into_pod(&self, frame: &Frame, endpoint: &Endpoint) -> Result<i32, Malformed> {
        if !self.hop(frame, endpoint.pod_mac, endpoint.host_mac)? {
            return Ok(NEXT);
        }
        // SAFETY: the helper takes no pointer.
        Ok(unsafe { bpf_redirect_peer(endpoint.ifindex, 0) as i32 })
    }

    /// Sends the packet out of a link, to the next hop that its routes and neighbours give.
    #[inline(always)]
    pub(crate) fn send(&self, frame: &Frame, ifindex: u32) -> Result<i32, Malformed> {
        let (dst, src) = frame.macs();
        if !self.hop(frame, dst, src)? {
            return Ok(NEXT);
        }
        // SAFETY: a null parameter block of length 0 asks the helper to look the next hop up.
        Ok(unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as i32 })
    }

    /// Makes one hop of it; `false` where none is left, and then it is unchanged.
    #[inline(always)]
    pub(crate) fn hop(&self, frame: &Frame, dst: Mac, src: Mac) -> Result<bool, Malformed> {
        let Some(head) = frame.hop(dst, src) else { return Ok(false) };
        self.0.store(0, &head, 0).map_err(|_| Malformed)?;
        Ok(true)
    }

    /// Index of the link that the packet is on.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: the context is valid for the whole program.
        unsafe { (*self.0.skb.skb).ifindex }
    }

    /// Bytes of payload in each segment that the buffer stands for; 0 where it is one packet.
    #[inline(always)]
    pub(crate) fn segment(&self) -> u32 {
        // SAFETY: the context is valid for the whole program.
        unsafe { (*self.0.skb.skb).gso_size }
    }

    /// Bytes of the frame.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        self.0.len()
    }
}
