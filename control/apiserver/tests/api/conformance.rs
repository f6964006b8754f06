//! What Kubernetes' conformance tests do with one kind after the other, through one list.

use std::pin::pin;

use futures::StreamExt as _;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    WatchEvent, WatchParams,
};
use serde_json::{Value, json};

use crate::harness::{SOON, Server};
use crate::kinds::{group_version, samples};

const MERGE: &str = "application/merge-patch+json";
const LABEL: &str = "conformance=yes";

/// Kinds of the other list whose whole life needs no controller, and some more.
fn kinds() -> Vec<(&'static str, &'static str, Value)> {
    let mut kinds = samples();
    kinds.retain(|(_, kind, _)| {
        !matches!(
            *kind,
            "ReplicationController"
                | "PersistentVolume"
                | "PersistentVolumeClaim"
                | "DaemonSet"
                | "StatefulSet"
                | "Job"
                | "ServiceCIDR"
        )
    });
    let involved = json!({"kind": "Pod", "name": "p", "namespace": "default"});
    kinds.extend([
        ("/api/v1/namespaces/default/configmaps", "ConfigMap", json!({"data": {"a": "1"}})),
        ("/api/v1/namespaces/default/secrets", "Secret", json!({"data": {"a": "MQ=="}})),
        (
            "/api/v1/namespaces/default/endpoints",
            "Endpoints",
            json!({"subsets": [{"addresses": [{"ip": "192.0.2.9"}], "ports": [{"port": 80}]}]}),
        ),
        (
            "/api/v1/namespaces/default/services",
            "Service",
            json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}),
        ),
        (
            "/api/v1/namespaces/default/events",
            "Event",
            json!({"involvedObject": involved, "reason": "R", "message": "m", "type": "Normal"}),
        ),
        ("/apis/coordination.k8s.io/v1/namespaces/default/leases", "Lease", json!({"spec": {"holderIdentity": "h"}})),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            "EndpointSlice",
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.9"]}], "ports": []}),
        ),
        ("/apis/storage.k8s.io/v1/storageclasses", "StorageClass", json!({"provisioner": "example.com/p"})),
    ]);
    kinds
}

/// What a status may become, for those that have one.
fn status(kind: &str) -> Option<Value> {
    let address = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    match kind {
        "Ingress" | "Service" => Some(address),
        "CronJob" => Some(json!({"lastScheduleTime": "2024-01-01T00:00:00Z"})),
        "PodDisruptionBudget" => Some(json!({"disruptionsAllowed": 1})),
        "ValidatingAdmissionPolicy" => Some(json!({"observedGeneration": 1})),
        "VolumeAttachment" => Some(json!({"attached": true})),
        _ => None,
    }
}

/// The client for a collection's path: all namespaces, or the one that the path names.
fn api(server: &Server, path: &str, kind: &str) -> [Api<DynamicObject>; 2] {
    let version = group_version(path);
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let plural = path.rsplit('/').next().unwrap();
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    let all = Api::all_with(server.client(), &resource);
    if path.contains("/namespaces/") {
        [all, Api::namespaced_with(server.client(), "default", &resource)]
    } else {
        [all.clone(), all]
    }
}

fn object(path: &str, kind: &str, name: &str, body: &Value) -> DynamicObject {
    let mut body = body.clone();
    body["apiVersion"] = group_version(path).into();
    body["kind"] = kind.into();
    body["metadata"] = json!({"name": name, "labels": {"conformance": "yes"}});
    serde_json::from_value(body).unwrap()
}

/// Created, read, listed, patched, replaced, its status too, deleted alone and with others, and watched all the while.
async fn goes_through_everything(server: &Server, path: &str, kind: &str, body: &Value) {
    let [all, api] = api(server, path, kind);
    let (params, mine) = (PostParams::default(), ListParams::default().labels(LABEL));
    let created = api.create(&params, &object(path, kind, "a", body)).await.unwrap();
    assert_eq!(api.get("a").await.unwrap(), created, "{kind}");
    for list in [&all, &api] {
        assert_eq!(list.list(&mine).await.unwrap().items.len(), 1, "{kind}");
    }
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"patched": "true"}}}));
    let mut patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.metadata.annotations.as_ref().unwrap()["patched"], "true", "{kind}");
    patched.metadata.annotations.as_mut().unwrap().insert("updated".to_owned(), "true".to_owned());
    let updated = api.replace("a", &params, &patched).await.unwrap();
    assert_eq!(updated.metadata.annotations, patched.metadata.annotations, "{kind}");
    let mut changes = 2;
    if let Some(status) = status(kind) {
        let one = format!("{path}/a/status");
        let (code, patched) = server.patch(&one, MERGE, &json!({"status": status})).await;
        assert_eq!(code, 200, "{kind}: {patched}");
        let (field, value) = status.as_object().unwrap().iter().next().unwrap();
        let (_, mut read) = server.json("GET", &one, &Value::Null).await;
        // What the server adds to it is its own.
        assert!(read["status"][field] == *value || read["status"][field].is_object(), "{kind}: {read}");
        read["status"] = json!({});
        let (code, replaced) = server.json("PUT", &one, &read).await;
        assert_eq!(code, 200, "{kind}: {replaced}");
        assert_ne!(&replaced["status"][field], value, "{kind}");
        changes += 2;
    }
    api.delete("a", &DeleteParams::default()).await.unwrap();
    for name in ["b", "c"] {
        api.create(&params, &object(path, kind, name, body)).await.unwrap();
    }
    assert_eq!(api.list(&mine).await.unwrap().items.len(), 2, "{kind}");
    api.delete_collection(&DeleteParams::default(), &mine).await.unwrap();
    assert!(all.list(&mine).await.unwrap().items.is_empty(), "{kind}");

    let since = created.metadata.resource_version.as_deref().unwrap();
    let mut events = pin!(api.watch(&WatchParams::default().labels(LABEL), since).await.unwrap());
    let (mut modified, mut added, mut deleted) = (0, 0, 0);
    while deleted < 3 {
        match tokio::time::timeout(SOON, events.next()).await.expect(kind).unwrap().unwrap() {
            WatchEvent::Modified(_) => modified += 1,
            WatchEvent::Added(_) => added += 1,
            WatchEvent::Deleted(_) => deleted += 1,
            other => panic!("{kind}: {other:?}"),
        }
    }
    assert_eq!((modified, added), (changes, 2), "{kind}");
}

