//! The maps, as `skep-abi` describes them. All are pinned, so that every program and its successor share them, but for those
//! at the end, each a place of one CPU's.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, SkStorage},
    macros::btf_map,
};
use skep_abi::{
    Affinity, AffinityKey, Backend, Config, Counter, Ct, CtKey, Endpoint, F_MMAPABLE, F_NO_PREALLOC, FragmentKey,
    FragmentPorts, Ip, MaglevRow, Metric, NatFlow, NatKey, Origin, Peer, PolicyEpoch, PolicyKey, PolicyRow, Remote,
    SockOrigin, Source, Svc, SvcKey, UdpOriginKey, size,
};
use skep_logic::{Frame, Reply};

use crate::nat::Subject;
use crate::policing::Scratch;

#[btf_map]
pub static SVC: HashMap<SvcKey, Svc, { size::SVC }> = HashMap::new();
#[btf_map]
pub static BACKENDS: Array<Backend, { size::BACKENDS }, { F_MMAPABLE as usize }> = Array::new();
#[btf_map]
pub static MAGLEV: Array<MaglevRow, { size::MAGLEV }, { F_MMAPABLE as usize }> = Array::new();
#[btf_map]
pub static SOURCES: LpmTrie<Source, u32, { size::SOURCES }> = LpmTrie::new();
#[btf_map]
pub static SOCK_ORIGIN: SkStorage<SockOrigin> = SkStorage::new();
#[btf_map]
pub static UDP_ORIGIN: LruHashMap<UdpOriginKey, Origin, { size::UDP_ORIGIN }> = LruHashMap::new();
#[btf_map]
pub static AFFINITY: LruHashMap<AffinityKey, Affinity, { size::AFFINITY }> = LruHashMap::new();
#[btf_map]
pub static ENDPOINTS: HashMap<Ip, Endpoint, { size::ENDPOINTS }> = HashMap::new();
#[btf_map]
pub static IPCACHE: LpmTrie<Ip, Remote, { size::IPCACHE }> = LpmTrie::new();
#[btf_map]
pub static NAT: LruHashMap<NatKey, NatFlow, { size::NAT }> = LruHashMap::new();
#[btf_map]
pub static NODE_ADDRS: HashMap<Ip, u32, { size::NODE_ADDRS }> = HashMap::new();
#[btf_map]
pub static CONFIG: Array<Config, 1> = Array::new();
#[btf_map]
pub static METRICS: PerCpuArray<Counter, { Metric::ROWS as usize }> = PerCpuArray::new();
#[btf_map]
pub static IDENTITIES: HashMap<Ip, Peer, { size::IDENTITIES }, { F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map]
pub static BLOCKS: LpmTrie<[u8; 16], u32, { size::BLOCKS }> = LpmTrie::new();
#[btf_map]
pub static POLICY: LpmTrie<PolicyKey, PolicyRow, { size::POLICY }> = LpmTrie::new();
#[btf_map]
pub static POLICY_STATE: Array<PolicyEpoch, 1> = Array::new();
#[btf_map]
pub static CT: HashMap<CtKey, Ct, { size::CT }, { F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map]
pub static CT_BRIEF: LruHashMap<CtKey, Ct, { size::CT_BRIEF }> = LruHashMap::new();
#[btf_map]
pub static CT_SHARE: Array<u32, { size::CT_SHARE }> = Array::new();
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentPorts, { size::FRAGMENTS }> = LruHashMap::new();
#[btf_map]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();
#[btf_map]
pub static FRAME: PerCpuArray<Frame, 1> = PerCpuArray::new();
/// What a translation looks at, for which the stack is too small. Nothing else runs on a CPU while a program on a link does.
#[btf_map]
pub static SUBJECT: PerCpuArray<Subject, 1> = PerCpuArray::new();
#[btf_map]
pub static REPLY: PerCpuArray<Reply, 1> = PerCpuArray::new();
