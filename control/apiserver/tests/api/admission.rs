//! What plugins change, refuse and warn of.

use serde_json::{Value, json};

use crate::harness::Server;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn containers(resources: Value) -> Value {
    json!({"containers": [{"name": "c", "image": "a", "resources": resources}]})
}

async fn create(server: &Server, path: &str, body: Value) -> Value {
    let (code, created) = server.json("POST", path, &body).await;
    assert_eq!(code, 201, "{created}");
    created
}

async fn refusal(server: &Server, path: &str, body: Value) -> String {
    let (code, status) = server.json("POST", path, &body).await;
    assert_eq!((code, status["reason"].as_str()), (403, Some("Forbidden")), "{status}");
    status["message"].as_str().unwrap().to_owned()
}

const LIMITS: &str = "/api/v1/namespaces/default/limitranges";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// [sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied.
#[tokio::test]
async fn limits_fill_in_and_refuse() {
    let server = Server::start().await;
    let item = json!({
        "type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "500m"},
        "default": {"cpu": "300m"}, "defaultRequest": {"cpu": "100m"},
    });
    create(&server, LIMITS, json!({"metadata": {"name": "a"}, "spec": {"limits": [item]}})).await;
    let created = create(&server, PODS, pod("silent", json!({}))).await;
    let resources = json!({"limits": {"cpu": "300m"}, "requests": {"cpu": "100m"}});
    assert_eq!(created["spec"]["containers"][0]["resources"], resources);
    assert_eq!(created["status"]["qosClass"], "Burstable");
    assert_eq!(
        created["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    let partial = create(&server, PODS, pod("partial", containers(json!({"requests": {"cpu": "150m"}})))).await;
    assert_eq!(
        partial["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "300m"}, "requests": {"cpu": "150m"}})
    );
    let small = pod("small", containers(json!({"requests": {"cpu": "10m"}})));
    assert_eq!(
        refusal(&server, PODS, small).await,
        "pods \"small\" is forbidden: minimum cpu usage per Container is 50m, but request is 10m"
    );
    let large = pod("large", containers(json!({"limits": {"cpu": "600m"}})));
    assert_eq!(
        refusal(&server, PODS, large).await,
        "pods \"large\" is forbidden: maximum cpu usage per Container is 500m, but limit is 600m"
    );
    // A range that changed holds for what comes after.
    let (code, _) = server.patch(&format!("{LIMITS}/a"), MERGE, &json!({"spec": {"limits": []}})).await;
    assert_eq!(code, 200);
    create(&server, PODS, pod("small", containers(json!({"requests": {"cpu": "10m"}})))).await;
}

/// [sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection
#[tokio::test]
async fn limits_are_listed_patched_and_deleted() {
    let server = Server::start().await;
    let item = json!({"type": "Container", "default": {"cpu": "100m"}});
    let labels = json!({"e2e": "yes"});
    create(&server, LIMITS, json!({"metadata": {"name": "a", "labels": labels}, "spec": {"limits": [item]}})).await;
    create(&server, LIMITS, json!({"metadata": {"name": "b"}, "spec": {"limits": [item]}})).await;
    let (_, all) = server.json("GET", "/api/v1/limitranges?labelSelector=e2e%3Dyes", &Value::Null).await;
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    let (code, patched) = server
        .patch(
            &format!("{LIMITS}/a"),
            "application/strategic-merge-patch+json",
            &json!({"metadata": {"labels": {"a": "static"}}}),
        )
        .await;
    assert_eq!((code, patched["metadata"]["labels"]["a"].as_str()), (200, Some("static")));
    let (code, _) = server.json("DELETE", &format!("{LIMITS}?labelSelector=a%3Dstatic"), &Value::Null).await;
    assert_eq!(code, 200);
    let (_, left) = server.json("GET", LIMITS, &Value::Null).await;
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

/// [sig-scheduling] SchedulerPreemption [Serial] PriorityClass endpoints verify PriorityClass endpoints can be operated with
/// different HTTP methods
#[tokio::test]
async fn priority_classes_keep_their_value() {
    let server = Server::start().await;
    create(&server, CLASSES, json!({"metadata": {"name": "p1"}, "value": 1})).await;
    let path = format!("{CLASSES}/p1");
    let (code, status) = server.patch(&path, MERGE, &json!({"value": 2})).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "PriorityClass.scheduling.k8s.io \"p1\" is invalid: value: Forbidden: may not be changed in an update."
    );
    let (code, patched) = server.patch(&path, MERGE, &json!({"description": "new"})).await;
    assert_eq!((code, patched["description"].as_str(), patched["value"].as_i64()), (200, Some("new"), Some(1)));
    let (code, _) = server.json("PUT", &path, &patched).await;
    assert_eq!(code, 200);
    let (code, _) = server.json("DELETE", &path, &Value::Null).await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn pods_get_the_priority_of_their_class() {
    let server = Server::start().await;
    let plain = create(&server, PODS, pod("plain", json!({}))).await;
    assert_eq!(plain["spec"]["priority"], 0);
    assert_eq!(plain["spec"]["preemptionPolicy"], "PreemptLowerPriority");
    let critical = create(&server, PODS, pod("critical", json!({"priorityClassName": "system-node-critical"}))).await;
    assert_eq!(critical["spec"]["priority"], 2_000_001_000);
    assert_eq!(
        refusal(&server, PODS, pod("a", json!({"priorityClassName": "none"}))).await,
        "pods \"a\" is forbidden: no PriorityClass with name none was found"
    );
    let class = json!({"metadata": {"name": "usual"}, "value": 7, "globalDefault": true, "preemptionPolicy": "Never"});
    create(&server, CLASSES, class).await;
    let usual = create(&server, PODS, pod("usual", json!({}))).await;
    assert_eq!(usual["spec"]["priorityClassName"], "usual");
    assert_eq!(
        (usual["spec"]["priority"].as_i64(), usual["spec"]["preemptionPolicy"].as_str()),
        (Some(7), Some("Never"))
    );
    assert_eq!(
        refusal(&server, PODS, pod("b", json!({"priority": 8}))).await,
        "pods \"b\" is forbidden: the integer value of priority (8) must not be provided in pod spec; priority admission \
         controller computed 7 from the given PriorityClass name"
    );
    assert_eq!(
        refusal(&server, CLASSES, json!({"metadata": {"name": "other"}, "value": 1, "globalDefault": true})).await,
        "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass usual is already marked as default. Only \
         one default can exist"
    );
}

#[tokio::test]
async fn pods_tolerate_failing_nodes_for_a_while_and_nodes_begin_tainted() {
    let server = Server::start().await;
    let always = json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]);
    let created = create(&server, PODS, pod("a", json!({"tolerations": always}))).await;
    let tolerations = created["spec"]["tolerations"].as_array().unwrap();
    assert_eq!(tolerations.len(), 2);
    assert_eq!(tolerations[1]["key"], "node.kubernetes.io/unreachable");
    assert_eq!(tolerations[1]["tolerationSeconds"], 300);
    let node = create(&server, "/api/v1/nodes", json!({"metadata": {"name": "n"}})).await;
    assert_eq!(node["spec"]["taints"], json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]));
}

