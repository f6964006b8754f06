//! Settings.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::watch;

/// A controller, by upstream's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// `deployment-controller`
    Deployment,
    /// `replicaset-controller`
    ReplicaSet,
    /// `endpointslice-controller`
    EndpointSlice,
    /// `endpoints-controller`
    Endpoints,
    /// `namespace-controller`
    Namespace,
    /// `garbage-collector-controller`
    GarbageCollector,
    /// `node-lifecycle-controller`
    NodeLifecycle,
    /// `pod-garbage-collector-controller`
    PodGarbageCollector,
    /// `clusterrole-aggregation-controller`
    ClusterRoleAggregation,
    /// `serviceaccount-controller`
    ServiceAccount,
    /// `serviceaccount-token-controller`
    LegacyToken,
    /// `root-ca-certificate-publisher-controller`
    RootCaPublisher,
    /// `persistentvolumeclaim-protection-controller`
    ClaimProtection,
    /// `persistentvolume-protection-controller`
    VolumeProtection,
    /// `resourcequota-controller`
    ResourceQuota,
    /// `node-ipam-controller`
    NodeIpam,
    /// `certificatesigningrequest-approving-controller`
    CsrApproving,
    /// `certificatesigningrequest-signing-controller`
    CsrSigning,
    /// `certificatesigningrequest-cleaner-controller`
    CsrCleaner,
}

/// A name that no controller has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no controller {0:?}")]
pub struct UnknownController(pub String);

impl Controller {
    /// All there are.
    pub const ALL: [Self; 19] = [
        Self::Deployment,
        Self::ReplicaSet,
        Self::EndpointSlice,
        Self::Endpoints,
        Self::Namespace,
        Self::GarbageCollector,
        Self::NodeLifecycle,
        Self::PodGarbageCollector,
        Self::ClusterRoleAggregation,
        Self::ServiceAccount,
        Self::LegacyToken,
        Self::RootCaPublisher,
        Self::ClaimProtection,
        Self::VolumeProtection,
        Self::ResourceQuota,
        Self::NodeIpam,
        Self::CsrApproving,
        Self::CsrSigning,
        Self::CsrCleaner,
    ];

    /// Upstream's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deployment => "deployment-controller",
            Self::ReplicaSet => "replicaset-controller",
            Self::EndpointSlice => "endpointslice-controller",
            Self::Endpoints => "endpoints-controller",
            Self::Namespace => "namespace-controller",
            Self::GarbageCollector => "garbage-collector-controller",
            Self::NodeLifecycle => "node-lifecycle-controller",
            Self::PodGarbageCollector => "pod-garbage-collector-controller",
            Self::ClusterRoleAggregation => "clusterrole-aggregation-controller",
            Self::ServiceAccount => "serviceaccount-controller",
            Self::LegacyToken => "serviceaccount-token-controller",
            Self::RootCaPublisher => "root-ca-certificate-publisher-controller",
            Self::ClaimProtection => "persistentvolumeclaim-protection-controller",
            Self::VolumeProtection => "persistentvolume-protection-controller",
            Self::ResourceQuota => "resourcequota-controller",
            Self::NodeIpam => "node-ipam-controller",
            Self::CsrApproving => "certificatesigningrequest-approving-controller",
            Self::CsrSigning => "certificatesigningrequest-signing-controller",
            Self::CsrCleaner => "certificatesigningrequest-cleaner-controller",
        }
    }
}

impl FromStr for Controller {
    type Err = UnknownController;

    fn from_str(name: &str) -> Result<Self, UnknownController> {
        Self::ALL
            .into_iter()
            .find(|controller| controller.name() == name)
            .ok_or_else(|| UnknownController(name.to_owned()))
    }
}

/// When a node counts as gone. The defaults are upstream's.
#[derive(Clone, Copy, Debug)]
pub struct NodeHealth {
    /// A Lease that was not renewed for so long makes its node's readiness unknown.
    pub grace: Duration,
    /// The same for a node that never reported.
    pub startup_grace: Duration,
    /// How often nodes are looked at.
    pub period: Duration,
}

