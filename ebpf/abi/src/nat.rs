//! Flows that are translated: of pods that leave the cluster under the node's address, and of clients that were sent to a backend.

use crate::{Be16, Ip};

/// Direction of [`NatKey::dir`]: from whoever opened the flow.
pub const NAT_FORWARD: u8 = 0;
/// Direction of [`NatKey::dir`]: the answers. An element of this direction is what holds a port: it is made only where there is none, so
/// that no two flows share one.
pub const NAT_REVERSE: u8 = 1;

/// Key of `NAT`: a packet's tuple before translation, and its direction. The identifier of an ICMP echo stands for the port of
/// whoever asked; the other one is 0.
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
    /// [`NAT_FORWARD`] or [`NAT_REVERSE`].
    pub dir: u8,
    /// Zero.
    pub pad: [u8; 2],
}

/// Value of `NAT`: the tuple to write. The two elements of a flow mirror each other.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatFlow {
    /// When the flow's other element was last seen to be there, in nanoseconds since boot.
    pub checked_ns: u64,
    /// Source address.
    pub src: Ip,
    /// Destination address.
    pub dst: Ip,
    /// Source port.
    pub src_port: Be16,
    /// Destination port.
    pub dst_port: Be16,
    /// Service that the flow belongs to; 0 for a pod's flow out of the cluster.
    pub service: u32,
    /// Row that its backend was last seen in.
    pub row: u32,
    /// Link that the client is behind; 0 for a pod of this node.
    pub ifindex: u32,
}