#[tokio::test]
async fn namespaces_take_only_what_their_level_allows() {
    let server = Server::start().await;
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    create(&server, "/api/v1/namespaces", json!({"metadata": {"name": "strict", "labels": labels}})).await;
    let privileged = json!({"containers": [{"name": "c", "image": "a", "securityContext": {"privileged": true}}]});
    assert_eq!(
        refusal(&server, "/api/v1/namespaces/strict/pods", pod("a", privileged.clone())).await,
        "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": privileged (container \"c\" must not set \
         securityContext.privileged=true), allowPrivilegeEscalation != false (container \"c\" must set \
         securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set \
         securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set \
         securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set \
         securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    // Workloads are let in with a warning, once, however often the server tries.
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "a"}]}});
    let deployment =
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let (code, warnings) =
        server.warnings("POST", "/apis/apps/v1/namespaces/strict/deployments", JSON, &deployment).await;
    assert_eq!((code, warnings.len()), (201, 1));
    assert!(
        warnings[0]
            .starts_with("would violate PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true), "),
        "{warnings:?}"
    );
    // Whoever raises a level learns of the pods that would not be let in.
    for name in ["x", "y"] {
        create(&server, PODS, pod(name, privileged.clone())).await;
    }
    create(&server, PODS, pod("z", json!({"hostPID": true}))).await;
    let labels = |level: &str| json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
    let (code, warnings) = server.warnings("PATCH", "/api/v1/namespaces/default", MERGE, &labels("baseline")).await;
    assert_eq!(code, 200);
    assert_eq!(
        warnings,
        [
            "existing pods in namespace \"default\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "x (and 1 other pod): privileged",
            "z: host namespaces",
        ]
    );
    let (code, status) = server.patch("/api/v1/namespaces/default", MERGE, &labels("strict")).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "Namespace \"default\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": \
         must be one of privileged, baseline, restricted"
    );
}

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

