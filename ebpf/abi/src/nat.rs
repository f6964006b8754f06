//! Flows of pods that leave the cluster under the node's address.

use crate::{Be16, Ip};

/// Direction of [`NatKey::dir`]: from the pod, as it leaves.
pub const NAT_EGRESS: u8 = 0;
/// Direction of [`NatKey::dir`]: to the node, as it comes back. An element of this direction is what holds a port: it is made only where
/// there is none, so that no two flows share one.
pub const NAT_INGRESS: u8 = 1;

/// Key of `NAT`: a packet's tuple before translation, and its direction. The identifier of an ICMP echo stands for the port on the
/// pod's side; the other one is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NatKey {
    /// Source address.
    pub src: Ip,
    /// Destination address.
    pub dst: Ip,
    /// Source port.
    pub src_port: Be16,
    /// Destination port.
    pub dst_port: Be16,
    /// IANA protocol number.
    pub proto: u8,
    /// [`NAT_EGRESS`] or [`NAT_INGRESS`].
    pub dir: u8,
    /// Zero.
    pub pad: [u8; 2],
}

/// Value of `NAT`: the source to write on the way out, the destination on the way back.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatFlow {
    /// When the flow's other element was last seen to be there, in nanoseconds since boot.
    pub checked_ns: u64,
    /// Address to write.
    pub addr: Ip,
    /// Port to write.
    pub port: Be16,
    /// Zero.
    pub pad: [u8; 6],
}
