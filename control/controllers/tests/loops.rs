//! Controllers and scheduler against a real API server in this process. A kubelet's part is played: pods that are bound
//! become ready, pods that are deleted end.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "loops/cluster.rs"]
mod cluster;
#[path = "loops/quota.rs"]
mod quota;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource as _};
use serde_json::{from_value, json};

use cluster::{Cluster, eventually};

fn deployment(image: &str) -> Deployment {
    from_value(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image, "resources": {"requests": {"cpu": "100m"}}}]},
            },
        },
    }))
    .unwrap()
}

async fn rolled_out(client: &Client, namespace: &str) {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    eventually("the rollout is complete", async || {
        let deployment = api.get("web").await.unwrap();
        let status = deployment.status.unwrap_or_default();
        status.observed_generation == deployment.metadata.generation
            && status.updated_replicas == Some(3)
            && status.replicas == Some(3)
            && status.available_replicas == Some(3)
    })
    .await;
}

/// `[sig-api-machinery] Garbage collector should delete RS created by deployment when not orphaning`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_lives_and_goes() {
    let cluster = Cluster::start().await;
    let client = cluster.client();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), "default");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let service: Service = from_value(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }))
    .unwrap();
    Api::<Service>::namespaced(client.clone(), "default").create(&PostParams::default(), &service).await.unwrap();
    deployments.create(&PostParams::default(), &deployment("one")).await.unwrap();
    rolled_out(&client, "default").await;

    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let of_web = ListParams::default().labels("kubernetes.io/service-name=web");
    eventually("three endpoints are ready", async || {
        let slices = slices.list(&of_web).await.unwrap();
        let endpoints = slices.items.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        endpoints.filter(|endpoint| endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(true)).count() == 3
    })
    .await;
    let endpoints: Api<Endpoints> = Api::namespaced(client.clone(), "default");
    eventually("Endpoints have three addresses", async || {
        let endpoints = endpoints.get_opt("web").await.unwrap();
        let subsets = endpoints.and_then(|endpoints| endpoints.subsets).unwrap_or_default();
        subsets.iter().flat_map(|subset| subset.addresses.iter().flatten()).count() == 3
    })
    .await;

    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "two"}]}}}});
    deployments.patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    rolled_out(&client, "default").await;
    let all = sets.list(&ListParams::default()).await.unwrap();
    assert_eq!(all.items.len(), 2);
    let annotations = deployments.get("web").await.unwrap().metadata.annotations.unwrap_or_default();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "2");

    deployments.delete("web", &DeleteParams::background()).await.unwrap();
    eventually("ReplicaSets and pods are collected", async || {
        let sets = sets.list(&ListParams::default()).await.unwrap();
        sets.items.is_empty() && pods.list(&ListParams::default()).await.unwrap().items.is_empty()
    })
    .await;
    cluster.stop().await;
}

/// `[sig-auth] ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace`,
/// `[sig-api-machinery] Namespaces [Serial] should ensure that all pods are removed when a namespace is deleted`,
/// `[sig-api-machinery] Namespaces [Serial] should ensure that all services are removed when a namespace is deleted`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_furnished_and_emptied() {
    let cluster = Cluster::start().await;
    let client = cluster.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = from_value(json!({"metadata": {"name": "shop"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "shop");
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), "shop");
    eventually("account and certificate are there", async || {
        accounts.get_opt("default").await.unwrap().is_some()
            && config_maps.get_opt("kube-root-ca.crt").await.unwrap().is_some()
    })
    .await;
    let intact = async |what: &str| {
        eventually(what, async || {
            let map = config_maps.get_opt("kube-root-ca.crt").await.unwrap().and_then(|map| map.data);
            map.is_some_and(|data| data["ca.crt"] == "a certificate")
        })
        .await;
    };
    config_maps.delete("kube-root-ca.crt", &DeleteParams::default()).await.unwrap();
    intact("the certificate is there again").await;
    let other = Patch::Merge(json!({"data": {"ca.crt": "another"}}));
    config_maps.patch("kube-root-ca.crt", &PatchParams::default(), &other).await.unwrap();
    intact("the certificate is the right one again").await;

    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "shop");
    deployments.create(&PostParams::default(), &deployment("one")).await.unwrap();
    let services: Api<Service> = Api::namespaced(client.clone(), "shop");
    let service = from_value(json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})).unwrap();
    services.create(&PostParams::default(), &service).await.unwrap();
    rolled_out(&client, "shop").await;
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", async || namespaces.get_opt("shop").await.unwrap().is_none()).await;
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "shop");
    assert!(pods.list(&ListParams::default()).await.unwrap().items.is_empty());
    assert!(services.list(&ListParams::default()).await.unwrap().items.is_empty());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreground_deletion_ends_after_its_dependents() {
    let cluster = Cluster::start().await;
    let client = cluster.client();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    deployments.create(&PostParams::default(), &deployment("one")).await.unwrap();
    rolled_out(&client, "default").await;
    deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
    eventually("the Deployment is gone", async || deployments.get_opt("web").await.unwrap().is_none()).await;
    assert!(pods.list(&ListParams::default()).await.unwrap().items.is_empty());
    cluster.stop().await;
}

