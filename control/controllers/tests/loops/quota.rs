//! Quotas: charged by the API server, measured anew by their controller.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ReplicationController, ResourceQuota, Secret, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json};

use crate::cluster::{Cluster, eventually};

async fn make<K>(client: &Client, object: Value) -> kube::Result<K>
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    let object: K = from_value(object).unwrap();
    Api::<K>::namespaced(client.clone(), "default").create(&PostParams::default(), &object).await
}

async fn remove<K>(client: &Client, name: &str)
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), "default");
    api.delete(name, &DeleteParams::background().grace_period(0)).await.unwrap();
}

fn quotas(client: &Client) -> Api<ResourceQuota> {
    Api::namespaced(client.clone(), "default")
}

async fn used(client: &Client, name: &str) -> BTreeMap<String, String> {
    let status = quotas(client).get(name).await.unwrap().status.unwrap_or_default();
    status.used.unwrap_or_default().into_iter().map(|(name, amount)| (name, amount.0)).collect()
}

async fn uses(client: &Client, name: &str, expected: Value) {
    let expected: BTreeMap<String, String> = from_value(expected).unwrap();
    eventually(&format!("quota {name} uses {expected:?}"), async || used(client, name).await == expected).await;
}

fn quota(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

fn pod(name: &str, cpu: &str, more: Value) -> Value {
    let resources = if cpu.is_empty() { json!({}) } else { json!({"requests": {"cpu": cpu}}) };
    let mut pod = json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "a", "resources": resources}], "schedulerName": "none"},
    });
    for (key, value) in more.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn refusal<T: Debug>(result: kube::Result<T>) -> String {
    match result {
        Err(kube::Error::Api(status)) => status.message,
        other => panic!("expected a status, got {other:?}"),
    }
}

/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated.
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a pod.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_charged_while_it_lives() {
    let cluster = Cluster::start().await;
    let client = cluster.client();
    let spec = json!({"hard": {"pods": "2", "requests.cpu": "1", "count/pods": "9"}});
    make::<ResourceQuota>(&client, quota("q", spec)).await.unwrap();
    uses(&client, "q", json!({"pods": "0", "requests.cpu": "0", "count/pods": "0"})).await;
    make::<Pod>(&client, pod("a", "500m", json!({}))).await.unwrap();
    // Charged with the write itself: nothing is waited for.
    assert_eq!(used(&client, "q").await["requests.cpu"], "500m");
    let words = refusal(make::<Pod>(&client, pod("b", "600m", json!({}))).await);
    assert_eq!(
        words,
        "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=500m, limited: \
         requests.cpu=1"
    );
    let words = refusal(make::<Pod>(&client, pod("b", "", json!({}))).await);
    assert_eq!(words, "pods \"b\" is forbidden: failed quota: q: must specify requests.cpu for: c");
    make::<Pod>(&client, pod("b", "500m", json!({}))).await.unwrap();
    // One that ended uses nothing, but is still there.
    let done = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    pods.patch_status("b", &PatchParams::default(), &done).await.unwrap();
    uses(&client, "q", json!({"pods": "1", "requests.cpu": "500m", "count/pods": "2"})).await;
    remove::<Pod>(&client, "a").await;
    remove::<Pod>(&client, "b").await;
    uses(&client, "q", json!({"pods": "0", "requests.cpu": "0", "count/pods": "0"})).await;
    cluster.stop().await;
}

