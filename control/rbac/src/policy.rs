//! The roles and bindings that every cluster has: upstream's names and rules, and the few that this project's own nodes need.
//!
//! The facts are those of `plugin/pkg/auth/authorizer/rbac/bootstrappolicy` of kubernetes/kubernetes.

mod components;
mod controllers;
mod people;

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub(crate) const RBAC: &str = "rbac.authorization.k8s.io";
pub(crate) const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

const CORE: &str = "";
const APPS: &str = "apps";
const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
const AUTOSCALING: &str = "autoscaling";
const BATCH: &str = "batch";
const CERTIFICATES: &str = "certificates.k8s.io";
const COORDINATION: &str = "coordination.k8s.io";
const DISCOVERY: &str = "discovery.k8s.io";
const EVENTS: &str = "events.k8s.io";
const EXTENSIONS: &str = "extensions";
const NETWORKING: &str = "networking.k8s.io";
const POLICY: &str = "policy";
const RESOURCE: &str = "resource.k8s.io";
const STORAGE: &str = "storage.k8s.io";

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const READ_WRITE: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const READ_UPDATE: &[&str] = &["get", "list", "patch", "update", "watch"];

/// What taking part in an election takes.
const ELECT: &[&str] = &["create", "get", "list", "update", "watch"];

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

fn owned(values: &[&str]) -> Vec<String> {
    let mut values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    values.sort();
    values
}

fn rule(verbs: &[&str], groups: &[&str], resources: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(owned(groups)),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

fn named(verbs: &[&str], group: &str, resource: &str, names: &[&str]) -> PolicyRule {
    PolicyRule { resource_names: Some(owned(names)), ..rule(verbs, &[group], &[resource]) }
}

fn paths(verbs: &[&str], urls: &[&str]) -> PolicyRule {
    PolicyRule { non_resource_urls: Some(owned(urls)), verbs: owned(verbs), ..PolicyRule::default() }
}

/// Events are written in both of their groups.
fn events() -> PolicyRule {
    rule(&["create", "patch", "update"], &[CORE, EVENTS], &["events"])
}

fn reviews() -> [PolicyRule; 2] {
    [
        rule(&["create"], &[AUTHENTICATION], &["tokenreviews"]),
        rule(&["create"], &[AUTHORIZATION], &["subjectaccessreviews"]),
    ]
}

fn meta(namespace: Option<&str>, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        annotations: Some(BTreeMap::from([(AUTOUPDATE.to_owned(), "true".to_owned())])),
        labels: Some(BTreeMap::from([("kubernetes.io/bootstrapping".to_owned(), "rbac-defaults".to_owned())])),
        ..ObjectMeta::default()
    }
}

fn role(name: &str, rules: impl Into<Vec<PolicyRule>>) -> ClusterRole {
    ClusterRole { metadata: meta(None, name), rules: Some(rules.into()), aggregation_rule: None }
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef { api_group: Some(RBAC.to_owned()), kind: kind.to_owned(), name: name.to_owned() }
}

fn user(name: &str) -> Subject {
    Subject { api_group: Some(RBAC.to_owned()), kind: "User".to_owned(), name: name.to_owned(), namespace: None }
}

fn group(name: &str) -> Subject {
    Subject { kind: "Group".to_owned(), ..user(name) }
}

fn service_account(namespace: &str, name: &str) -> Subject {
    Subject {
        api_group: None,
        kind: "ServiceAccount".to_owned(),
        name: name.to_owned(),
        namespace: Some(namespace.to_owned()),
    }
}

fn binding(name: &str, to: &str, subjects: impl Into<Vec<Subject>>) -> ClusterRoleBinding {
    let subjects = Some(subjects.into()).filter(|subjects| !subjects.is_empty());
    ClusterRoleBinding { metadata: meta(None, name), role_ref: role_ref("ClusterRole", to), subjects }
}

/// The rules of the role `system:node`, by which the node authorizer goes.
#[must_use]
pub fn node_rules() -> Vec<PolicyRule> {
    components::node_rules()
}

/// All ClusterRoles.
#[must_use]
pub fn cluster_roles() -> Vec<ClusterRole> {
    let mut roles = people::roles();
    roles.extend(components::roles());
    roles.extend(controllers::roles());
    roles
}

