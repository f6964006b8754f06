//! How objects go.

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

use crate::harness::{Server, config_map, refusal};

#[tokio::test]
async fn finalizers_hold_an_object() {
    let server = Server::start().await;
    let maps = server.config_maps();
    let mut held = config_map("a", "1");
    held.metadata.finalizers = Some(vec!["example.com/hold".to_owned()]);
    let created = maps.create(&PostParams::default(), &held).await.unwrap();
    let pending = maps.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(pending.metadata.deletion_timestamp.is_some());
    assert_eq!(pending.metadata.uid, created.metadata.uid);
    assert_eq!(pending.metadata.deletion_grace_period_seconds, Some(0));

    let add = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    let status = refusal(maps.patch("a", &PatchParams::default(), &Patch::Merge(add)).await);
    assert_eq!(status.code, 422);
    let free = json!({"metadata": {"finalizers": null}});
    maps.patch("a", &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
    assert_eq!(refusal(maps.get("a").await).code, 404);
}

#[tokio::test]
async fn preconditions_and_policies_count() {
    let server = Server::start().await;
    let maps = server.config_maps();
    maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let preconditions = Preconditions { uid: Some("another".to_owned()), resource_version: None };
    let status = refusal(maps.delete("a", &DeleteParams::default().preconditions(preconditions)).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));

    let pending = maps.delete("a", &DeleteParams::foreground()).await.unwrap().left().unwrap();
    assert_eq!(pending.metadata.finalizers.unwrap(), ["foregroundDeletion"]);
    let gone = maps.delete("a", &DeleteParams::background()).await.unwrap().right().unwrap();
    assert_eq!(gone.status, Some(kube::core::response::StatusSummary::Success));
    assert_eq!(gone.details.unwrap().kind, "configmaps");
    assert_eq!(refusal(maps.delete("a", &DeleteParams::default()).await).code, 404);
}

#[tokio::test]
async fn a_bound_pod_is_given_time() {
    let server = Server::start().await;
    let pods: Api<Pod> = Api::default_namespaced(server.client());
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "a"},
        "spec": {"terminationGracePeriodSeconds": 30, "containers": [{"name": "c", "image": "i"}]},
    }))
    .unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"},
    });
    let path = "/api/v1/namespaces/default/pods/a/binding";
    let (code, status) = server.json("POST", path, &binding).await;
    assert_eq!((code, status["status"].as_str()), (201, Some("Success")));
    let mut another = binding.clone();
    another["metadata"]["name"] = "b".into();
    let (code, status) = server.json("POST", path, &another).await;
    assert_eq!((code, &status["message"]), (400, &json!("name in URL does not match name in Binding object")));
    let mut elsewhere = binding.clone();
    elsewhere["target"]["name"] = "m".into();
    let (code, status) = server.json("POST", path, &elsewhere).await;
    assert_eq!(code, 409, "{status}");
    assert_eq!(pods.get("a").await.unwrap().spec.unwrap().node_name.unwrap(), "n");

    let pending = pods.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(pending.metadata.deletion_grace_period_seconds, Some(30));
    let longer = pods.delete("a", &DeleteParams::default().grace_period(60)).await.unwrap().left().unwrap();
    assert_eq!(longer.metadata.deletion_grace_period_seconds, Some(30));
    pods.delete("a", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(refusal(pods.get("a").await).code, 404);
}

#[tokio::test]
async fn a_namespace_goes_when_its_finalizers_are_gone() {
    let server = Server::start().await;
    let namespaces: Api<Namespace> = Api::all(server.client());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let pending = namespaces.delete("n", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(pending.status.clone().unwrap().phase.unwrap(), "Terminating");

    let body = serde_json::to_value(config_map("a", "1")).unwrap();
    let (code, status) = server.json("POST", "/api/v1/namespaces/n/configmaps", &body).await;
    assert_eq!((code, status["details"]["causes"][0]["reason"].as_str()), (403, Some("NamespaceTerminating")));

    let mut free = pending;
    free.spec.as_mut().unwrap().finalizers = None;
    let free = serde_json::to_value(free).unwrap();
    let (code, _) = server.json("PUT", "/api/v1/namespaces/n/finalize", &free).await;
    assert_eq!(code, 200);
    assert_eq!(refusal(namespaces.get("n").await).code, 404);

    let (code, status) = server.json("POST", "/api/v1/namespaces/n/configmaps", &body).await;
    assert_eq!((code, status["message"].as_str()), (404, Some("namespaces \"n\" not found")));
    let status = refusal(namespaces.delete("default", &DeleteParams::default()).await);
    assert_eq!(status.message, "namespaces \"default\" is forbidden: this namespace may not be deleted");
}

#[tokio::test]
async fn a_collection_goes_by_selector() {
    let server = Server::start().await;
    let nodes: Api<Node> = Api::all(server.client());
    for (name, color) in [("a", "red"), ("b", "blue"), ("c", "red")] {
        let node = json!({"metadata": {"name": name, "labels": {"color": color}}});
        nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    }
    let selected = kube::api::ListParams::default().labels("color=red");
    let gone = nodes.delete_collection(&DeleteParams::default(), &selected).await.unwrap().left().unwrap();
    assert_eq!(gone.items.len(), 2);
    let left = nodes.list(&kube::api::ListParams::default()).await.unwrap();
    assert_eq!(left.items.len(), 1);
}

/// `bindings` is the older way to what `pods/binding` does.
#[tokio::test]
async fn a_binding_binds_the_pod_that_it_names() {
    let server = Server::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let bindings = "/api/v1/namespaces/default/bindings";
    for name in ["a", "b"] {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        assert_eq!(server.json("POST", pods, &pod).await.0, 201);
    }
    let binding = |name: &str, kind: &str| {
        let metadata = json!({"name": name, "annotations": {"by": "hand"}});
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": {"kind": kind, "name": "n"}})
    };
    let (code, status) = server.json("POST", bindings, &binding("a", "Pod")).await;
    assert_eq!(
        (code, status["message"].as_str()),
        (
            422,
            Some(
                "Binding \"a\" is invalid: target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \
                 \"<empty>\""
            )
        )
    );
    let (code, _) = server.json("POST", &format!("{bindings}?dryRun=All"), &binding("a", "Node")).await;
    assert_eq!(code, 201);
    assert_eq!(server.json("GET", &format!("{pods}/a"), &Value::Null).await.1["spec"].get("nodeName"), None);
    let (code, status) = server.json("POST", bindings, &binding("a", "Node")).await;
    assert_eq!((code, status["status"].as_str()), (201, Some("Success")), "{status}");
    let (_, pod) = server.json("GET", &format!("{pods}/a"), &Value::Null).await;
    assert_eq!((&pod["spec"]["nodeName"], &pod["metadata"]["annotations"]["by"]), (&json!("n"), &json!("hand")));
    assert_eq!(server.json("POST", bindings, &binding("a", "Node")).await.0, 409);
    assert_eq!(server.json("POST", bindings, &binding("none", "Node")).await.0, 404);
    for (method, path) in
        [("GET", bindings.to_owned()), ("GET", format!("{bindings}/a")), ("PUT", format!("{bindings}/a"))]
    {
        assert_eq!(server.json(method, &path, &binding("b", "")).await.0, 405, "{method} {path}");
    }
}
