//! Where callers may be sent: traffic policies, and the hints of topology-aware routing (KEP-2433, KEP-3015).

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::Endpoint;

use crate::spec::{Backend, BackendState};

/// The node that the tables are for. It does not change while they live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Name of the Node object.
    pub name: String,
    /// Its zone, by the label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// The addresses at which pods' ports of the node answer, loopback among them.
    pub addresses: Vec<IpAddr>,
}

/// `internalTrafficPolicy` or `externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    /// To any backend.
    #[default]
    Cluster,
    /// To backends of this node alone.
    Local,
}

impl Policy {
    pub(crate) fn of(text: Option<&str>) -> Self {
        if text == Some("Local") { Self::Local } else { Self::Cluster }
    }
}

/// Where an endpoint is, as seen from this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// On this node.
    local: bool,
    /// Whether its hints name this zone; `None` where it has none for zones.
    zone: Option<bool>,
    /// Whether its hints name this node; `None` where it has none for nodes.
    node: Option<bool>,
}

impl Place {
    pub(crate) fn is_local(&self) -> bool {
        self.local
    }

    pub(crate) fn of(endpoint: &Endpoint, node: &NodeIdentity) -> Self {
        let hints = endpoint.hints.as_ref();
        let zones = hints.and_then(|hints| hints.for_zones.as_deref()).filter(|zones| !zones.is_empty());
        let nodes = hints.and_then(|hints| hints.for_nodes.as_deref()).filter(|nodes| !nodes.is_empty());
        Self {
            local: endpoint.node_name.as_deref() == Some(&node.name),
            zone: zones.map(|zones| zones.iter().any(|zone| node.zone.as_ref() == Some(&zone.name))),
            node: nodes.map(|nodes| nodes.iter().any(|one| one.name == node.name)),
        }
    }
}

/// The backends that a policy leaves. Hints count only where every active backend has one of a sort and one of them is meant for
/// here, so that half-written hints never leave a caller without backends.
pub(crate) fn select(policy: Policy, candidates: impl Iterator<Item = (Backend, Place)> + Clone) -> Vec<Backend> {
    let active =
        candidates.clone().filter(|(backend, _)| backend.state == BackendState::Active).map(|(_, place)| place);
    let hint = |pick: fn(&Place) -> Option<bool>| {
        let mut hints = active.clone().map(|place| pick(&place));
        hints.clone().all(|hint| hint.is_some()) && hints.any(|hint| hint == Some(true))
    };
    let hinted: Option<fn(&Place) -> Option<bool>> = if policy == Policy::Local {
        None
    } else if hint(|place| place.node) {
        Some(|place| place.node)
    } else if hint(|place| place.zone) {
        Some(|place| place.zone)
    } else {
        None
    };
    let keep = |backend: &Backend, place: &Place| match (policy, hinted) {
        (Policy::Local, _) => place.local,
        (Policy::Cluster, Some(pick)) => backend.state != BackendState::Active || pick(place) == Some(true),
        (Policy::Cluster, None) => true,
    };
    candidates.filter(|(backend, place)| keep(backend, place)).map(|(backend, _)| backend).collect()
}
