//! Roles for the parts of a cluster: nodes, the scheduler, the controllers' process, signers, add-ons.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule};

use super::{
    APPS, AUTHENTICATION, AUTHORIZATION, CERTIFICATES, CONTROLLER_MANAGER, COORDINATION, CORE, DISCOVERY, EXTENSIONS,
    NETWORKING, POLICY, READ, READ_UPDATE, RESOURCE, SCHEDULER, STORAGE, binding, events, group, named, reviews, role,
    rule, service_account, user,
};

/// What a node may do whichever node it is. Objects that it may read only where a pod of its own refers to them are the node
/// authorizer's to decide; which objects it may change is NodeRestriction's.
pub(super) fn node_rules() -> Vec<PolicyRule> {
    vec![
        rule(&["create"], &[AUTHENTICATION], &["tokenreviews"]),
        rule(&["create"], &[AUTHORIZATION], &["localsubjectaccessreviews", "subjectaccessreviews"]),
        rule(READ, &[CORE], &["services"]),
        rule(&["create", "get", "list", "watch"], &[CORE], &["nodes"]),
        rule(&["patch", "update"], &[CORE], &["nodes/status"]),
        rule(&["patch", "update"], &[CORE], &["nodes"]),
        rule(&["create", "patch", "update"], &[CORE], &["events"]),
        rule(READ, &[CORE], &["pods"]),
        rule(&["create", "delete"], &[CORE], &["pods"]),
        rule(&["patch", "update"], &[CORE], &["pods/status"]),
        rule(&["create"], &[CORE], &["pods/eviction"]),
        rule(READ, &[CORE], &["configmaps", "secrets"]),
        rule(&["get"], &[CORE], &["persistentvolumeclaims", "persistentvolumes"]),
        rule(&["get"], &[CORE], &["endpoints"]),
        rule(&["create", "get", "list", "watch"], &[CERTIFICATES], &["certificatesigningrequests"]),
        rule(&["create", "delete", "get", "patch", "update"], &[COORDINATION], &["leases"]),
        rule(&["get"], &[STORAGE], &["volumeattachments"]),
        rule(&["create"], &[CORE], &["serviceaccounts/token"]),
        rule(&["get", "patch", "update"], &[CORE], &["persistentvolumeclaims/status"]),
        rule(READ, &[STORAGE], &["csidrivers"]),
        rule(&["create", "delete", "get", "patch", "update"], &[STORAGE], &["csinodes"]),
        rule(READ, &["node.k8s.io"], &["runtimeclasses"]),
        rule(&["get"], &[RESOURCE], &["resourceclaims"]),
        rule(&["deletecollection"], &[RESOURCE], &["resourceslices"]),
        rule(&["get"], &[CORE], &["serviceaccounts"]),
    ]
}

pub(super) fn roles() -> Vec<ClusterRole> {
    let mut roles = processes();
    roles.extend(signing());
    roles.extend(add_ons());
    roles
}

/// Processes of the control plane and of nodes.
fn processes() -> Vec<ClusterRole> {
    let mut manager = vec![
        events(),
        rule(&["create"], &[COORDINATION], &["leases"]),
        named(&["get", "update"], COORDINATION, "leases", &["kube-controller-manager"]),
        rule(&["create"], &[CORE], &["secrets", "serviceaccounts"]),
        rule(&["delete"], &[CORE], &["secrets"]),
        rule(&["get"], &[CORE], &["configmaps", "namespaces", "secrets", "serviceaccounts"]),
        rule(&["update"], &[CORE], &["secrets", "serviceaccounts"]),
    ];
    manager.extend(reviews());
    manager.push(rule(&["list", "watch"], &["*"], &["*"]));
    manager.push(rule(&["create"], &[CORE], &["serviceaccounts/token"]));
    let mut scheduler = vec![
        events(),
        rule(&["create"], &[COORDINATION], &["leases"]),
        named(&["get", "list", "update", "watch"], COORDINATION, "leases", &["kube-scheduler"]),
        rule(READ, &[CORE], &["nodes"]),
        rule(&["delete", "get", "list", "watch"], &[CORE], &["pods"]),
        rule(&["create"], &[CORE], &["bindings", "pods/binding"]),
        rule(&["patch", "update"], &[CORE], &["pods/status"]),
        rule(READ, &[CORE], &["replicationcontrollers", "services"]),
        rule(READ, &[APPS, EXTENSIONS], &["replicasets"]),
        rule(READ, &[APPS], &["statefulsets"]),
        rule(READ, &[POLICY], &["poddisruptionbudgets"]),
        rule(READ, &[CORE], &["persistentvolumeclaims", "persistentvolumes"]),
    ];
    scheduler.extend(reviews());
    scheduler.extend([
        rule(READ, &[STORAGE], &["csinodes"]),
        rule(READ, &[STORAGE], &["volumeattachments"]),
        rule(READ, &[CORE], &["namespaces"]),
        rule(READ, &[STORAGE], &["csidrivers"]),
        rule(READ, &[STORAGE], &["csistoragecapacities"]),
        rule(READ, &[RESOURCE], &["deviceclasses"]),
        rule(READ_UPDATE, &[RESOURCE], &["resourceclaims"]),
        rule(READ_UPDATE, &[RESOURCE], &["resourceclaims/status"]),
        rule(READ_UPDATE, &[CORE], &["pods/finalizers"]),
        rule(READ, &[RESOURCE], &["resourceslices"]),
        rule(&["patch", "update"], &[RESOURCE], &["resourceclaims/binding"]),
    ]);
    vec![
        role("system:node", node_rules()),
        role(
            "system:node-proxier",
            [
                rule(&["list", "watch"], &[CORE], &["endpoints", "services"]),
                rule(READ, &[CORE], &["nodes"]),
                events(),
                rule(&["list", "watch"], &[DISCOVERY], &["endpointslices"]),
                rule(&["list", "watch"], &[NETWORKING], &["servicecidrs"]),
            ],
        ),
        // What the network of a node of ours is made from; upstream's nodes get it through an add-on's service account.
        role(
            "skep:node-network",
            [
                rule(READ, &[CORE], &["endpoints", "namespaces", "nodes", "pods", "services"]),
                rule(READ, &[DISCOVERY], &["endpointslices"]),
                rule(READ, &[NETWORKING], &["networkpolicies"]),
            ],
        ),
        role(CONTROLLER_MANAGER, manager),
        role(SCHEDULER, scheduler),
        role(
            "system:volume-scheduler",
            [
                rule(READ_UPDATE, &[CORE], &["persistentvolumes"]),
                rule(READ, &[STORAGE], &["storageclasses"]),
                rule(READ_UPDATE, &[CORE], &["persistentvolumeclaims"]),
            ],
        ),
        role(
            "system:kubelet-api-admin",
            [
                rule(READ, &[CORE], &["nodes"]),
                rule(&["proxy"], &[CORE], &["nodes"]),
                rule(&["*"], &[CORE], &["nodes/log", "nodes/metrics", "nodes/proxy", "nodes/stats"]),
                rule(&["*"], &[CORE], &["nodes/configz", "nodes/healthz", "nodes/pods"]),
            ],
        ),
    ]
}

