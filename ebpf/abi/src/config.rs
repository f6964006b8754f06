//! What the programs need to know of their node.

use crate::Ip;

/// Flag of [`Config::flags`]: programs write their debug lines to `AYA_LOGS`.
pub const CONFIG_DEBUG: u32 = 1 << 0;
/// Flag of [`Config::flags`]: pods' network is somebody else's, so that packets to backends leave by whatever link their routes name.
pub const CONFIG_FOREIGN: u32 = 1 << 1;

/// Value of `NODE_ADDRS`: an address of the node's own.
pub const NODE_OWN: u32 = 0;
/// Value of `NODE_ADDRS`: that of a pod on this node whose network is somebody else's: the stack knows the way.
pub const NODE_POD: u32 = 1;

/// The one row of `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Cookie of the node's network namespace: loopback is a node port's address there only, not inside pods.
    pub netns_cookie: u64,
    /// `CONFIG_*` flags.
    pub flags: u32,
    /// [`crate::ABI_VERSION`] of whoever wrote the maps.
    pub abi: u32,
    /// First node port, host order.
    pub node_port_min: u16,
    /// Last node port, host order.
    pub node_port_max: u16,
    /// First port of flows that leave the cluster under the node's address, host order.
    pub nat_port_min: u16,
    /// Last such port, host order; less than the first where nothing is masqueraded.
    pub nat_port_max: u16,
    /// Interface index of the node's link; 0 where there is none.
    pub link: u32,
    /// Interface index of the tunnel's device; 0 where there is none.
    pub overlay: u32,
    /// The tunnel's network identifier.
    pub vni: u32,
    /// Zero.
    pub pad: u32,
    /// The node's address in the source of IPv4 packets that leave the cluster; unspecified where it has none.
    pub masquerade_v4: Ip,
    /// The same for IPv6.
    pub masquerade_v6: Ip,
    /// The node's address for packets of clients that go on to a backend of another node; unspecified where it has none.
    pub node_v4: Ip,
    /// The same for IPv6.
    pub node_v6: Ip,
}