/// `[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicy API operations`,
/// `[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicyBinding API
/// operations`,
/// `[sig-apps] CronJob should support CronJob API operations`,
/// `[sig-apps] DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a collection of
/// PodDisruptionBudgets`,
/// `[sig-instrumentation] Events should delete a collection of events`,
/// `[sig-instrumentation] Events should manage the lifecycle of an event`,
/// `[sig-network] EndpointSlice should support creating EndpointSlice API operations`,
/// `[sig-network] Ingress API should support creating Ingress API operations`,
/// `[sig-network] IngressClass API should support creating IngressClass API operations`,
/// `[sig-network] Services should complete a service status lifecycle`,
/// `[sig-network] Services should delete a collection of services`,
/// `[sig-network] Services should test the lifecycle of an Endpoint`,
/// `[sig-node] ConfigMap should run through a ConfigMap lifecycle`,
/// `[sig-node] Lease lease API should be available`,
/// `[sig-node] PodTemplates should delete a collection of pod templates`,
/// `[sig-node] PodTemplates should run the lifecycle of PodTemplates`,
/// `[sig-node] RuntimeClass should support RuntimeClasses API operations`,
/// `[sig-node] Secrets should patch a secret`,
/// `[sig-storage] CSIInlineVolumes should run through the lifecycle of a CSIDriver`,
/// `[sig-storage] CSINodes CSI Conformance should run through the lifecycle of a csinode`,
/// `[sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations`,
/// `[sig-storage] StorageClasses CSI Conformance should run through the lifecycle of a StorageClass`,
/// `[sig-storage] VolumeAttachment Conformance should apply changes to a volumeattachment status`,
/// `[sig-storage] VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment`.
#[tokio::test]
async fn kinds_go_through_all_operations() {
    let server = Server::start().await;
    for (path, kind, body) in kinds() {
        goes_through_everything(&server, path, kind, &body).await;
    }
}

/// `[sig-api-machinery] Namespaces [Serial] should patch a Namespace`,
/// `[sig-api-machinery] Namespaces [Serial] should apply an update to a Namespace`,
/// `[sig-api-machinery] Namespaces [Serial] should apply changes to a namespace status`,
/// `[sig-api-machinery] Namespaces [Serial] should apply a finalizer to a Namespace`.
#[tokio::test]
async fn a_namespace_changes() {
    let server = Server::start().await;
    let one = "/api/v1/namespaces/n";
    let (code, _) = server.json("POST", "/api/v1/namespaces", &json!({"metadata": {"name": "n"}})).await;
    assert_eq!(code, 201);
    let (code, mut read) = server.patch(one, MERGE, &json!({"metadata": {"labels": {"patched": "yes"}}})).await;
    assert_eq!((code, &read["metadata"]["labels"]["patched"]), (200, &json!("yes")));
    read["metadata"]["labels"]["updated"] = json!("yes");
    let (code, mut updated) = server.json("PUT", one, &read).await;
    assert_eq!((code, &updated["metadata"]["labels"]), (200, &read["metadata"]["labels"]));

    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "E2E", "message": "set"});
    let status = format!("{one}/status");
    let (code, patched) =
        server.patch(&status, MERGE, &json!({"status": {"conditions": [condition("Patched")]}})).await;
    assert_eq!((code, &patched["status"]["conditions"][0]["type"]), (200, &json!("Patched")), "{patched}");
    let (_, mut read) = server.json("GET", &status, &Value::Null).await;
    read["status"]["conditions"].as_array_mut().unwrap().push(condition("Updated"));
    let (code, read) = server.json("PUT", &status, &read).await;
    assert_eq!((code, &read["status"]["conditions"][1]["type"]), (200, &json!("Updated")), "{read}");

    updated["metadata"]["resourceVersion"] = Value::Null;
    for finalizers in [json!(["kubernetes", "example.com/fake"]), json!(["kubernetes"])] {
        updated["spec"]["finalizers"] = finalizers.clone();
        let (code, answer) = server.json("PUT", &format!("{one}/finalize"), &updated).await;
        assert_eq!((code, &answer["spec"]["finalizers"]), (200, &finalizers), "{answer}");
    }
}

/// `[sig-api-machinery] server version should find the server version`,
/// `[sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which does not implement
/// metadata`.
#[tokio::test]
async fn the_server_says_what_it_is_and_what_it_cannot_show() {
    let server = Server::start().await;
    let (code, version) = server.json("GET", "/version", &Value::Null).await;
    assert_eq!((code, &version["major"], &version["minor"]), (200, &json!("1"), &json!("37")));
    let review = json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let (code, text) = server.raw("POST", path, &[("accept", table)], &review.to_string()).await;
    assert_eq!(code, 406, "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["reason"], "NotAcceptable");
    let either = format!("{table},application/json");
    let (code, _) = server.raw("POST", path, &[("accept", &either)], &review.to_string()).await;
    assert_eq!(code, 201);
}