impl Default for NodeHealth {
    fn default() -> Self {
        Self { grace: Duration::from_secs(40), startup_grace: Duration::from_secs(60), period: Duration::from_secs(5) }
    }
}

/// Where pods' addresses come from: a range of the cluster, cut into blocks, one for each node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodRange {
    pub(crate) cluster: IpNet,
    pub(crate) node_prefix_len: u8,
}

/// A range that cannot be cut so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "blocks of /{node_prefix_len} do not fit into {cluster}: their prefix must be 0 to {BLOCK_BITS_MAX} bits longer than its"
)]
pub struct PodRangeError {
    cluster: IpNet,
    node_prefix_len: u8,
}

/// A range has at most 2 to the power of this many blocks, as upstream's.
const BLOCK_BITS_MAX: u8 = 16;

impl PodRange {
    /// `cluster` in blocks with prefixes of `node_prefix_len`.
    ///
    /// # Errors
    /// Blocks larger than the range, longer than an address, or more than 65,536.
    pub fn new(cluster: IpNet, node_prefix_len: u8) -> Result<Self, PodRangeError> {
        let longer = node_prefix_len.checked_sub(cluster.prefix_len());
        let fits = longer.is_some_and(|bits| bits <= BLOCK_BITS_MAX) && node_prefix_len <= cluster.max_prefix_len();
        if !fits {
            return Err(PodRangeError { cluster, node_prefix_len });
        }
        Ok(Self { cluster: cluster.trunc(), node_prefix_len })
    }

    /// How many blocks there are.
    pub(crate) fn blocks(&self) -> u64 {
        1 << (self.node_prefix_len - self.cluster.prefix_len())
    }

    /// Bits of an address that say which one of its block it is.
    pub(crate) fn block_bits(&self) -> u8 {
        self.cluster.max_prefix_len() - self.node_prefix_len
    }
}

/// Signs certificate requests.
pub trait Sign: Send + Sync {
    /// A certificate for a PEM request whose subject and names were found to be right. It is for `usages`, valid for
    /// `lifetime` or for as long as the signer signs, whichever is shorter.
    ///
    /// # Errors
    /// What the request's owner is told.
    fn sign(&self, request_pem: &[u8], usages: &[&str], lifetime: Option<Duration>) -> Result<String, String>;
}

/// A shared [`Sign`].
#[derive(Clone)]
pub struct Signer(pub Arc<dyn Sign>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

/// Signs tokens for Secrets of the type `kubernetes.io/service-account-token`.
pub trait SignToken: Send + Sync {
    /// A token of the account of this name and UID, which ends with the Secret.
    ///
    /// # Errors
    /// Signing failed.
    fn sign(&self, namespace: &str, account: (&str, &str), secret: &str) -> Result<String, String>;
}

/// A shared [`SignToken`].
#[derive(Clone)]
pub struct TokenSigner(pub Arc<dyn SignToken>);

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSigner")
    }
}

/// Settings of all controllers.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Controllers that are left to someone else.
    pub disabled: BTreeSet<Controller>,
    /// The certificate of the cluster's authority, for `kube-root-ca.crt`. Without it none is published.
    pub ca_pem: Option<String>,
    /// When a node counts as gone.
    pub node_health: NodeHealth,
    /// Where nodes' pod ranges are taken from, one of each family; none leaves them to someone else.
    pub pod_ranges: Vec<PodRange>,
    /// Signs requests of the built-in signers. Without it none is signed.
    pub signer: Option<Signer>,
    /// Signs tokens that are kept in Secrets. Without it there are none.
    pub token_signer: Option<TokenSigner>,
    /// Work is only done while this is true, e.g. while leading. `None` is always.
    pub gate: Option<watch::Receiver<bool>>,
}
