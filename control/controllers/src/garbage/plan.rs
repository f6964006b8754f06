//! What to do with one object.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PropagationPolicy;

use super::graph::{FOREGROUND, Node, ORPHAN};

/// What is known of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnerState {
    /// It is there and stays, or goes without waiting.
    Solid,
    /// It waits for its dependents to go.
    Waiting,
    /// There is no such object.
    Absent,
}

/// An object and its surroundings.
pub(crate) struct Observed {
    pub(crate) node: Arc<Node>,
    pub(crate) owners: Vec<(OwnerReference, OwnerState)>,
    pub(crate) dependents: Vec<Arc<Node>>,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    Nothing,
    /// Delete it.
    Delete(Policy),
    /// Take away references to owners that are gone, or going.
    DropOwners(Vec<String>),
    /// Nothing blocks it any more.
    Finish(&'static str),
    /// Take the reference to it away from its dependents, then finish it.
    Orphan,
    /// Wake its dependents, so that they go first.
    WakeDependents,
    /// Foreground deletion, but its dependents wait for it in turn: its owners stop waiting, so that the ring breaks.
    Unblock,
}

/// How to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Background,
    Foreground,
    Orphan,
}

impl From<Policy> for PropagationPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Background => Self::Background,
            Policy::Foreground => Self::Foreground,
            Policy::Orphan => Self::Orphan,
        }
    }
}

/// Plans one object.
pub(crate) fn plan(observed: &Observed) -> Plan {
    let node = observed.node.as_ref();
    if node.is_orphaning() {
        return if observed.dependents.is_empty() { Plan::Finish(ORPHAN) } else { Plan::Orphan };
    }
    if node.is_foreground() {
        let blocked = observed.dependents.iter().any(|dependent| dependent.blocks(node.uid()));
        return if blocked { Plan::WakeDependents } else { Plan::Finish(FOREGROUND) };
    }
    if node.is_deleting() || observed.owners.is_empty() {
        return Plan::Nothing;
    }
    let in_state = |state| observed.owners.iter().filter(move |(_, own)| *own == state);
    if in_state(OwnerState::Solid).next().is_some() {
        let gone = observed.owners.iter().filter(|(_, state)| *state != OwnerState::Solid);
        let uids: Vec<_> = gone.map(|(owner, _)| owner.uid.clone()).collect();
        return if uids.is_empty() { Plan::Nothing } else { Plan::DropOwners(uids) };
    }
    if in_state(OwnerState::Waiting).next().is_some() && !observed.dependents.is_empty() {
        let ring = observed.dependents.iter().any(|dependent| dependent.is_foreground());
        let blocks = observed.owners.iter().any(|(owner, _)| owner.block_owner_deletion == Some(true));
        return if ring && blocks { Plan::Unblock } else { Plan::Delete(Policy::Foreground) };
    }
    Plan::Delete(if node.has_finalizer(ORPHAN) {
        Policy::Orphan
    } else if node.has_finalizer(FOREGROUND) {
        Policy::Foreground
    } else {
        Policy::Background
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kube::core::{ApiResource, GroupVersionKind};
    use serde_json::{Value, from_value, json};

    use super::super::graph::Graph;
    use super::*;

    fn node(uid: &str, owners: &[&str], more: Value) -> Node {
        let owners: Vec<_> = owners
            .iter()
            .map(|uid| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, "blockOwnerDeletion": true}))
            .collect();
        let mut meta = json!({"name": uid, "namespace": "default", "uid": uid, "ownerReferences": owners});
        meta.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
        Node { resource: Arc::new(resource), meta: from_value(meta).unwrap() }
    }

    fn deleting(finalizer: &str) -> Value {
        json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer]})
    }

    fn decide(nodes: &[Node], uid: &str) -> Plan {
        let mut graph = Graph::default();
        for node in nodes {
            graph.set(node.clone());
        }
        let node = graph.get(uid).unwrap();
        let state = |owner: &OwnerReference| match graph.get(&owner.uid) {
            None => OwnerState::Absent,
            Some(owner) if owner.is_foreground() => OwnerState::Waiting,
            Some(_) => OwnerState::Solid,
        };
        let owners = node.owners().iter().map(|owner| (owner.clone(), state(owner))).collect();
        plan(&Observed { owners, dependents: graph.dependents(uid), node })
    }

    #[test]
    fn an_object_goes_with_its_last_owner() {
        let owner = node("o", &[], Value::Null);
        assert_eq!(decide(&[owner.clone(), node("d", &["o"], Value::Null)], "d"), Plan::Nothing);
        assert_eq!(decide(&[node("d", &["o"], Value::Null)], "d"), Plan::Delete(Policy::Background));
        let two = node("d", &["o", "gone"], Value::Null);
        assert_eq!(decide(&[owner, two], "d"), Plan::DropOwners(vec!["gone".to_owned()]));
    }

    #[test]
    fn a_foreground_owner_waits_for_those_that_block_it() {
        let owner = node("o", &[], deleting(FOREGROUND));
        let dependent = node("d", &["o"], Value::Null);
        let leaf = node("l", &["d"], Value::Null);
        assert_eq!(decide(&[owner.clone(), dependent.clone()], "o"), Plan::WakeDependents);
        assert_eq!(decide(&[owner.clone(), dependent.clone()], "d"), Plan::Delete(Policy::Background));
        assert_eq!(decide(&[owner.clone(), dependent, leaf], "d"), Plan::Delete(Policy::Foreground));
        assert_eq!(decide(&[owner], "o"), Plan::Finish(FOREGROUND));
    }

    #[test]
    fn an_orphaning_owner_lets_go_first() {
        let owner = node("o", &[], deleting(ORPHAN));
        assert_eq!(decide(&[owner.clone(), node("d", &["o"], Value::Null)], "o"), Plan::Orphan);
        assert_eq!(decide(&[owner], "o"), Plan::Finish(ORPHAN));
    }

    #[test]
    fn a_ring_is_broken() {
        let a = node("a", &["b"], deleting(FOREGROUND));
        let b = node("b", &["a"], Value::Null);
        assert_eq!(decide(&[a, b], "b"), Plan::Unblock);
    }

    #[test]
    fn changes_concern_those_that_wait() {
        let mut graph = Graph::default();
        graph.set(node("o", &[], Value::Null));
        assert_eq!(graph.set(node("d", &["o"], Value::Null)), ["d"]);
        assert!(graph.set(node("d", &["o"], json!({"labels": {"a": "b"}}))).is_empty());
        assert_eq!(graph.set(node("o", &[], deleting(FOREGROUND))), ["o", "d"]);
        assert_eq!(graph.remove("d"), ["o"]);
        graph.set(node("d", &["o"], Value::Null));
        assert_eq!(graph.remove("o"), ["d"]);
    }
}
