//! The maps: names, kinds, layouts, flags and default sizes, for the programs and for the check before a pinned one is adopted.

use crate::{
    Affinity, AffinityKey, Backend, BlockPrefix, Config, Counter, Ct, CtKey, Endpoint, FragmentKey, FragmentPorts, Ip,
    MaglevRow, Metric, Name, NameKey, NatFlow, NatKey, Origin, Peer, PolicyEpoch, PolicyPrefix, PolicyRow, PrefixKey,
    Remote, SockOrigin, SourcePrefix, Svc, SvcKey, UdpOriginKey,
};

/// Raised with every change of a layout or of a meaning in this crate.
pub const ABI_VERSION: u32 = 4;

/// `BPF_F_NO_PREALLOC`.
pub const F_NO_PREALLOC: u32 = 1;
/// `BPF_F_MMAPABLE`.
pub const F_MMAPABLE: u32 = 1 << 10;

/// Default sizes, in entries.
pub mod size {
    /// `SVC`.
    pub const SVC: usize = 65_536;
    /// `BACKENDS`.
    pub const BACKENDS: usize = 262_144;
    /// `MAGLEV`, four slots each: tables of some 250 Services of 25 backends.
    pub const MAGLEV: usize = 262_144;
    /// `UDP_ORIGIN`.
    pub const UDP_ORIGIN: usize = 65_536;
    /// `AFFINITY`.
    pub const AFFINITY: usize = 65_536;
    /// `ENDPOINTS`.
    pub const ENDPOINTS: usize = 4_096;
    /// `IPCACHE`: three rows a node and family, and as many CIDRs as an operator lists.
    pub const IPCACHE: usize = 65_536;
    /// `NAT`, both directions counted.
    pub const NAT: usize = 196_608;
    /// `SOURCES`.
    pub const SOURCES: usize = 65_536;
    /// `NODE_ADDRS`: the node's own, and those of its pods where their network is somebody else's.
    pub const NODE_ADDRS: usize = 2_048;
    /// `NAMES`.
    pub const NAMES: usize = 131_072;
    /// `IDENTITIES`.
    pub const IDENTITIES: usize = 262_144;
    /// `BLOCKS`.
    pub const BLOCKS: usize = 65_536;
    /// `POLICY`.
    pub const POLICY: usize = 1_048_576;
    /// `CT`.
    pub const CT: usize = 262_144;
    /// `CT_BRIEF`.
    pub const CT_BRIEF: usize = 65_536;
    /// `CT_SHARE`: more than `ENDPOINTS` has ids.
    pub const CT_SHARE: usize = 8_192;
    /// `FRAGMENTS`.
    pub const FRAGMENTS: usize = 8_192;
}

/// `bpf_map_type` of the kernel, those in use.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_HASH`
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY`
    Array = 2,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`
    PerCpuArray = 6,
    /// `BPF_MAP_TYPE_LRU_HASH`
    LruHash = 9,
    /// `BPF_MAP_TYPE_LPM_TRIE`
    LpmTrie = 11,
    /// `BPF_MAP_TYPE_SK_STORAGE`
    SkStorage = 24,
    /// `BPF_MAP_TYPE_RINGBUF`
    RingBuf = 27,
}

impl MapKind {
    /// Its name as `bpftool` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Array => "array",
            Self::PerCpuArray => "percpu_array",
            Self::LruHash => "lru_hash",
            Self::LpmTrie => "lpm_trie",
            Self::SkStorage => "sk_storage",
            Self::RingBuf => "ringbuf",
        }
    }
}

/// What a map must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// Its name, which is also that of its pin.
    pub name: &'static str,
    /// Its type.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// `BPF_F_*` flags.
    pub flags: u32,
    /// Entries where nothing else is asked for; of a ring buffer, its bytes.
    pub entries: u32,
}

const fn map<K, V>(name: &'static str, kind: MapKind, flags: u32, entries: usize) -> MapSpec {
    MapSpec {
        name,
        kind,
        key_size: size_of::<K>() as u32,
        value_size: size_of::<V>() as u32,
        flags,
        entries: entries as u32,
    }
}

