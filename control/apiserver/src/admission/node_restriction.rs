//! NodeRestriction: which objects a node may change: its own Node, Lease and CSINode, and the pods that are bound to it.

use std::collections::BTreeSet;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{Node, Pod};
use skep_registry::{CertificateRequest, Object, typed_ref};

use super::{Operation, Request};
use crate::status::ApiError;

/// Where nodes keep their Leases.
const LEASES: &str = "kube-node-lease";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Domains whose labels mean something to the cluster: a node gives itself those of this list alone.
const DOMAINS: [&str; 2] = ["kubernetes.io", "k8s.io"];
const LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
const LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// Before a creation or a change.
pub(super) fn admit(request: &Request<'_>, object: &mut dyn Object) -> Result<(), ApiError> {
    check(request, Some(object))
}

/// Before a deletion.
pub(super) fn keep(request: &Request<'_>, object: Option<&dyn Object>) -> Result<(), ApiError> {
    if request.operation == Operation::Delete { check(request, object) } else { Ok(()) }
}

fn check(request: &Request<'_>, object: Option<&dyn Object>) -> Result<(), ApiError> {
    let Some(node) = request.asked.who.node() else { return Ok(()) };
    let target = request.target;
    let why = match (&*target.served.group, &*target.served.plural) {
        ("", "nodes") if target.name != node => {
            Some(format!("node \"{node}\" is not allowed to modify node \"{}\"", target.name))
        }
        ("", "nodes") => own_node(node, request, object),
        ("", "pods") => own_pod(node, request, object),
        ("coordination.k8s.io", "leases") if target.namespace.as_deref() != Some(LEASES) => {
            Some(format!("can only access leases in the \"{LEASES}\" system namespace"))
        }
        ("coordination.k8s.io", "leases") if target.name != node => {
            Some("can only access node lease with the same name as the requesting node".to_owned())
        }
        ("storage.k8s.io", "csinodes") if target.name != node => {
            Some("can only access CSINode with the same name as the requesting node".to_owned())
        }
        ("certificates.k8s.io", "certificatesigningrequests") if request.operation == Operation::Create => {
            other_subject(node, object)
        }
        _ => None,
    };
    why.map_or(Ok(()), |why| Err(request.forbidden(&why)))
}

fn own_node(node: &str, request: &Request<'_>, object: Option<&dyn Object>) -> Option<String> {
    let new = object.and_then(|object| typed_ref::<Node>(object))?;
    let old = request.old.and_then(|old| typed_ref::<Node>(old));
    if let Some(old) = old {
        let taints = |of: &Node| of.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        if taints(new) != taints(old) {
            return Some(format!("node \"{node}\" is not allowed to modify taints"));
        }
    }
    let forbidden = forbidden_labels(new, old);
    let list = || forbidden.iter().copied().collect::<Vec<_>>().join(", ");
    match (forbidden.is_empty(), old) {
        (true, _) => None,
        (false, None) => Some(format!("node \"{node}\" is not allowed to set the following node labels: {}", list())),
        (false, Some(_)) => Some(format!("is not allowed to modify labels: {}", list())),
    }
}

/// Labels that a node adds, changes or removes and that are not its own to give.
fn forbidden_labels<'a>(new: &'a Node, old: Option<&'a Node>) -> BTreeSet<&'a str> {
    let (new, old) = (new.metadata.labels.as_ref(), old.and_then(|old| old.metadata.labels.as_ref()));
    let keys = new.into_iter().chain(old).flat_map(|labels| labels.keys());
    let changed = keys.filter(|key| new.and_then(|new| new.get(*key)) != old.and_then(|old| old.get(*key)));
    changed.map(String::as_str).filter(|key| !is_own_label(key)).collect()
}

fn is_own_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let below = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    !DOMAINS.iter().any(|domain| below(domain))
        || LABELS.contains(&key)
        || LABEL_DOMAINS.iter().any(|domain| below(domain))
}

fn own_pod(node: &str, request: &Request<'_>, object: Option<&dyn Object>) -> Option<String> {
    let is_bound = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
    let old = request.old.and_then(|old| typed_ref::<Pod>(old));
    match (request.operation, request.asked.subresource) {
        (Operation::Create, "") => {
            let pod = object.and_then(|object| typed_ref::<Pod>(object))?;
            let mirrors = pod.metadata.annotations.as_ref().is_some_and(|held| held.contains_key(MIRROR));
            if !mirrors {
                return Some(format!(
                    "pod does not have \"{MIRROR}\" annotation, node \"{node}\" can only create mirror pods"
                ));
            }
            let why = format!("node \"{node}\" can only create pods with spec.nodeName set to itself");
            (!is_bound(pod)).then_some(why)
        }
        (Operation::Delete, _) => {
            let why = format!("node \"{node}\" can only delete pods with spec.nodeName set to itself");
            (!is_bound(old?)).then_some(why)
        }
        (_, "status") => {
            let (old, new) = (old?, object.and_then(|object| typed_ref::<Pod>(object))?);
            if !is_bound(old) {
                return Some(format!(
                    "node \"{node}\" can only update pod status for pods with spec.nodeName set to itself"
                ));
            }
            let labels = |pod: &Pod| pod.metadata.labels.clone().unwrap_or_default();
            let why = format!("node \"{node}\" cannot update labels through pod status");
            (labels(old) != labels(new)).then_some(why)
        }
        (_, "eviction") => {
            (!is_bound(old?)).then(|| format!("node {node} can only evict pods with spec.nodeName set to itself"))
        }
        (_, other) => Some(format!("unexpected operation on pods/{other} by node \"{node}\"")),
    }
}

/// A node asks for certificates in its own name.
fn other_subject(node: &str, object: Option<&dyn Object>) -> Option<String> {
    const SIGNERS: [&str; 2] = ["kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"];
    let asked = object.and_then(|object| typed_ref::<CertificateSigningRequest>(object))?;
    let own = format!("system:node:{node}");
    let parsed = CertificateRequest::from_pem(&asked.spec.request.0).ok()?;
    let concerns = SIGNERS.contains(&asked.spec.signer_name.as_str());
    (concerns && parsed.common_name != own).then(|| format!("can only create a node CSR with CN={own}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_node_gives_itself_its_own_labels_alone() {
        for key in
            ["rack", "example.com/x", "kubernetes.io/hostname", "node.kubernetes.io/x", "a.kubelet.kubernetes.io/x"]
        {
            assert!(is_own_label(key), "{key}");
        }
        for key in
            ["node-restriction.kubernetes.io/x", "kubernetes.io/x", "x.k8s.io/y", "node-role.kubernetes.io/master"]
        {
            assert!(!is_own_label(key), "{key}");
        }
        let node = |labels| -> Node { from_value(json!({"metadata": {"labels": labels}})).unwrap() };
        let (old, new) = (node(json!({"kubernetes.io/x": "1", "a": "b"})), node(json!({"kubernetes.io/x": "1"})));
        assert!(forbidden_labels(&new, Some(&old)).is_empty(), "what stays is not its doing");
        assert_eq!(forbidden_labels(&new, None), BTreeSet::from(["kubernetes.io/x"]));
        assert_eq!(forbidden_labels(&node(json!({})), Some(&old)), BTreeSet::from(["kubernetes.io/x"]));
    }
}
