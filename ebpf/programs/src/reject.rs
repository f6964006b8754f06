//! Packets that are answered on the spot.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_redirect, bpf_redirect_peer, bpf_skb_change_tail},
};
use skep_abi::Metric;
use skep_logic::{
    Cause, ERROR_V4_LEN, ERROR_V6_LEN, ETH_LEN, Frame, Malformed, Packet as _, RESET_V4_LEN, RESET_V6_LEN, ReplyKind,
    refusal,
};

use crate::checked::{MALFORMED, arguments, code, verdict};
use crate::maps::REPLY;
use crate::{DROP, Skb, count};

const V4_ADDRESSES: usize = ETH_LEN + 12;
const V6_ADDRESSES: usize = ETH_LEN + 8;

/// Turns a packet into its refusal.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn reject(skb: *mut __sk_buff, frame: *const Frame, mtu: u16, inside: u32) -> i32 {
    arguments!(frame or MALFORMED);
    code(Skb::of(skb).into_refusal(frame, mtu, inside != 0))
}

/// Turns an echo request into its reply.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn echo(skb: *mut __sk_buff, frame: *const Frame, inside: u32) -> i32 {
    arguments!(frame or MALFORMED);
    code(Skb::of(skb).into_reply(frame, inside != 0))
}

impl Skb {
    /// Turns the packet into its refusal, and that back to where it came from: it is too big where `mtu` says how big it may be, and else
    /// for no port. What is not answered is dropped.
    #[inline(always)]
    pub fn reject(&self, frame: &Frame, mtu: u16, inside: bool) -> Result<i32, Malformed> {
        verdict(reject(self.raw(), frame, mtu, inside.into()))
    }

    /// Answers an echo request, in the place of the address that it was sent to.
    #[inline(always)]
    pub fn echo(&self, frame: &Frame, inside: bool) -> Result<i32, Malformed> {
        verdict(echo(self.raw(), frame, inside.into()))
    }

    #[inline(always)]
    fn into_refusal(&self, frame: &Frame, mtu: u16, inside: bool) -> Result<i32, Malformed> {
        let Some(reply) = REPLY.get_ptr_mut(0) else { return Ok(DROP) };
        // SAFETY: the row is this CPU's, and no other program on a link runs on it until this one has ended.
        let reply = unsafe { &mut *reply };
        refusal(self, frame, if mtu == 0 { Cause::Port } else { Cause::TooBig(mtu) }, reply)?;
        let bytes = &reply.bytes;
        match reply.kind {
            ReplyKind::Silence => return Ok(DROP),
            ReplyKind::ResetV4 => self.become_start::<RESET_V4_LEN>(bytes)?,
            ReplyKind::ResetV6 => self.become_start::<RESET_V6_LEN>(bytes)?,
            ReplyKind::ErrorV4 => self.become_start::<ERROR_V4_LEN>(bytes)?,
            ReplyKind::ErrorV6 => self.become_start::<ERROR_V6_LEN>(bytes)?,
        }
        count(Metric::Rejected, self.len());
        Ok(self.turn_round(inside))
    }

    #[inline(always)]
    fn into_reply(&self, frame: &Frame, inside: bool) -> Result<i32, Malformed> {
        let (dst, src) = frame.macs();
        let ip = &frame.ip;
        self.0.store(0, &src, 0).map_err(|_| Malformed)?;
        self.0.store(6, &dst, 0).map_err(|_| Malformed)?;
        // Sums do not mind the order of addresses.
        if ip.v4 {
            self.0.store(V4_ADDRESSES, &ip.dst.v4().0, 0).map_err(|_| Malformed)?;
            self.0.store(V4_ADDRESSES + 4, &ip.src.v4().0, 0).map_err(|_| Malformed)?;
        } else {
            self.0.store(V6_ADDRESSES, &ip.dst.0, 0).map_err(|_| Malformed)?;
            self.0.store(V6_ADDRESSES + 16, &ip.src.0, 0).map_err(|_| Malformed)?;
        }
        let [kind, code] = self.load::<2>(ip.l4).ok_or(Malformed)?;
        let reply = if ip.v4 { 0 } else { kind.wrapping_add(1) };
        let (from, to) = (u16::from_ne_bytes([kind, code]), u16::from_ne_bytes([reply, code]));
        self.0.l4_csum_replace(ip.l4 + 2, u64::from(from), u64::from(to), 2).map_err(|_| Malformed)?;
        self.0.store(ip.l4, &reply, 0).map_err(|_| Malformed)?;
        count(Metric::Echo, self.len());
        Ok(self.turn_round(inside))
    }

    #[inline(always)]
    fn become_start<const N: usize>(&self, bytes: &[u8; ERROR_V6_LEN]) -> Result<(), Malformed> {
        let start = bytes.first_chunk::<N>().ok_or(Malformed)?;
        // SAFETY: the buffer is this program's own, and no pointer into it is held.
        if unsafe { bpf_skb_change_tail(self.0.skb.skb, N as u32, 0) } != 0 {
            return Err(Malformed);
        }
        self.0.store(0, start, 0).map_err(|_| Malformed)
    }

    /// Back out of the link, or into the pod, past what its link would say of it.
    #[inline(always)]
    fn turn_round(&self, inside: bool) -> i32 {
        // SAFETY: the helpers take no pointer.
        unsafe {
            if inside { bpf_redirect_peer(self.ifindex(), 0) as i32 } else { bpf_redirect(self.ifindex(), 0) as i32 }
        }
    }
}
