//! Roles for controllers, one each, bound to a service account of kube-system by the same name.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule};

use super::{
    APPS, AUTHORIZATION, AUTOSCALING, BATCH, CERTIFICATES, CONTROLLER_MANAGER, CORE, DISCOVERY, EXTENSIONS, NETWORKING,
    POLICY, RBAC, READ, RESOURCE, STORAGE, binding, events, named, role, rule, service_account, user,
};

const PREFIX: &str = "system:controller:";

/// All controllers run in one process here, as one user, which has the rules of them all.
const ALL: &str = "skep:controllers";

const EXCLUSIVE: &[&str] = &["create", "delete", "get", "list", "update", "watch"];
const OWNED: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const PODS: &[&str] = &["create", "delete", "list", "patch", "watch"];

pub(super) fn roles() -> Vec<ClusterRole> {
    let mut all: Vec<PolicyRule> = Vec::new();
    let mut roles = Vec::new();
    for (name, rules) in each() {
        for rule in rules.iter().map(patching) {
            if !all.contains(&rule) {
                all.push(rule);
            }
        }
        roles.push(role(&format!("{PREFIX}{name}"), rules));
    }
    // Serving certificates of nodes are approved here if their names are the node's; upstream leaves them to an operator.
    all.push(named(&["approve"], CERTIFICATES, "signers", &["kubernetes.io/kubelet-serving"]));
    roles.push(role(ALL, all));
    roles
}

/// What may update an object may patch it: our controllers guard some changes by a patch where upstream's replace the object.
fn patching(rule: &PolicyRule) -> PolicyRule {
    let mut rule = rule.clone();
    if rule.verbs.iter().any(|verb| verb == "update") && rule.verbs.iter().all(|verb| verb != "patch") {
        rule.verbs.push("patch".to_owned());
    }
    rule
}

pub(super) fn bindings() -> Vec<ClusterRoleBinding> {
    let bind = |(name, _): (&str, _)| {
        let role = format!("{PREFIX}{name}");
        binding(&role, &role, [service_account("kube-system", name)])
    };
    let mut bindings: Vec<_> = each().into_iter().map(bind).collect();
    bindings.push(binding(ALL, ALL, [user(CONTROLLER_MANAGER)]));
    bindings
}

fn each() -> Vec<(&'static str, Vec<PolicyRule>)> {
    let mut all = workloads();
    all.extend(network());
    all.extend(storage());
    all.extend(cluster());
    all
}