async fn quota(server: &Server, hard: Value, used: Value) {
    let created = create(server, QUOTAS, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
    let mut measured = created;
    measured["status"] = json!({"hard": hard, "used": used});
    let (code, status) = server.json("PUT", &format!("{QUOTAS}/q/status"), &measured).await;
    assert_eq!(code, 200, "{status}");
}

async fn used(server: &Server) -> Value {
    server.json("GET", &format!("{QUOTAS}/q"), &Value::Null).await.1["status"]["used"].clone()
}

#[tokio::test]
async fn the_last_unit_of_a_quota_is_given_once() {
    let server = Server::start().await;
    quota(&server, json!({"pods": "3", "configmaps": "1"}), json!({"pods": "0", "configmaps": "0"})).await;
    let names: Vec<String> = (0..20).map(|n| format!("p{n}")).collect();
    let all = names.iter().map(|name| async { server.json("POST", PODS, &pod(name, json!({}))).await });
    let answers = futures::future::join_all(all).await;
    assert_eq!(answers.iter().filter(|(code, _)| *code == 201).count(), 3);
    let words = "exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3";
    for (code, status) in answers.iter().filter(|(code, _)| *code != 201) {
        assert_eq!(*code, 403);
        assert!(status["message"].as_str().unwrap().ends_with(&format!("is forbidden: {words}")), "{status}");
    }
    assert_eq!(used(&server).await, json!({"pods": "3", "configmaps": "0"}));
}

#[tokio::test]
async fn what_is_not_written_is_not_charged() {
    let server = Server::start().await;
    quota(&server, json!({"configmaps": "1"}), json!({"configmaps": "0"})).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = |name: &str| json!({"metadata": {"name": name}});
    let (code, _) = server.json("POST", &format!("{maps}?dryRun=All"), &map("a")).await;
    assert_eq!(code, 201);
    let (code, _) = server.json("POST", maps, &json!({"metadata": {"name": "A"}})).await;
    assert_eq!(code, 422);
    assert_eq!(used(&server).await, json!({"configmaps": "0"}));
    create(&server, maps, map("a")).await;
    assert_eq!(used(&server).await, json!({"configmaps": "1"}));
    assert_eq!(
        refusal(&server, maps, map("b")).await,
        "configmaps \"b\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: \
         configmaps=1"
    );
}

#[tokio::test]
async fn a_service_that_changes_its_type_is_charged_for_it() {
    let server = Server::start().await;
    quota(
        &server,
        json!({"services": "2", "services.nodeports": "1"}),
        json!({"services": "0", "services.nodeports": "0"}),
    )
    .await;
    let services = "/api/v1/namespaces/default/services";
    let service =
        |name: &str, kind: &str| json!({"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 1}]}});
    create(&server, services, service("a", "ClusterIP")).await;
    create(&server, services, service("b", "NodePort")).await;
    assert_eq!(used(&server).await, json!({"services": "2", "services.nodeports": "1"}));
    let (code, status) = server.patch(&format!("{services}/a"), MERGE, &json!({"spec": {"type": "NodePort"}})).await;
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        "services \"a\" is forbidden: exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, \
         limited: services.nodeports=1"
    );
}

#[tokio::test]
async fn namespaces_that_the_cluster_needs_stay() {
    let server = Server::start().await;
    let (code, status) = server.json("DELETE", "/api/v1/namespaces/kube-system", &Value::Null).await;
    assert_eq!(code, 403);
    assert_eq!(status["message"], "namespaces \"kube-system\" is forbidden: this namespace may not be deleted");
    let (code, status) = server.json("POST", "/api/v1/namespaces/none/pods", &pod("a", json!({}))).await;
    assert_eq!((code, status["message"].as_str()), (404, Some("namespaces \"none\" not found")));
}

#[tokio::test]
async fn pods_pay_what_their_runtime_class_costs() {
    let server = Server::start().await;
    let class = json!({
        "metadata": {"name": "vm"}, "handler": "vm", "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]},
    });
    create(&server, "/apis/node.k8s.io/v1/runtimeclasses", class).await;
    let created = create(&server, PODS, pod("a", json!({"runtimeClassName": "vm"}))).await;
    assert_eq!(created["spec"]["overhead"], json!({"cpu": "250m"}));
    assert_eq!(created["spec"]["nodeSelector"], json!({"vm": "yes"}));
    assert_eq!(created["spec"]["tolerations"].as_array().unwrap().len(), 3);
    let refused = |spec: Value| refusal(&server, PODS, pod("b", spec));
    assert_eq!(
        refused(json!({"runtimeClassName": "none"})).await,
        "pods \"b\" is forbidden: pod rejected: RuntimeClass \"none\" not found"
    );
    assert_eq!(
        refused(json!({"runtimeClassName": "vm", "overhead": {"cpu": "1"}})).await,
        "pods \"b\" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
    );
    assert_eq!(
        refused(json!({"overhead": {"cpu": "1"}})).await,
        "pods \"b\" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
    );
    assert_eq!(
        refused(json!({"runtimeClassName": "vm", "nodeSelector": {"vm": "no"}})).await,
        "pods \"b\" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no"
    );
}

#[tokio::test]
async fn claims_get_the_default_class_and_grow_where_it_lets_them() {
    let server = Server::start().await;
    let classes = "/apis/storage.k8s.io/v1/storageclasses";
    let class = |name: &str, grows: bool| {
        json!({
            "metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "example.com/disk", "allowVolumeExpansion": grows,
        })
    };
    create(&server, classes, class("grows", true)).await;
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let created = create(&server, claims, claim("a")).await;
    assert_eq!(created["spec"]["storageClassName"], "grows");
    assert_eq!(created["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let source = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/v"}});
    let meta = json!({"name": "v", "finalizers": ["example.com/a", "kubernetes.io/pv-protection"]});
    let volume = create(&server, "/api/v1/persistentvolumes", json!({"metadata": meta.clone(), "spec": source})).await;
    assert_eq!(volume["metadata"]["finalizers"], meta["finalizers"]);
    let path = format!("{claims}/a");
    let larger = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
    let (code, status) = server.patch(&format!("{path}/status"), MERGE, &bound).await;
    assert_eq!(code, 200, "{status}");
    let (code, _) = server.patch(&format!("{classes}/grows"), MERGE, &json!({"allowVolumeExpansion": false})).await;
    assert_eq!(code, 200);
    let (code, status) = server.patch(&path, MERGE, &larger).await;
    assert_eq!((code, status["reason"].as_str()), (403, Some("Forbidden")), "{status}");
    assert_eq!(
        status["message"],
        "persistentvolumeclaims \"a\" is forbidden: only dynamically provisioned pvc can be resized and the storageclass \
         that provisions the pvc must support resize"
    );
    let (code, _) = server.patch(&format!("{classes}/grows"), MERGE, &json!({"allowVolumeExpansion": true})).await;
    assert_eq!(code, 200);
    let (code, grown) = server.patch(&path, MERGE, &larger).await;
    assert_eq!((code, grown["spec"]["resources"]["requests"]["storage"].as_str()), (200, Some("2Gi")), "{grown}");
}

#[tokio::test]
async fn deprecated_fields_are_told() {
    let server = Server::start().await;
    let old = pod("a", json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}));
    let (code, warnings) = server.warnings("POST", PODS, JSON, &old).await;
    assert_eq!(code, 201);
    assert_eq!(
        warnings,
        ["spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead"]
    );
}

