//! What kernel and user side share: map keys, values and events, names and sizes.
//!
//! Every type here is `repr(C)`, has no padding that the compiler chose, and has its size asserted below, because the
//! kernel compares and hashes keys as bytes. Addresses and ports are bytes in network order; all else is in host order.
//! A change of any layout raises [`ABI_VERSION`].

#![no_std]

mod affinity;
mod config;
mod endpoint;
mod flow;
mod ip;
mod ipcache;
mod map;
mod metric;
mod name;
mod nat;
mod net;
mod origin;
mod policy;
mod service;

pub use affinity::{Affinity, AffinityKey};
pub use config::{CONFIG_DEBUG, CONFIG_FOREIGN, Config, NODE_OWN, NODE_POD};
pub use endpoint::{EP_TRANSLATED, Endpoint, Mac};
pub use flow::{
    CT_ANSWERED, CT_DENIED, CT_FIN_HIGH, CT_FIN_LOW, CT_ORIGIN_LOW, CT_PRESENT, CT_RESET, CT_SHARE_MAX, Ct, CtKey,
};
pub use ip::Ip;
pub use ipcache::{OVERLAY_VNI, PrefixKey, REMOTE_NODE, REMOTE_PODS, REMOTE_TUNNEL, Remote, TUNNEL_MAC, TUNNEL_PORT};
pub use map::{
    ABI_VERSION, AFFINITY, BACKENDS, BLOCKS, CONFIG, CT, CT_BRIEF, CT_SHARE, ENDPOINTS, F_MMAPABLE, F_NO_PREALLOC,
    FRAGMENTS, IDENTITIES, IPCACHE, LOGS, MAGLEV, MAPS, METRICS, MapKind, MapSpec, NAMES, NAT, NODE_ADDRS, POLICY,
    POLICY_STATE, SOCK_ORIGIN, SOURCES, SVC, UDP_ORIGIN, size,
};
pub use metric::{Counter, Metric};
pub use name::{NAME_ENDPOINT, NAME_LEN_MAX, NAME_NODE, NAME_POLICY, NAME_SERVICE, Name, NameKey};
pub use nat::{NAT_FORWARD, NAT_REVERSE, NatFlow, NatKey};
pub use net::{Be16, Ip4, PROTO_ICMP, PROTO_ICMPV6, PROTO_SCTP, PROTO_TCP, PROTO_UDP};
pub use origin::{Origin, SockOrigin, UdpOriginKey};
pub use policy::{
    BlockPrefix, EP_EGRESS, EP_INGRESS, FRAGMENT_POLICED, FRAGMENT_TRANSLATED, FragmentKey, FragmentPorts,
    PEER_ANY_POD, PEER_ANYONE, POLICY_ALLOW, POLICY_BITS, POLICY_BITS_PEER, POLICY_BITS_PROTO, POLICY_DENY,
    POLICY_EGRESS, POLICY_INGRESS, Peer, PolicyEpoch, PolicyKey, PolicyPrefix, PolicyRow,
};
pub use service::{
    BACKEND_TERMINATING, Backend, MaglevRow, SCOPE_EXTERNAL, SCOPE_INTERNAL, SVC_ADDRESS, SVC_ELSEWHERE, SVC_EXTERNAL,
    SVC_NODE_PORT, SVC_SOURCES, SVC_TWO_SCOPES, Source, SourcePrefix, Svc, SvcKey,
};

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
    AffinityKey = 20,
    Affinity = 32,
    Ip4 = 4,
    Ip = 16,
    Be16 = 2,
    SvcKey = 20,
    Svc = 32,
    MaglevRow = 8,
    Backend = 24,
    Source = 20,
    SourcePrefix = 24,
    Endpoint = 24,
    PrefixKey = 20,
    Remote = 24,
    NatKey = 40,
    NatFlow = 56,
    SockOrigin = 44,
    UdpOriginKey = 32,
    Origin = 24,
    Config = 104,
    Counter = 16,
    NameKey = 8,
    Name = 256,
    PolicyKey = 12,
    PolicyPrefix = 16,
    PolicyRow = 8,
    Peer = 8,
    BlockPrefix = 20,
    PolicyEpoch = 4,
    CtKey = 40,
    Ct = 16,
    FragmentKey = 40,
    FragmentPorts = 4,
}