fn workloads() -> Vec<(&'static str, Vec<PolicyRule>)> {
    let update = &["update"];
    vec![
        (
            "cronjob-controller",
            vec![
                rule(&["get", "list", "update", "watch"], &[BATCH], &["cronjobs"]),
                rule(OWNED, &[BATCH], &["jobs"]),
                rule(update, &[BATCH], &["cronjobs/status"]),
                rule(update, &[BATCH], &["cronjobs/finalizers"]),
                rule(&["delete", "list", "watch"], &[CORE], &["pods"]),
                events(),
            ],
        ),
        (
            "daemon-set-controller",
            vec![
                rule(READ, &[APPS, EXTENSIONS], &["daemonsets"]),
                rule(update, &[APPS, EXTENSIONS], &["daemonsets/status"]),
                rule(update, &[APPS, EXTENSIONS], &["daemonsets/finalizers"]),
                rule(&["list", "watch"], &[CORE], &["nodes"]),
                rule(PODS, &[CORE], &["pods"]),
                rule(&["create"], &[CORE], &["pods/binding"]),
                rule(OWNED, &[APPS], &["controllerrevisions"]),
                events(),
            ],
        ),
        (
            "deployment-controller",
            vec![
                rule(&["get", "list", "update", "watch"], &[APPS, EXTENSIONS], &["deployments"]),
                rule(update, &[APPS, EXTENSIONS], &["deployments/status"]),
                rule(update, &[APPS, EXTENSIONS], &["deployments/finalizers"]),
                rule(OWNED, &[APPS, EXTENSIONS], &["replicasets"]),
                rule(&["get", "list", "update", "watch"], &[CORE], &["pods"]),
                events(),
            ],
        ),
        (
            "replicaset-controller",
            vec![
                rule(&["get", "list", "update", "watch"], &[APPS, EXTENSIONS], &["replicasets"]),
                rule(update, &[APPS, EXTENSIONS], &["replicasets/status"]),
                rule(update, &[APPS, EXTENSIONS], &["replicasets/finalizers"]),
                rule(PODS, &[CORE], &["pods"]),
                events(),
            ],
        ),
        (
            "replication-controller",
            vec![
                rule(&["get", "list", "update", "watch"], &[CORE], &["replicationcontrollers"]),
                rule(update, &[CORE], &["replicationcontrollers/status"]),
                rule(update, &[CORE], &["replicationcontrollers/finalizers"]),
                rule(PODS, &[CORE], &["pods"]),
                events(),
            ],
        ),
        (
            "statefulset-controller",
            vec![
                rule(&["list", "watch"], &[CORE], &["pods"]),
                rule(READ, &[APPS], &["statefulsets"]),
                rule(update, &[APPS], &["statefulsets/status"]),
                rule(update, &[APPS], &["statefulsets/finalizers"]),
                rule(&["create", "delete", "get", "patch", "update"], &[CORE], &["pods"]),
                rule(OWNED, &[APPS], &["controllerrevisions"]),
                rule(&["create", "get", "list", "watch"], &[CORE], &["persistentvolumeclaims"]),
                rule(&["delete", "update"], &[CORE], &["persistentvolumeclaims"]),
                rule(update, &[CORE], &["pods/finalizers"]),
                events(),
            ],
        ),
        (
            "job-controller",
            vec![
                rule(&["get", "list", "patch", "update", "watch"], &[BATCH], &["jobs"]),
                rule(update, &[BATCH], &["jobs/status"]),
                rule(update, &[BATCH], &["jobs/finalizers"]),
                rule(PODS, &[CORE], &["pods"]),
                events(),
            ],
        ),
        (
            "ttl-after-finished-controller",
            vec![rule(&["delete", "get", "list", "watch"], &[BATCH], &["jobs"]), events()],
        ),
        (
            "disruption-controller",
            vec![
                rule(READ, &[APPS, EXTENSIONS], &["deployments"]),
                rule(READ, &[APPS, EXTENSIONS], &["replicasets"]),
                rule(READ, &[CORE], &["replicationcontrollers"]),
                rule(READ, &[POLICY], &["poddisruptionbudgets"]),
                rule(READ, &[APPS], &["statefulsets"]),
                rule(update, &[POLICY], &["poddisruptionbudgets/status"]),
                rule(&["patch", "update"], &[CORE], &["pods/status"]),
                rule(&["get"], &["*"], &["*/scale"]),
                events(),
            ],
        ),
        (
            "horizontal-pod-autoscaler",
            vec![
                rule(READ, &[AUTOSCALING], &["horizontalpodautoscalers"]),
                rule(update, &[AUTOSCALING], &["horizontalpodautoscalers/status"]),
                rule(&["get", "update"], &["*"], &["*/scale"]),
                rule(&["list", "watch"], &[CORE], &["pods"]),
                rule(&["list", "watch"], &["metrics.k8s.io"], &["pods"]),
                rule(READ, &["custom.metrics.k8s.io"], &["*"]),
                rule(READ, &["external.metrics.k8s.io"], &["*"]),
                events(),
            ],
        ),
    ]
}

fn network() -> Vec<(&'static str, Vec<PolicyRule>)> {
    vec![
        (
            "endpoint-controller",
            vec![
                rule(READ, &[CORE], &["pods", "services"]),
                rule(EXCLUSIVE, &[CORE], &["endpoints"]),
                rule(&["create"], &[CORE], &["endpoints/restricted"]),
                events(),
            ],
        ),
        (
            "endpointslice-controller",
            vec![
                rule(READ, &[CORE], &["nodes", "pods", "services"]),
                rule(&["update"], &[CORE], &["services/finalizers"]),
                rule(EXCLUSIVE, &[DISCOVERY], &["endpointslices"]),
                events(),
            ],
        ),
        (
            "endpointslicemirroring-controller",
            vec![
                rule(READ, &[CORE], &["endpoints", "services"]),
                rule(&["update"], &[CORE], &["services/finalizers"]),
                rule(&["update"], &[CORE], &["endpoints/finalizers"]),
                rule(EXCLUSIVE, &[DISCOVERY], &["endpointslices"]),
                events(),
            ],
        ),
        (
            "route-controller",
            vec![rule(&["list", "watch"], &[CORE], &["nodes"]), rule(&["patch"], &[CORE], &["nodes/status"]), events()],
        ),
        (
            "service-controller",
            vec![
                rule(READ, &[CORE], &["services"]),
                rule(&["patch", "update"], &[CORE], &["services/status"]),
                rule(&["list", "watch"], &[CORE], &["nodes"]),
                events(),
            ],
        ),
        (
            "service-cidrs-controller",
            vec![
                rule(&["get", "list", "patch", "update", "watch"], &[NETWORKING], &["servicecidrs"]),
                rule(&["patch", "update"], &[NETWORKING], &["servicecidrs/finalizers"]),
                rule(&["patch", "update"], &[NETWORKING], &["servicecidrs/status"]),
                rule(READ, &[NETWORKING], &["ipaddresses"]),
                events(),
            ],
        ),
    ]
}