/// [sig-api-machinery] ResourceQuota should manage the lifecycle of a ResourceQuota
#[tokio::test]
async fn quotas_are_listed_patched_and_deleted() {
    let server = Server::start().await;
    let labels = json!({"e2e": "yes"});
    let spec = json!({"hard": {"cpu": "1", "memory": "500Mi"}});
    create(&server, QUOTAS, json!({"metadata": {"name": "a", "labels": labels}, "spec": spec})).await;
    let path = format!("{QUOTAS}/a");
    let (code, read) = server.json("GET", &path, &Value::Null).await;
    assert_eq!((code, &read["spec"]["hard"]["memory"]), (200, &json!("500Mi")));
    let more = json!({"metadata": {"labels": {"a": "patched"}}, "spec": {"hard": {"memory": "750Mi"}}});
    let (code, patched) = server.patch(&path, MERGE, &more).await;
    assert_eq!((code, &patched["spec"]["hard"]["memory"]), (200, &json!("750Mi")));
    let (_, all) = server.json("GET", "/api/v1/resourcequotas?labelSelector=a%3Dpatched", &Value::Null).await;
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    let (code, _) = server.json("DELETE", &format!("{QUOTAS}?labelSelector=a%3Dpatched"), &Value::Null).await;
    assert_eq!(code, 200);
    let (code, _) = server.json("GET", &path, &Value::Null).await;
    assert_eq!(code, 404);
}
