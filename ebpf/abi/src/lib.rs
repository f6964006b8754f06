//! What kernel and user side share: map keys, values and events, names and sizes.
//!
//! Every type here is `repr(C)`, has no padding that the compiler chose, and has its size asserted below, because the
//! kernel compares and hashes keys as bytes. Addresses and ports are bytes in network order; all else is in host order.
//! A change of any layout raises [`ABI_VERSION`].

#![no_std]

mod config;
mod conntrack;
mod endpoint;
mod ip;
mod ipcache;
mod map;
mod metric;
mod name;
mod nat;
mod net;
mod origin;
mod service;

pub use config::{CONFIG_DEBUG, Config};
pub use conntrack::{CT_FORWARD, CT_REVERSE, CtKeyV4, CtV4};
pub use endpoint::{Endpoint, Mac};
pub use ip::Ip;
pub use ipcache::{OVERLAY_VNI, PrefixKey, REMOTE_NODE, REMOTE_PODS, REMOTE_TUNNEL, Remote, TUNNEL_MAC, TUNNEL_PORT};
pub use map::{
    ABI_VERSION, BACKENDS_V4, CONFIG, CT_V4, ENDPOINTS, F_MMAPABLE, F_NO_PREALLOC, IPCACHE, LOGS, MAPS, METRICS,
    MapKind, MapSpec, NAMES, NAT, NODE_ADDRS, SOCK_ORIGIN, SVC_V4, UDP_ORIGIN, size,
};
pub use metric::{Counter, Metric};
pub use name::{NAME_ENDPOINT, NAME_LEN_MAX, NAME_NODE, NAME_SERVICE, Name, NameKey};
pub use nat::{NAT_EGRESS, NAT_INGRESS, NatFlow, NatKey};
pub use net::{Be16, Ip4, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP};
pub use origin::{Origin, SockOrigin, UdpOriginKey};
pub use service::{BACKEND_TERMINATING, BackendV4, SCOPE_EXTERNAL, SCOPE_INTERNAL, SVC_NODE_PORT, SvcKeyV4, SvcV4};

macro_rules! layout {
    ($($type:ty = $size:literal),+ $(,)?) => {
        $(const _: () = assert!(size_of::<$type>() == $size);)+
        $(
            // SAFETY: the type is `repr(C)`, made of integers and byte arrays only, and the assertion above with the
            // explicit padding fields leaves no undefined byte in it.
            #[cfg(feature = "user")]
            unsafe impl aya::Pod for $type {}
        )+
    };
}

layout! {
    Ip4 = 4,
    Ip = 16,
    Be16 = 2,
    SvcKeyV4 = 8,
    SvcV4 = 24,
    BackendV4 = 16,
    Endpoint = 24,
    PrefixKey = 20,
    Remote = 24,
    NatKey = 40,
    NatFlow = 32,
    CtKeyV4 = 16,
    CtV4 = 24,
    SockOrigin = 20,
    UdpOriginKey = 16,
    Origin = 12,
    Config = 72,
    Counter = 16,
    NameKey = 8,
    Name = 256,
}