fn storage() -> Vec<(&'static str, Vec<PolicyRule>)> {
    vec![
        (
            "attachdetach-controller",
            vec![
                rule(&["list", "watch"], &[CORE], &["persistentvolumeclaims", "persistentvolumes"]),
                rule(READ, &[CORE], &["nodes"]),
                rule(&["patch", "update"], &[CORE], &["nodes/status"]),
                rule(&["list", "watch"], &[CORE], &["pods"]),
                events(),
                rule(&["create", "delete", "get", "list", "watch"], &[STORAGE], &["volumeattachments"]),
                rule(READ, &[STORAGE], &["csidrivers"]),
                rule(READ, &[STORAGE], &["csinodes"]),
            ],
        ),
        (
            "expand-controller",
            vec![
                rule(&["get", "list", "patch", "update", "watch"], &[CORE], &["persistentvolumes"]),
                rule(&["patch", "update"], &[CORE], &["persistentvolumeclaims/status"]),
                rule(READ, &[CORE], &["persistentvolumeclaims"]),
                events(),
            ],
        ),
        (
            "ephemeral-volume-controller",
            vec![
                rule(READ, &[CORE], &["pods"]),
                rule(&["update"], &[CORE], &["pods/finalizers"]),
                rule(&["create", "get", "list", "watch"], &[CORE], &["persistentvolumeclaims"]),
                events(),
            ],
        ),
        (
            "persistent-volume-binder",
            vec![
                rule(EXCLUSIVE, &[CORE], &["persistentvolumes"]),
                rule(&["update"], &[CORE], &["persistentvolumes/status"]),
                rule(&["get", "list", "update", "watch"], &[CORE], &["persistentvolumeclaims"]),
                rule(&["update"], &[CORE], &["persistentvolumeclaims/status"]),
                rule(&["create", "delete", "get", "list", "watch"], &[CORE], &["pods"]),
                rule(READ, &[STORAGE], &["storageclasses"]),
                rule(&["list", "watch"], &[CORE], &["nodes"]),
                events(),
                rule(&["watch"], &[CORE], &["events"]),
            ],
        ),
        (
            "pvc-protection-controller",
            vec![
                rule(&["get", "list", "update", "watch"], &[CORE], &["persistentvolumeclaims"]),
                rule(&["update"], &[CORE], &["persistentvolumeclaims/status"]),
                rule(READ, &[CORE], &["pods"]),
                events(),
            ],
        ),
        (
            "pv-protection-controller",
            vec![rule(&["get", "list", "update", "watch"], &[CORE], &["persistentvolumes"]), events()],
        ),
        (
            "volumeattributesclass-protection-controller",
            vec![
                rule(READ, &[CORE], &["persistentvolumeclaims"]),
                rule(READ, &[CORE], &["persistentvolumes"]),
                rule(&["get", "list", "update", "watch"], &[STORAGE], &["volumeattributesclasses"]),
                events(),
            ],
        ),
        (
            "resource-claim-controller",
            vec![
                rule(READ, &[CORE], &["pods"]),
                rule(&["update"], &[CORE], &["pods/finalizers"]),
                rule(&["create", "delete", "get", "list", "watch"], &[RESOURCE], &["resourceclaims"]),
                rule(&["patch", "update"], &[RESOURCE], &["resourceclaims", "resourceclaims/status"]),
                rule(&["patch", "update"], &[CORE], &["pods/status"]),
                events(),
                rule(&["patch", "update"], &[RESOURCE], &["resourceclaims/binding"]),
            ],
        ),
        (
            "device-taint-eviction-controller",
            vec![
                rule(&["delete", "get", "list", "watch"], &[CORE], &["pods"]),
                rule(&["patch", "update"], &[CORE], &["pods/status"]),
                rule(READ, &[RESOURCE], &["resourceclaims"]),
                rule(READ, &[RESOURCE], &["resourceslices"]),
                rule(READ, &[RESOURCE], &["deviceclasses"]),
                events(),
            ],
        ),
    ]
}