fn signing() -> Vec<ClusterRole> {
    const REQUESTS: &str = "certificatesigningrequests";
    let requested = |part: &str| {
        let resource = format!("{REQUESTS}/{part}");
        role(&format!("system:{CERTIFICATES}:{REQUESTS}:{part}"), [rule(&["create"], &[CERTIFICATES], &[&resource])])
    };
    let approver = |name: &str, signer: &str| {
        let signer = format!("kubernetes.io/{signer}");
        role(&format!("system:{CERTIFICATES}:{name}"), [named(&["approve"], CERTIFICATES, "signers", &[&signer])])
    };
    vec![
        role(
            "system:node-bootstrapper",
            [rule(&["create", "get", "list", "watch"], &[CERTIFICATES], &["certificatesigningrequests"])],
        ),
        requested("nodeclient"),
        requested("selfnodeclient"),
        approver("legacy-unknown-approver", "legacy-unknown"),
        approver("kubelet-serving-approver", "kubelet-serving"),
        approver("kube-apiserver-client-approver", "kube-apiserver-client"),
        approver("kube-apiserver-client-kubelet-approver", "kube-apiserver-client-kubelet"),
        role("system:cluster-trust-bundle-discovery", [rule(READ, &[CERTIFICATES], &["clustertrustbundles"])]),
    ]
}

fn add_ons() -> Vec<ClusterRole> {
    vec![
        role("system:auth-delegator", reviews()),
        role("system:kube-aggregator", [rule(READ, &[CORE], &["endpoints", "services"])]),
        role("system:kube-dns", [rule(&["list", "watch"], &[CORE], &["endpoints", "services"])]),
        role(
            "system:heapster",
            [
                rule(READ, &[CORE], &["events", "namespaces", "nodes", "pods"]),
                rule(READ, &[EXTENSIONS], &["deployments"]),
            ],
        ),
        role(
            "system:node-problem-detector",
            [rule(&["get"], &[CORE], &["nodes"]), rule(&["patch"], &[CORE], &["nodes/status"]), events()],
        ),
        role(
            "system:persistent-volume-provisioner",
            [
                rule(&["create", "delete", "get", "list", "watch"], &[CORE], &["persistentvolumes"]),
                rule(&["get", "list", "update", "watch"], &[CORE], &["persistentvolumeclaims"]),
                rule(READ, &[STORAGE], &["storageclasses"]),
                rule(&["watch"], &[CORE], &["events"]),
                events(),
            ],
        ),
    ]
}

pub(super) fn bindings() -> Vec<ClusterRoleBinding> {
    vec![
        binding("system:node-proxier", "system:node-proxier", [user("system:kube-proxy")]),
        binding(CONTROLLER_MANAGER, CONTROLLER_MANAGER, [user(CONTROLLER_MANAGER)]),
        binding("system:kube-dns", "system:kube-dns", [service_account("kube-system", "kube-dns")]),
        binding(SCHEDULER, SCHEDULER, [user(SCHEDULER)]),
        binding("system:volume-scheduler", "system:volume-scheduler", [user(SCHEDULER)]),
        // Nodes have it from the node authorizer, each for its own objects.
        binding("system:node", "system:node", []),
        binding("skep:node-network", "skep:node-network", [group("system:nodes")]),
        binding("skep:node-bootstrapper", "system:node-bootstrapper", [group("system:bootstrappers")]),
    ]
}