/// Service heads.
pub const SVC: MapSpec = map::<SvcKey, Svc>("SVC", MapKind::Hash, 0, size::SVC);
/// Backend rows, in ranges that the heads name.
pub const BACKENDS: MapSpec = map::<u32, Backend>("BACKENDS", MapKind::Array, F_MMAPABLE, size::BACKENDS);
/// Which backend a flow from outside goes to, in ranges that the heads name.
pub const MAGLEV: MapSpec = map::<u32, MaglevRow>("MAGLEV", MapKind::Array, F_MMAPABLE, size::MAGLEV);
/// Who may call the services that say so.
pub const SOURCES: MapSpec = map::<SourcePrefix, u32>("SOURCES", MapKind::LpmTrie, F_NO_PREALLOC, size::SOURCES);
/// A socket's latest translation.
pub const SOCK_ORIGIN: MapSpec = map::<i32, SockOrigin>("SOCK_ORIGIN", MapKind::SkStorage, F_NO_PREALLOC, 0);
/// Earlier translations of unconnected UDP sockets, and those of connected ones.
pub const UDP_ORIGIN: MapSpec = map::<UdpOriginKey, Origin>("UDP_ORIGIN", MapKind::LruHash, 0, size::UDP_ORIGIN);
/// Which backend a client of a service with session affinity had last.
pub const AFFINITY: MapSpec = map::<AffinityKey, Affinity>("AFFINITY", MapKind::LruHash, 0, size::AFFINITY);
/// Endpoints of this node.
pub const ENDPOINTS: MapSpec = map::<Ip, Endpoint>("ENDPOINTS", MapKind::Hash, 0, size::ENDPOINTS);
/// Prefixes of the cluster: whose they are, and how packets get there.
pub const IPCACHE: MapSpec = map::<PrefixKey, Remote>("IPCACHE", MapKind::LpmTrie, F_NO_PREALLOC, size::IPCACHE);
/// Translated flows.
pub const NAT: MapSpec = map::<NatKey, NatFlow>("NAT", MapKind::LruHash, 0, size::NAT);
/// The node's own addresses, where node ports answer.
pub const NODE_ADDRS: MapSpec = map::<Ip, u32>("NODE_ADDRS", MapKind::Hash, 0, size::NODE_ADDRS);
/// Pods of the cluster.
pub const IDENTITIES: MapSpec = map::<Ip, Peer>("IDENTITIES", MapKind::Hash, F_NO_PREALLOC, size::IDENTITIES);
/// Address blocks that policies speak of.
pub const BLOCKS: MapSpec = map::<BlockPrefix, u32>("BLOCKS", MapKind::LpmTrie, F_NO_PREALLOC, size::BLOCKS);
/// Allowed traffic.
pub const POLICY: MapSpec = map::<PolicyPrefix, PolicyRow>("POLICY", MapKind::LpmTrie, F_NO_PREALLOC, size::POLICY);
/// What the flow tables need to know of the policy tables.
pub const POLICY_STATE: MapSpec = map::<u32, PolicyEpoch>("POLICY_STATE", MapKind::Array, 0, 1);
/// Answered flows of policed endpoints. Nothing is evicted here.
pub const CT: MapSpec = map::<CtKey, Ct>("CT", MapKind::Hash, F_NO_PREALLOC, size::CT);
/// Their beginnings and ends, and what is beyond an endpoint's share.
pub const CT_BRIEF: MapSpec = map::<CtKey, Ct>("CT_BRIEF", MapKind::LruHash, 0, size::CT_BRIEF);
/// Entries of `CT` by the endpoint that opened them.
pub const CT_SHARE: MapSpec = map::<u32, u32>("CT_SHARE", MapKind::Array, 0, size::CT_SHARE);
/// Ports of datagrams whose fragments are on their way.
pub const FRAGMENTS: MapSpec = map::<FragmentKey, FragmentPorts>("FRAGMENTS", MapKind::LruHash, 0, size::FRAGMENTS);
/// Settings of the programs.
pub const CONFIG: MapSpec = map::<u32, Config>("CONFIG", MapKind::Array, 0, 1);
/// Counters.
pub const METRICS: MapSpec = map::<u32, Counter>("METRICS", MapKind::PerCpuArray, 0, Metric::ROWS as usize);
/// Names of ids, for people.
pub const NAMES: MapSpec = map::<NameKey, Name>("NAMES", MapKind::Hash, F_NO_PREALLOC, size::NAMES);
/// Debug lines of the programs; its name is that of the logging library.
pub const LOGS: MapSpec =
    MapSpec { name: "AYA_LOGS", kind: MapKind::RingBuf, key_size: 0, value_size: 0, flags: 0, entries: 1 << 17 };

/// Every map of a node.
pub const MAPS: [MapSpec; 23] = [
    SVC,
    BACKENDS,
    MAGLEV,
    SOURCES,
    SOCK_ORIGIN,
    UDP_ORIGIN,
    AFFINITY,
    ENDPOINTS,
    IPCACHE,
    NAT,
    NODE_ADDRS,
    CONFIG,
    METRICS,
    NAMES,
    LOGS,
    IDENTITIES,
    BLOCKS,
    POLICY,
    POLICY_STATE,
    CT,
    CT_BRIEF,
    CT_SHARE,
    FRAGMENTS,
];