fn cluster() -> Vec<(&'static str, Vec<PolicyRule>)> {
    let signers =
        |names: &[&str]| -> Vec<String> { names.iter().map(|name| format!("kubernetes.io/{name}")).collect() };
    let signed =
        signers(&["legacy-unknown", "kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving"]);
    let signed: Vec<&str> = signed.iter().map(String::as_str).collect();
    vec![
        (
            "clusterrole-aggregation-controller",
            vec![rule(&["escalate", "get", "list", "patch", "update", "watch"], &[RBAC], &["clusterroles"])],
        ),
        (
            "generic-garbage-collector",
            vec![rule(&["delete", "get", "list", "patch", "update", "watch"], &["*"], &["*"]), events()],
        ),
        (
            "namespace-controller",
            vec![
                rule(&["delete", "get", "list", "watch"], &[CORE], &["namespaces"]),
                rule(&["update"], &[CORE], &["namespaces/finalize", "namespaces/status"]),
                rule(&["delete", "deletecollection", "get", "list", "watch"], &["*"], &["*"]),
            ],
        ),
        (
            "node-controller",
            vec![
                rule(&["delete", "get", "list", "patch", "update", "watch"], &[CORE], &["nodes"]),
                rule(&["patch", "update"], &[CORE], &["nodes/status"]),
                rule(&["patch", "update"], &[CORE], &["pods/status"]),
                rule(&["delete", "get", "list", "watch"], &[CORE], &["pods"]),
                events(),
            ],
        ),
        (
            "pod-garbage-collector",
            vec![
                rule(&["delete", "list", "watch"], &[CORE], &["pods"]),
                rule(READ, &[CORE], &["nodes"]),
                rule(&["patch"], &[CORE], &["pods/status"]),
            ],
        ),
        (
            "resourcequota-controller",
            vec![
                rule(&["list", "watch"], &["*"], &["*"]),
                rule(&["update"], &[CORE], &["resourcequotas/status"]),
                events(),
            ],
        ),
        ("service-account-controller", vec![rule(&["create"], &[CORE], &["serviceaccounts"]), events()]),
        ("ttl-controller", vec![rule(&["list", "patch", "update", "watch"], &[CORE], &["nodes"]), events()]),
        (
            "certificate-controller",
            vec![
                rule(&["delete", "get", "list", "watch"], &[CERTIFICATES], &["certificatesigningrequests"]),
                rule(
                    &["update"],
                    &[CERTIFICATES],
                    &["certificatesigningrequests/approval", "certificatesigningrequests/status"],
                ),
                named(&["approve"], CERTIFICATES, "signers", &["kubernetes.io/kube-apiserver-client-kubelet"]),
                named(&["sign"], CERTIFICATES, "signers", &signed),
                rule(&["create"], &[AUTHORIZATION], &["subjectaccessreviews"]),
                events(),
            ],
        ),
        ("root-ca-cert-publisher", vec![rule(&["create", "update"], &[CORE], &["configmaps"]), events()]),
        (
            "legacy-service-account-token-cleaner",
            vec![
                named(&["get"], CORE, "configmaps", &["kube-apiserver-legacy-service-account-token-tracking"]),
                rule(&["delete", "patch"], &[CORE], &["secrets"]),
            ],
        ),
        (
            "validatingadmissionpolicy-status-controller",
            vec![
                rule(READ, &["admissionregistration.k8s.io"], &["validatingadmissionpolicies"]),
                rule(
                    &["get", "patch", "update"],
                    &["admissionregistration.k8s.io"],
                    &["validatingadmissionpolicies/status"],
                ),
                events(),
            ],
        ),
        (
            "selinux-warning-controller",
            vec![
                events(),
                rule(READ, &[CORE], &["persistentvolumes"]),
                rule(READ, &[CORE], &["persistentvolumeclaims"]),
                rule(READ, &[CORE], &["pods"]),
                rule(READ, &[STORAGE], &["csidrivers"]),
            ],
        ),
    ]
}
