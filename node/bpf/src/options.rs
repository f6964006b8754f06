//! What a node's datapath is to be.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use skep_abi::{BACKENDS, IPCACHE, MapSpec, NAMES, NAT, SVC};

/// What a node's datapath is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its maps and links are pinned: [`crate::pin_dir`], or any directory in a bpffs.
    pub pin_dir: PathBuf,
    /// The node's directory in cgroup2: its daemon and its pods are below.
    pub cgroup: PathBuf,
    /// The node's link, at which node ports are reached from outside; in the network namespace of the calling thread.
    pub link: Option<String>,
    /// The tunnel's device, in the same namespace; `None` where nodes reach each other's pods by routes.
    pub overlay: Option<String>,
    /// How pods' packets leave the cluster.
    pub masquerade: Masquerade,
    /// The node's address of each family, in whose place clients' packets go on to backends of other nodes.
    pub addresses: Vec<IpAddr>,
    /// Whether pods' network is somebody else's: then Services alone are served, at sockets and at the link.
    pub foreign_pods: bool,
    /// Node ports.
    pub node_ports: RangeInclusive<u16>,
    /// Sizes of maps that are created; an adopted map keeps its own, and most grow when they are full.
    pub sizes: Sizes,
}

/// How pods' packets leave the cluster: under an address of the node, each flow by a port of its own.
#[derive(Clone, Debug)]
pub struct Masquerade {
    /// An address of the node for each family that is masqueraded.
    pub addresses: Vec<IpAddr>,
    /// Ports that stand for pods' flows. Neither the node's own sockets nor node ports should choose from them.
    pub ports: RangeInclusive<u16>,
}

/// Sizes of the maps that hold more the larger the cluster, in entries.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Service heads.
    pub services: u32,
    /// Backends of all services.
    pub backends: u32,
    /// Translated flows, both directions counted.
    pub flows: u32,
    /// Prefixes of the cluster: each node's pods and addresses.
    pub prefixes: u32,
}

impl Options {
    /// Defaults: no link, no tunnel, nothing masqueraded, node ports 30000 to 32767, default sizes.
    pub fn new(pin_dir: impl Into<PathBuf>, cgroup: impl Into<PathBuf>) -> Self {
        Self {
            pin_dir: pin_dir.into(),
            cgroup: cgroup.into(),
            link: None,
            overlay: None,
            masquerade: Masquerade::default(),
            addresses: Vec::new(),
            foreign_pods: false,
            node_ports: 30_000..=32_767,
            sizes: Sizes::default(),
        }
    }
}

impl Default for Masquerade {
    /// No address. The ports are below those that Linux gives to sockets (32768 to 60999) and below node ports, and above those that a
    /// node's own services are known by.
    fn default() -> Self {
        Self { addresses: Vec::new(), ports: 10_000..=29_999 }
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self { services: SVC.entries, backends: BACKENDS.entries, flows: NAT.entries, prefixes: IPCACHE.entries }
    }
}

impl Sizes {
    /// Entries that the map is created with.
    pub(crate) fn of(&self, spec: &MapSpec) -> u32 {
        match spec.name {
            name if name == SVC.name => self.services,
            name if name == BACKENDS.name => self.backends,
            name if name == NAT.name => self.flows,
            name if name == IPCACHE.name => self.prefixes,
            name if name == NAMES.name => self.services.saturating_mul(2).max(spec.entries),
            _ => spec.entries,
        }
    }
}