/// All ClusterRoleBindings.
#[must_use]
pub fn cluster_role_bindings() -> Vec<ClusterRoleBinding> {
    let mut bindings = people::bindings();
    bindings.extend(components::bindings());
    bindings.extend(controllers::bindings());
    bindings
}

fn namespaced(namespace: &str, name: &str, rules: impl Into<Vec<PolicyRule>>) -> Role {
    Role { metadata: meta(Some(namespace), name), rules: Some(rules.into()) }
}

/// All Roles.
#[must_use]
pub fn roles() -> Vec<Role> {
    let system = "kube-system";
    let public = "kube-public";
    let locking = |name: &str| {
        namespaced(
            system,
            &format!("system::leader-locking-{name}"),
            ["leases", "leasecandidates"].map(|resource| rule(ELECT, &[COORDINATION], &[resource])),
        )
    };
    vec![
        namespaced(
            system,
            "extension-apiserver-authentication-reader",
            [named(READ, CORE, "configmaps", &["extension-apiserver-authentication"])],
        ),
        namespaced(system, "system:controller:bootstrap-signer", [rule(READ, &[CORE], &["secrets"])]),
        namespaced(
            system,
            "system:controller:cloud-provider",
            [rule(&["create", "get", "list", "watch"], &[CORE], &["configmaps"])],
        ),
        namespaced(
            system,
            "system:controller:token-cleaner",
            [rule(&["delete", "get", "list", "watch"], &[CORE], &["secrets"]), events()],
        ),
        locking("kube-controller-manager"),
        locking("kube-scheduler"),
        namespaced(
            public,
            "system:controller:bootstrap-signer",
            [rule(READ, &[CORE], &["configmaps"]), named(&["update"], CORE, "configmaps", &["cluster-info"]), events()],
        ),
        // How to join the cluster is public, as kubeadm has it.
        namespaced(public, "skep:cluster-info", [named(&["get"], CORE, "configmaps", &["cluster-info"])]),
    ]
}

/// All RoleBindings.
#[must_use]
pub fn role_bindings() -> Vec<RoleBinding> {
    let system = "kube-system";
    let bind = |namespace: &str, name: &str, to: &str, subjects: Vec<Subject>| RoleBinding {
        metadata: meta(Some(namespace), name),
        role_ref: role_ref("Role", to),
        subjects: Some(subjects),
    };
    let controller = |namespace: &str, name: &str| {
        let role = format!("system:controller:{name}");
        bind(namespace, &role, &role, vec![service_account(system, name)])
    };
    let locking = |name: &str, accounts: &[&str]| {
        let role = format!("system::leader-locking-{name}");
        let accounts = accounts.iter().map(|account| service_account(system, account));
        let subjects = std::iter::once(user(&format!("system:{name}"))).chain(accounts);
        bind(system, &role, &role, subjects.collect())
    };
    vec![
        bind(
            system,
            "system::extension-apiserver-authentication-reader",
            "extension-apiserver-authentication-reader",
            vec![user(CONTROLLER_MANAGER), user(SCHEDULER)],
        ),
        locking("kube-controller-manager", &["kube-controller-manager", "leader-election-controller"]),
        locking("kube-scheduler", &["kube-scheduler"]),
        controller(system, "bootstrap-signer"),
        controller(system, "cloud-provider"),
        controller(system, "token-cleaner"),
        controller("kube-public", "bootstrap-signer"),
        bind(
            "kube-public",
            "skep:cluster-info",
            "skep:cluster-info",
            vec![group(AUTHENTICATED), group(UNAUTHENTICATED)],
        ),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_binding_has_its_role_and_names_are_unique() {
        let names: Vec<String> = cluster_roles().into_iter().map(|role| role.metadata.name.unwrap()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for binding in cluster_role_bindings() {
            assert!(names.contains(&binding.role_ref.name), "{}", binding.role_ref.name);
        }
        let place = |meta: &ObjectMeta| (meta.namespace.clone().unwrap(), meta.name.clone().unwrap());
        let places: Vec<_> = roles().iter().map(|role| place(&role.metadata)).collect();
        for binding in role_bindings() {
            let to = (binding.metadata.namespace.clone().unwrap(), binding.role_ref.name.clone());
            assert!(places.contains(&to), "{to:?}");
        }
    }
}