/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a secret.
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a configMap.
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a service.
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replica set.
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replication controller.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sorts_of_objects_are_counted() {
    let cluster = Cluster::start().await;
    let client = cluster.client();
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    eventually("the authority is published", async || config_maps.get_opt("kube-root-ca.crt").await.unwrap().is_some())
        .await;
    let hard = json!({
        "secrets": "1", "configmaps": "5", "count/replicasets.apps": "1", "services": "3", "services.nodeports": "1",
        "services.loadbalancers": "1", "resourcequotas": "2", "count/gadgets.example.com": "1",
        "replicationcontrollers": "1",
    });
    make::<ResourceQuota>(&client, quota("q", json!({"hard": hard}))).await.unwrap();
    let before = json!({
        "secrets": "0", "configmaps": "1", "count/replicasets.apps": "0", "services": "0", "services.nodeports": "0",
        "services.loadbalancers": "0", "resourcequotas": "1", "replicationcontrollers": "0",
    });
    uses(&client, "q", before.clone()).await;
    make::<Secret>(&client, json!({"metadata": {"name": "a"}})).await.unwrap();
    make::<ConfigMap>(&client, json!({"metadata": {"name": "a"}})).await.unwrap();
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    make::<ReplicaSet>(&client, json!({"metadata": {"name": "a"}, "spec": spec})).await.unwrap();
    let spec = json!({"replicas": 0, "selector": {"a": "b"}, "template": template});
    make::<ReplicationController>(&client, json!({"metadata": {"name": "a"}, "spec": spec})).await.unwrap();
    let service =
        |name: &str, kind: &str| json!({"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}});
    make::<Service>(&client, service("a", "NodePort")).await.unwrap();
    make::<Service>(&client, service("b", "ClusterIP")).await.unwrap();
    uses(
        &client,
        "q",
        json!({
            "secrets": "1", "configmaps": "2", "count/replicasets.apps": "1", "services": "2", "services.nodeports": "1",
            "services.loadbalancers": "0", "resourcequotas": "1", "replicationcontrollers": "1",
        }),
    )
    .await;
    let words = refusal(make::<Service>(&client, service("c", "LoadBalancer")).await);
    assert!(
        words.ends_with("requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1")
    );
    let words = refusal(make::<Secret>(&client, json!({"metadata": {"name": "b"}})).await);
    assert!(words.ends_with("exceeded quota: q, requested: secrets=1, used: secrets=1, limited: secrets=1"), "{words}");
    remove::<Secret>(&client, "a").await;
    remove::<ConfigMap>(&client, "a").await;
    remove::<ReplicaSet>(&client, "a").await;
    remove::<ReplicationController>(&client, "a").await;
    remove::<Service>(&client, "a").await;
    remove::<Service>(&client, "b").await;
    uses(&client, "q", before).await;
    cluster.stop().await;
}

/// [sig-api-machinery] ResourceQuota should verify ResourceQuota with terminating scopes.
/// [sig-api-machinery] ResourceQuota should verify ResourceQuota with best effort scope.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scopes_keep_quotas_apart() {
    let cluster = Cluster::start().await;
    let client = cluster.client();
    for scope in ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort"] {
        let spec = json!({"hard": {"pods": "5"}, "scopes": [scope]});
        make::<ResourceQuota>(&client, quota(&scope.to_lowercase(), spec)).await.unwrap();
        uses(&client, &scope.to_lowercase(), json!({"pods": "0"})).await;
    }
    make::<Pod>(&client, pod("idle", "", json!({}))).await.unwrap();
    make::<Pod>(&client, pod("short", "100m", json!({"activeDeadlineSeconds": 3600}))).await.unwrap();
    for name in ["terminating", "notterminating", "besteffort", "notbesteffort"] {
        assert_eq!(used(&client, name).await["pods"], "1", "{name}");
    }
    remove::<Pod>(&client, "idle").await;
    for (name, pods) in [("terminating", "1"), ("notterminating", "0"), ("besteffort", "0"), ("notbesteffort", "1")] {
        uses(&client, name, json!({"pods": pods})).await;
    }
    cluster.stop().await;
}

/// [sig-api-machinery] ResourceQuota should be able to update and delete ResourceQuota.
/// [sig-api-machinery] ResourceQuota should apply changes to a resourcequota status
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_that_changes_is_followed() {
    let cluster = Cluster::start().await;
    let client = cluster.client();
    let api = quotas(&client);
    make::<ResourceQuota>(&client, quota("q", json!({"hard": {"pods": "1"}}))).await.unwrap();
    uses(&client, "q", json!({"pods": "0"})).await;
    let more = Patch::Merge(json!({"spec": {"hard": {"pods": "3", "secrets": "2"}}}));
    api.patch("q", &PatchParams::default(), &more).await.unwrap();
    uses(&client, "q", json!({"pods": "0", "secrets": "0"})).await;
    // Somebody else's numbers do not stay.
    let wrong = Patch::Merge(json!({"status": {"hard": {"pods": "7"}, "used": {"pods": "6"}}}));
    api.patch_status("q", &PatchParams::default(), &wrong).await.unwrap();
    eventually("the status is measured again", async || {
        let status = api.get("q").await.unwrap().status.unwrap();
        status.hard.unwrap()["pods"].0 == "3" && status.used.unwrap()["pods"].0 == "0"
    })
    .await;
    remove::<ResourceQuota>(&client, "q").await;
    assert!(api.get_opt("q").await.unwrap().is_none());
    cluster.stop().await;
}
