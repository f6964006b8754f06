//! Endpoints: what is reached on this node without its IP stack.

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Flag of [`Endpoint::flags`], set by programs: packets that it sent were translated one by one, so that what it gets may be an answer.
pub const EP_TRANSLATED: u32 = 1 << 8;

/// Value of `ENDPOINTS`, whose key is an [`crate::Ip`]: a pod with an address of either family has two rows, which differ in their key only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Interface index of the host side of its veth.
    pub ifindex: u32,
    /// Endpoint id, a key of `NAMES`.
    pub id: u32,
    /// Address of the host side.
    pub host_mac: Mac,
    /// Address of the pod's side.
    pub pod_mac: Mac,
    /// [`crate::EP_INGRESS`], [`crate::EP_EGRESS`], [`EP_TRANSLATED`].
    pub flags: u32,
}
