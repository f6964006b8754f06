//! Writers that meet.

use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Server, config_map, refusal};

#[tokio::test]
async fn an_update_of_an_old_version_is_refused() {
    let server = Server::start().await;
    let maps = server.config_maps();
    let first = maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let mut second = first.clone();
    second.data = Some([("key".to_owned(), "2".to_owned())].into());
    let second = maps.replace("a", &PostParams::default(), &second).await.unwrap();
    assert_ne!(first.metadata.resource_version, second.metadata.resource_version);

    let status = refusal(maps.replace("a", &PostParams::default(), &first).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        status.message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to \
         the latest version and try again"
    );

    let unconditional = maps.replace("a", &PostParams::default(), &config_map("a", "3")).await.unwrap();
    assert_eq!(unconditional.data.unwrap()["key"], "3");
    assert_eq!(unconditional.metadata.uid, first.metadata.uid);
}

#[tokio::test]
async fn an_update_that_changes_nothing_is_not_written() {
    let server = Server::start().await;
    let maps = server.config_maps();
    let first = maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let again = maps.replace("a", &PostParams::default(), &first).await.unwrap();
    assert_eq!(first.metadata.resource_version, again.metadata.resource_version);
}

#[tokio::test]
async fn patches_that_meet_all_win() {
    let server = Server::start().await;
    let maps = server.config_maps();
    maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let patches = (0..12).map(|i| {
        let maps = maps.clone();
        async move {
            let patch = json!({"data": {format!("k{i}"): "x"}});
            maps.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await
        }
    });
    for patched in futures::future::join_all(patches).await {
        patched.unwrap();
    }
    assert_eq!(maps.get("a").await.unwrap().data.unwrap().len(), 13);
}

fn service(name: &str, spec: &Value) -> Service {
    let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    for (key, value) in spec.as_object().unwrap() {
        service["spec"][key] = value.clone();
    }
    serde_json::from_value(service).unwrap()
}

#[tokio::test]
async fn services_made_at_once_get_addresses_of_their_own() {
    let server = Server::start().await;
    let services: Api<Service> = Api::default_namespaced(server.client());
    let node_port = json!({"type": "NodePort"});
    let created = (0..20).map(|i| {
        let (services, service) = (services.clone(), service(&format!("s{i}"), &node_port));
        async move { services.create(&PostParams::default(), &service).await }
    });
    let (mut addresses, mut ports) = (Vec::new(), Vec::new());
    for service in futures::future::join_all(created).await {
        let spec = service.unwrap().spec.unwrap();
        addresses.push(spec.cluster_ip.unwrap());
        ports.push(spec.ports.unwrap()[0].node_port.unwrap());
    }
    for values in [addresses.len(), ports.len()] {
        assert_eq!(values, 20);
    }
    addresses.sort();
    addresses.dedup();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!((addresses.len(), ports.len()), (20, 20));
}

#[tokio::test]
async fn a_value_that_is_taken_is_refused_until_it_is_free() {
    let server = Server::start().await;
    let services: Api<Service> = Api::default_namespaced(server.client());
    let params = PostParams::default();
    let address = json!({"clusterIP": "10.96.7.7"});
    services.create(&params, &service("a", &address)).await.unwrap();
    let status = refusal(services.create(&params, &service("b", &address)).await);
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert!(status.message.contains("provided IP is already allocated"), "{}", status.message);

    services.delete("a", &kube::api::DeleteParams::default()).await.unwrap();
    services.create(&params, &service("b", &address)).await.unwrap();

    let port = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30_123}]});
    services.create(&params, &service("c", &port)).await.unwrap();
    let status = refusal(services.create(&params, &service("d", &port)).await);
    assert_eq!(status.code, 422);
    assert!(status.message.contains("provided port is already allocated"), "{}", status.message);
    let to_cluster = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80, "nodePort": null}]}});
    services.patch("c", &PatchParams::default(), &Patch::Merge(to_cluster)).await.unwrap();
    services.create(&params, &service("d", &port)).await.unwrap();
}