/// `[sig-api-machinery] Garbage collector should orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_stay_and_have_no_owner() {
    let cluster = Cluster::start().await;
    let client = cluster.client();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), "default");
    deployments.create(&PostParams::default(), &deployment("one")).await.unwrap();
    rolled_out(&client, "default").await;
    deployments.delete("web", &DeleteParams::orphan()).await.unwrap();
    eventually("the Deployment is gone", async || deployments.get_opt("web").await.unwrap().is_none()).await;
    let left = sets.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].metadata.owner_references, None);
    cluster.stop().await;
}

/// An object of these owners, which wait for it when they are deleted in the foreground.
async fn owned(maps: &Api<ConfigMap>, name: &str, owners: &[&ConfigMap]) -> ConfigMap {
    let owners: Vec<_> = owners.iter().map(|owner| owner.owner_ref(&()).unwrap()).collect();
    let mut object: ConfigMap = from_value(json!({"metadata": {"name": name, "ownerReferences": owners}})).unwrap();
    for owner in object.metadata.owner_references.iter_mut().flatten() {
        owner.block_owner_deletion = Some(true);
    }
    maps.create(&PostParams::default(), &object).await.unwrap()
}

/// `[sig-api-machinery] Garbage collector should not be blocked by dependency circle`,
/// `[sig-api-machinery] Garbage collector should not delete dependents that have both valid owner and owner that's waiting for
/// dependents to be deleted`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_in_a_circle_go_and_other_owners_hold() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let a = owned(&maps, "a", &[]).await;
    let b = owned(&maps, "b", &[&a]).await;
    let c = owned(&maps, "c", &[&b]).await;
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": c.metadata.uid, "blockOwnerDeletion": true}]);
    let circle = Patch::Merge(json!({"metadata": {"ownerReferences": owner}}));
    maps.patch("a", &PatchParams::default(), &circle).await.unwrap();
    maps.delete("a", &DeleteParams::foreground()).await.unwrap();
    eventually("the circle is gone", async || {
        let left = maps.list(&ListParams::default()).await.unwrap().items;
        !left.iter().any(|map| matches!(map.metadata.name.as_deref(), Some("a" | "b" | "c")))
    })
    .await;

    let [going, staying] = [owned(&maps, "going", &[]).await, owned(&maps, "staying", &[]).await];
    owned(&maps, "ones", &[&going]).await;
    owned(&maps, "boths", &[&going, &staying]).await;
    maps.delete("going", &DeleteParams::foreground()).await.unwrap();
    eventually("the owner is gone", async || maps.get_opt("going").await.unwrap().is_none()).await;
    assert!(maps.get_opt("ones").await.unwrap().is_none());
    let owners = maps.get("boths").await.unwrap().metadata.owner_references.unwrap_or_default();
    assert_eq!(owners.iter().map(|owner| owner.name.as_str()).collect::<Vec<_>>(), ["staying"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_too_large_is_told_why_and_placed_when_room_comes() {
    let cluster = Cluster::start().await;
    let pods: Api<Pod> = Api::namespaced(cluster.client(), "default");
    let pod: Pod = from_value(json!({
        "metadata": {"name": "large"},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "64"}}}]},
    }))
    .unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    eventually("the pod says why it waits", async || {
        let status = pods.get("large").await.unwrap().status.unwrap_or_default();
        status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.message.as_deref() == Some("0/1 nodes are available: 1 Insufficient cpu."))
    })
    .await;
    cluster.add_node("big", "128").await;
    eventually("it is bound", async || {
        pods.get("large").await.unwrap().spec.and_then(|spec| spec.node_name).as_deref() == Some("big")
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_has_a_range_of_its_own_until_there_is_none_left() {
    let cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client());
    let range = async |name: &str| {
        let node = nodes.get_opt(name).await.unwrap();
        node.and_then(|node| node.spec).and_then(|spec| spec.pod_cidr)
    };
    // Four blocks, of which the node that the cluster starts with has one.
    for name in ["a", "b", "c", "d"] {
        cluster.add_node(name, "8").await;
    }
    let mut held = std::collections::BTreeMap::new();
    eventually("all blocks are allocated", async || {
        for name in ["small", "a", "b", "c", "d"] {
            if let Some(range) = range(name).await {
                held.insert(name, range);
            }
        }
        held.len() == 4
    })
    .await;
    let ranges: std::collections::BTreeSet<&String> = held.values().collect();
    assert_eq!(ranges.len(), 4, "{held:?}");
    let (goes, block) = held.iter().find(|(name, _)| **name != "small").unwrap();
    let waits = ["a", "b", "c", "d"].into_iter().find(|name| !held.contains_key(name)).unwrap();
    nodes.delete(goes, &DeleteParams::default()).await.unwrap();
    eventually("the block that was given back is used", async || range(waits).await.as_ref() == Some(block)).await;
    cluster.stop().await;
}
