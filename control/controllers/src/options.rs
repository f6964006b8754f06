//! Settings.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

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
    /// `serviceaccount-controller`
    ServiceAccount,
    /// `root-ca-certificate-publisher-controller`
    RootCaPublisher,
}

/// A name that no controller has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no controller {0:?}")]
pub struct UnknownController(pub String);

impl Controller {
    /// All there are.
    pub const ALL: [Self; 10] = [
        Self::Deployment,
        Self::ReplicaSet,
        Self::EndpointSlice,
        Self::Endpoints,
        Self::Namespace,
        Self::GarbageCollector,
        Self::NodeLifecycle,
        Self::PodGarbageCollector,
        Self::ServiceAccount,
        Self::RootCaPublisher,
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
            Self::ServiceAccount => "serviceaccount-controller",
            Self::RootCaPublisher => "root-ca-certificate-publisher-controller",
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

/// Settings of all controllers.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Controllers that are left to someone else.
    pub disabled: BTreeSet<Controller>,
    /// The certificate of the cluster's authority, for `kube-root-ca.crt`. Without it none is published.
    pub ca_pem: Option<String>,
    /// When a node counts as gone.
    pub node_health: NodeHealth,
    /// Work is only done while this is true, e.g. while leading. `None` is always.
    pub gate: Option<watch::Receiver<bool>>,
}
