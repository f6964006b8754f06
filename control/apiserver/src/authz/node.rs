//! What nodes may do: what upstream's role `system:node` has, and of Secrets, ConfigMaps, claims and service accounts those alone
//! that a pod on that very node refers to. After upstream's node authorizer.

mod references;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::rbac::v1::PolicyRule;
use skep_rbac::Action;

use self::references::references;
use crate::cache::Follower;
use crate::object::Cached;

const LEASES: &str = "kube-node-lease";

static RULES: LazyLock<Vec<PolicyRule>> = LazyLock::new(skep_rbac::node_rules);

/// An object that a pod refers to: its resource, and its namespace and name as `namespace/name`.
type Reference = (&'static str, String);

#[derive(Default)]
struct Graph {
    /// Pods by key, with their node and what they refer to.
    pods: HashMap<String, (String, Vec<Reference>)>,
    /// Nodes, with what their pods refer to and how many of them do.
    nodes: HashMap<String, HashMap<Reference, usize>>,
    /// Claims by key, with the volume that they are bound to.
    volumes: HashMap<String, String>,
}

impl Graph {
    fn remove_pod(&mut self, key: &str) {
        let Some((node, references)) = self.pods.remove(key) else { return };
        let Some(held) = self.nodes.get_mut(&node) else { return };
        for reference in references {
            if let Some(count) = held.get_mut(&reference) {
                *count -= 1;
                if *count == 0 {
                    held.remove(&reference);
                }
            }
        }
        if held.is_empty() {
            self.nodes.remove(&node);
        }
    }

    fn set_pod(&mut self, key: &str, pod: &Pod) {
        self.remove_pod(key);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|node| !node.is_empty());
        let Some(node) = node else { return };
        let references = references(pod);
        let held = self.nodes.entry(node.clone()).or_default();
        for reference in &references {
            *held.entry(reference.clone()).or_default() += 1;
        }
        self.pods.insert(key.to_owned(), (node, references));
    }

    fn refers(&self, node: &str, kind: &str, key: &str) -> bool {
        let Some(held) = self.nodes.get(node) else { return false };
        if kind == "persistentvolumes" {
            let claims = held.keys().filter(|(kind, _)| *kind == "persistentvolumeclaims");
            return claims.into_iter().any(|(_, claim)| self.volumes.get(claim).is_some_and(|volume| volume == key));
        }
        KINDS.iter().find(|known| **known == kind).is_some_and(|kind| held.contains_key(&(*kind, key.to_owned())))
    }
}

const KINDS: [&str; 4] = ["secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts"];

/// What each node's pods refer to, kept by the watch cache.
#[derive(Default)]
pub(super) struct Nodes(RwLock<Graph>);

impl Nodes {
    fn write<T>(&self, change: impl FnOnce(&mut Graph) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a pod of the node refers to the object.
    fn refers(&self, node: &str, kind: &str, namespace: &str, name: &str) -> bool {
        let key = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
        self.0.read().unwrap_or_else(PoisonError::into_inner).refers(node, kind, &key)
    }

    /// Whether a node may do something; the error says why not.
    pub(super) fn decide(&self, node: &str, action: &Action<'_>) -> Result<(), String> {
        if let Action::Resource { verb, group, resource, subresource, namespace, name } = *action {
            let related = || match name {
                None => Err("No Object name found".to_owned()),
                Some(name) if self.refers(node, resource, namespace.unwrap_or_default(), name) => Ok(()),
                Some(_) => Err(format!("no relationship found between node '{node}' and this object")),
            };
            match (group, resource, subresource) {
                ("", "secrets" | "configmaps", _) => {
                    check(matches!(verb, "get" | "list" | "watch"), "can only read resources of this type")?;
                    check(subresource.is_empty(), "cannot read subresource")?;
                    check(namespace.is_some(), "can only read namespaced object of this type")?;
                    return related();
                }
                ("", "persistentvolumeclaims", "status") => {
                    check(matches!(verb, "get" | "update" | "patch"), "can only get/update/patch this type")?;
                    return related();
                }
                ("", "persistentvolumeclaims" | "persistentvolumes", _) | ("", "serviceaccounts", "") => {
                    check(verb == "get", "can only get individual resources of this type")?;
                    check(subresource.is_empty(), "cannot get subresource")?;
                    return related();
                }
                ("", "serviceaccounts", _) => {
                    let why = "can only create tokens for individual service accounts";
                    check(verb == "create" && subresource == "token", why)?;
                    return related();
                }
                ("coordination.k8s.io", "leases", _) => return own_lease(node, verb, namespace, name),
                ("storage.k8s.io", "csinodes", _) => return own_csi_node(node, verb, subresource, name),
                _ => {}
            }
        }
        check(RULES.iter().any(|rule| skep_rbac::allows(rule, action)), "")
    }
}

fn check(holds: bool, why: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}

fn own_lease(node: &str, verb: &str, namespace: Option<&str>, name: Option<&str>) -> Result<(), String> {
    let known = matches!(verb, "get" | "create" | "update" | "patch" | "delete");
    check(known, "can only get, create, update, patch, or delete a node lease")?;
    let why = format!("can only access leases in the \"{LEASES}\" system namespace");
    check(namespace == Some(LEASES), &why)?;
    check(
        verb == "create" || name == Some(node),
        "can only access node lease with the same name as the requesting node",
    )
}

fn own_csi_node(node: &str, verb: &str, subresource: &str, name: Option<&str>) -> Result<(), String> {
    let known = matches!(verb, "get" | "create" | "update" | "patch" | "delete");
    check(known, "can only get, create, update, patch, or delete a CSINode")?;
    check(subresource.is_empty(), "cannot authorize CSINode subresources")?;
    check(verb == "create" || name == Some(node), "can only access CSINode with the same name as the requesting node")
}

struct Pods(Arc<Nodes>);

impl Follower for Pods {
    fn reset(&self) {
        self.0.write(|graph| {
            graph.pods.clear();
            graph.nodes.clear();
        });
    }

