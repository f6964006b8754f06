//! Whose an address is.

use aya_ebpf::btf_maps::lpm_trie::Key;
use skep_abi::{EP_TRANSLATED, Endpoint, Ip, Remote};
use skep_logic::Frame;

use crate::Skb;
use crate::maps::{ENDPOINTS, IPCACHE};

/// The pod of this node that has an address.
#[inline(always)]
pub fn endpoint(addr: &Ip) -> Option<Endpoint> {
    // SAFETY: the value is copied out at once.
    unsafe { ENDPOINTS.get(addr) }.copied()
}

/// The pod at whose veth a packet arrived, if it sent from an address of its own, of either kind.
#[inline(always)]
pub fn sent_by(skb: &Skb, frame: &Frame) -> Option<Endpoint> {
    let (_, mac) = frame.macs();
    endpoint(&frame.ip.src).filter(|own| own.ifindex == skb.ifindex() && own.pod_mac == mac)
}

/// Notes that packets of a pod are translated one by one, so that what it gets may be an answer to such.
#[inline(always)]
pub fn note_translated(own: &Endpoint, addr: &Ip) {
    if own.flags & EP_TRANSLATED == 0
        && let Some(endpoint) = ENDPOINTS.get_ptr_mut(addr)
    {
        // SAFETY: the pointer is into the map's element. The daemon replaces elements as a whole: then the next packet notes it again.
        unsafe { (*endpoint).flags |= EP_TRANSLATED };
    }
}

/// Where in the cluster an address is; `None` where it is outside.
#[inline(always)]
pub fn remote(addr: &Ip) -> Option<Remote> {
    IPCACHE.get(&Key::new(128, *addr)).copied()
}
