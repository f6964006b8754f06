//! What the programs need to know of their node.

/// Flag of [`Config::flags`]: programs write their debug lines to `AYA_LOGS`.
pub const CONFIG_DEBUG: u32 = 1 << 0;

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
    /// Zero.
    pub pad: u32,
}
