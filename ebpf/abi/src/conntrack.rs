//! Flows whose packets are translated: node ports reached from outside.

use crate::{Be16, Ip4};

/// Direction of [`CtKeyV4::dir`]: from the client, as it arrives.
pub const CT_FORWARD: u8 = 0;
/// Direction of [`CtKeyV4::dir`]: from the backend, as it arrives.
pub const CT_REVERSE: u8 = 1;

/// Key of `CT_V4`: a packet's tuple before translation, and its direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CtKeyV4 {
    /// Source address.
    pub src: Ip4,
    /// Destination address.
    pub dst: Ip4,
    /// Source port.
    pub src_port: Be16,
    /// Destination port.
    pub dst_port: Be16,
    /// IANA protocol number.
    pub proto: u8,
    /// [`CT_FORWARD`] or [`CT_REVERSE`].
    pub dir: u8,
    /// Zero.
    pub pad: [u8; 2],
}

/// Value of `CT_V4`: the destination to write in the forward direction, the source in the reverse one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CtV4 {
    /// Address to write.
    pub addr: Ip4,
    /// Port to write.
    pub port: Be16,
    /// Zero.
    pub pad: [u8; 2],
    /// Service that the flow belongs to.
    pub service: u32,
    /// Row that the backend was last seen in.
    pub row: u32,
    /// Link that the client is behind.
    pub ifindex: u32,
    /// Reserved for the state of the flow; 0.
    pub state: u32,
}
