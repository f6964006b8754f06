//! What nodes and those who are to become nodes may do. Which objects a node may change is `restriction`'s to say.

use super::Action;

const READ: &[&str] = &["get", "list", "watch"];
const GET: &[&str] = &["get"];
const REPORT: &[&str] = &["update", "patch"];

/// Verbs on a resource with its subresource, by API group.
type Rule = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// After upstream's role `system:node`, with reads of what a node's network is made from.
const NODE: &[Rule] = &[
    ("", "services", "", READ),
    ("", "endpoints", "", READ),
    ("discovery.k8s.io", "endpointslices", "", READ),
    ("networking.k8s.io", "networkpolicies", "", READ),
    ("", "namespaces", "", READ),
    ("", "nodes", "", &["get", "list", "watch", "create", "update", "patch"]),
    ("", "nodes", "status", REPORT),
    ("", "pods", "", &["get", "list", "watch", "create", "delete"]),
    ("", "pods", "status", REPORT),
    ("", "configmaps", "", GET),
    ("", "secrets", "", GET),
    ("", "serviceaccounts", "", GET),
    ("", "persistentvolumeclaims", "", GET),
    ("", "persistentvolumes", "", GET),
    ("", "events", "", &["create", "update", "patch"]),
    ("coordination.k8s.io", "leases", "", &["get", "create", "update", "patch", "delete"]),
    ("certificates.k8s.io", "certificatesigningrequests", "", &["get", "list", "watch", "create"]),
];

/// Upstream's role `system:node-bootstrapper`.
const BOOTSTRAPPER: &[Rule] =
    &[("certificates.k8s.io", "certificatesigningrequests", "", &["get", "list", "watch", "create"])];

pub(super) fn allows_node(action: &Action<'_>) -> bool {
    allows(NODE, action)
}

pub(super) fn allows_bootstrapper(action: &Action<'_>) -> bool {
    allows(BOOTSTRAPPER, action)
}

fn allows(rules: &[Rule], action: &Action<'_>) -> bool {
    let Action::Resource { verb, group, resource, subresource, .. } = action else { return false };
    let matches = |rule: &&Rule| rule.0 == *group && rule.1 == *resource && rule.2 == *subresource;
    rules.iter().find(matches).is_some_and(|rule| rule.3.contains(verb))
}