    fn changed(&self, key: &str, now: Option<&Cached>) {
        let pod = now.and_then(|now| serde_json::from_slice::<Pod>(&now.bytes).ok());
        self.0.write(|graph| match pod {
            Some(pod) => graph.set_pod(key, &pod),
            None => graph.remove_pod(key),
        });
    }
}

struct Claims(Arc<Nodes>);

impl Follower for Claims {
    fn reset(&self) {
        self.0.write(|graph| graph.volumes.clear());
    }

    fn changed(&self, key: &str, now: Option<&Cached>) {
        let claim = now.and_then(|now| serde_json::from_slice::<PersistentVolumeClaim>(&now.bytes).ok());
        let volume = claim.and_then(|claim| claim.spec?.volume_name);
        self.0.write(|graph| match volume {
            Some(volume) => graph.volumes.insert(key.to_owned(), volume),
            None => graph.volumes.remove(key),
        });
    }
}

pub(super) fn followers(nodes: &Arc<Nodes>) -> Vec<(&'static str, &'static str, Arc<dyn Follower>)> {
    vec![
        ("", "pods", Arc::new(Pods(Arc::clone(nodes)))),
        ("", "persistentvolumeclaims", Arc::new(Claims(Arc::clone(nodes)))),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn nodes() -> Nodes {
        let pod: Pod = from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "a",
            "serviceAccountName": "bot", "containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "env"}}]}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "disk"}},
                {"name": "w", "projected": {"sources": [{"configMap": {"name": "map"}}]}}]}}))
        .unwrap();
        let nodes = Nodes::default();
        nodes.write(|graph| {
            graph.set_pod("n/p", &pod);
            graph.volumes.insert("n/disk".to_owned(), "volume".to_owned());
        });
        nodes
    }

    fn to<'a>(verb: &'a str, resource: &'a str, namespace: Option<&'a str>, name: Option<&'a str>) -> Action<'a> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let group = if resource == "leases" { "coordination.k8s.io" } else { "" };
        Action::Resource { verb, group, resource, subresource, namespace, name }
    }

    #[test]
    fn a_node_reads_what_its_pods_refer_to() {
        let nodes = nodes();
        for (resource, name) in [("secrets", "env"), ("configmaps", "map"), ("persistentvolumeclaims", "disk")] {
            assert_eq!(nodes.decide("a", &to("get", resource, Some("n"), Some(name))), Ok(()), "{resource}");
            let other = nodes.decide("b", &to("get", resource, Some("n"), Some(name)));
            assert_eq!(other.unwrap_err(), "no relationship found between node 'b' and this object");
            assert!(nodes.decide("a", &to("get", resource, Some("n"), Some("x"))).is_err());
            assert!(nodes.decide("a", &to("delete", resource, Some("n"), Some(name))).is_err());
        }
        assert_eq!(nodes.decide("a", &to("get", "persistentvolumes", None, Some("volume"))), Ok(()));
        assert_eq!(nodes.decide("a", &to("create", "serviceaccounts/token", Some("n"), Some("bot"))), Ok(()));
        assert!(nodes.decide("a", &to("create", "serviceaccounts/token", Some("n"), Some("default"))).is_err());
        assert_eq!(nodes.decide("a", &to("list", "secrets", Some("n"), None)).unwrap_err(), "No Object name found");
        nodes.write(|graph| graph.remove_pod("n/p"));
        assert!(nodes.decide("a", &to("get", "secrets", Some("n"), Some("env"))).is_err());
        assert!(nodes.write(|graph| graph.nodes.is_empty()));
    }

    #[test]
    fn a_node_has_its_own_lease_and_the_rules_of_its_role() {
        let nodes = Nodes::default();
        assert_eq!(nodes.decide("a", &to("update", "leases", Some(LEASES), Some("a"))), Ok(()));
        assert!(nodes.decide("a", &to("update", "leases", Some(LEASES), Some("b"))).is_err());
        assert!(nodes.decide("a", &to("get", "leases", Some("kube-system"), Some("a"))).is_err());
        assert_eq!(nodes.decide("a", &to("patch", "pods/status", Some("n"), Some("p"))), Ok(()));
        assert!(nodes.decide("a", &to("patch", "pods", Some("n"), Some("p"))).is_err());
    }
}
