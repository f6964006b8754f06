//! Roles for people: administrators, editors, viewers, and what everybody may see.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::{AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{
    APPS, AUTHENTICATED, AUTHENTICATION, AUTHORIZATION, AUTOSCALING, BATCH, COORDINATION, CORE, DISCOVERY, EXTENSIONS,
    NETWORKING, POLICY, RBAC, READ, READ_WRITE, RESOURCE, UNAUTHENTICATED, WRITE, binding, group, paths, role, rule,
};

const HEALTH: [&str; 5] = ["/healthz", "/livez", "/readyz", "/version", "/version/"];

pub(super) fn roles() -> Vec<ClusterRole> {
    vec![
        role("cluster-admin", [rule(&["*"], &["*"], &["*"]), paths(&["*"], &["*"])]),
        role(
            "system:discovery",
            [paths(
                &["get"],
                &[
                    "/api",
                    "/api/*",
                    "/apis",
                    "/apis/*",
                    "/healthz",
                    "/livez",
                    "/openapi",
                    "/openapi/*",
                    "/readyz",
                    "/version",
                    "/version/",
                ],
            )],
        ),
        role("system:public-info-viewer", [paths(&["get"], &HEALTH)]),
        role(
            "system:basic-user",
            [
                rule(&["create"], &[AUTHORIZATION], &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
                rule(&["create"], &[AUTHENTICATION], &["selfsubjectreviews"]),
            ],
        ),
        role(
            "system:monitoring",
            [paths(
                &["get"],
                &["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*"],
            )],
        ),
        role(
            "system:service-account-issuer-discovery",
            [paths(
                &["get"],
                &[
                    "/.well-known/openid-configuration",
                    "/.well-known/openid-configuration/",
                    "/openid/v1/jwks",
                    "/openid/v1/jwks/",
                ],
            )],
        ),
        made_of("admin", "admin", None),
        made_of("edit", "edit", Some("admin")),
        made_of("view", "view", Some("edit")),
        part_of("admin", admin()),
        part_of("edit", edit()),
        part_of("view", view()),
    ]
}

fn label(to: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(format!("{RBAC}/aggregate-to-{to}"), "true".to_owned())])
}

/// A role that is made of those labelled for it, and may itself be a part of another.
fn made_of(name: &str, of: &str, part_of: Option<&str>) -> ClusterRole {
    let mut role = role(name, []);
    role.rules = None;
    let selector = LabelSelector { match_labels: Some(label(of)), match_expressions: None };
    role.aggregation_rule = Some(AggregationRule { cluster_role_selectors: Some(vec![selector]) });
    role.metadata.labels.get_or_insert_default().extend(part_of.map(label).unwrap_or_default());
    role
}

fn part_of(name: &str, rules: Vec<PolicyRule>) -> ClusterRole {
    let mut role = role(&format!("system:aggregate-to-{name}"), rules);
    role.metadata.labels.get_or_insert_default().extend(label(name));
    role
}

fn admin() -> Vec<PolicyRule> {
    vec![
        rule(&["create"], &[AUTHORIZATION], &["localsubjectaccessreviews"]),
        rule(READ_WRITE, &[RBAC], &["rolebindings", "roles"]),
    ]
}

fn edit() -> Vec<PolicyRule> {
    vec![
        rule(
            READ,
            &[CORE],
            &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"],
        ),
        rule(&["impersonate"], &[CORE], &["serviceaccounts"]),
        rule(WRITE, &[CORE], &["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"]),
        rule(&["create"], &[CORE], &["pods/eviction"]),
        rule(
            WRITE,
            &[CORE],
            &[
                "configmaps",
                "events",
                "persistentvolumeclaims",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "secrets",
                "serviceaccounts",
                "services",
                "services/proxy",
            ],
        ),
        rule(&["create"], &[CORE], &["serviceaccounts/token"]),
        rule(
            WRITE,
            &[APPS],
            &[
                "daemonsets",
                "deployments",
                "deployments/rollback",
                "deployments/scale",
                "replicasets",
                "replicasets/scale",
                "statefulsets",
                "statefulsets/scale",
            ],
        ),
        rule(WRITE, &[AUTOSCALING], &["horizontalpodautoscalers"]),
        rule(WRITE, &[BATCH], &["cronjobs", "jobs"]),
        rule(
            WRITE,
            &[EXTENSIONS],
            &[
                "daemonsets",
                "deployments",
                "deployments/rollback",
                "deployments/scale",
                "ingresses",
                "networkpolicies",
                "replicasets",
                "replicasets/scale",
                "replicationcontrollers/scale",
            ],
        ),
        rule(WRITE, &[POLICY], &["poddisruptionbudgets"]),
        rule(WRITE, &[NETWORKING], &["ingresses", "networkpolicies"]),
        rule(READ_WRITE, &[COORDINATION], &["leases"]),
        rule(WRITE, &[RESOURCE], &["resourceclaims", "resourceclaimtemplates"]),
    ]
}

fn view() -> Vec<PolicyRule> {
    vec![
        rule(
            READ,
            &[CORE],
            &[
                "configmaps",
                "endpoints",
                "persistentvolumeclaims",
                "persistentvolumeclaims/status",
                "pods",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "serviceaccounts",
                "services",
                "services/status",
            ],
        ),
        rule(
            READ,
            &[CORE],
            &[
                "bindings",
                "events",
                "limitranges",
                "namespaces/status",
                "pods/log",
                "pods/status",
                "replicationcontrollers/status",
                "resourcequotas",
                "resourcequotas/status",
            ],
        ),
        rule(READ, &[CORE], &["namespaces"]),
        rule(READ, &[DISCOVERY], &["endpointslices"]),
        rule(
            READ,
            &[APPS],
            &[
                "controllerrevisions",
                "daemonsets",
                "daemonsets/status",
                "deployments",
                "deployments/scale",
                "deployments/status",
                "replicasets",
                "replicasets/scale",
                "replicasets/status",
                "statefulsets",
                "statefulsets/scale",
                "statefulsets/status",
            ],
        ),
        rule(READ, &[AUTOSCALING], &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
        rule(READ, &[BATCH], &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
        rule(
            READ,
            &[EXTENSIONS],
            &[
                "daemonsets",
                "daemonsets/status",
                "deployments",
                "deployments/scale",
                "deployments/status",
                "ingresses",
                "ingresses/status",
                "networkpolicies",
                "replicasets",
                "replicasets/scale",
                "replicasets/status",
                "replicationcontrollers/scale",
            ],
        ),
        rule(READ, &[POLICY], &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
        rule(READ, &[NETWORKING], &["ingresses", "ingresses/status", "networkpolicies"]),
        rule(READ, &[RESOURCE], &["resourceclaims", "resourceclaims/status", "resourceclaimtemplates"]),
    ]
}

pub(super) fn bindings() -> Vec<ClusterRoleBinding> {
    vec![
        binding("cluster-admin", "cluster-admin", [group("system:masters")]),
        binding("system:monitoring", "system:monitoring", [group("system:monitoring")]),
        binding("system:discovery", "system:discovery", [group(AUTHENTICATED)]),
        binding("system:basic-user", "system:basic-user", [group(AUTHENTICATED)]),
        binding(
            "system:public-info-viewer",
            "system:public-info-viewer",
            [group(AUTHENTICATED), group(UNAUTHENTICATED)],
        ),
        binding(
            "system:service-account-issuer-discovery",
            "system:service-account-issuer-discovery",
            [group("system:serviceaccounts")],
        ),
    ]
}
