//! One request and its answer.

use serde_json::{Value, json};

use crate::harness::Server;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "a"}, {"name": "d", "image": "b"}]},
            },
        },
    })
}

#[tokio::test]
async fn an_object_gets_what_the_server_gives() {
    let server = Server::start().await;
    let (code, created) = server.json("POST", DEPLOYMENTS, &deployment("a")).await;
    assert_eq!(code, 201, "{created}");
    let meta = &created["metadata"];
    assert_eq!(meta["generation"], 1);
    assert_eq!(meta["namespace"], "default");
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        assert!(meta[field].as_str().is_some_and(|v| !v.is_empty()), "{field}: {meta}");
    }
    let (_, read) = server.json("GET", &format!("{DEPLOYMENTS}/a"), &Value::Null).await;
    assert_eq!(read, created);
    let (code, status) = server.json("POST", DEPLOYMENTS, &deployment("a")).await;
    assert_eq!((code, status["reason"].as_str()), (409, Some("AlreadyExists")));
    assert_eq!(status["message"], "deployments.apps \"a\" already exists");
}

#[tokio::test]
async fn names_are_made_where_they_are_asked_for() {
    let server = Server::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let body = json!({"metadata": {"generateName": "a-"}});
    let (code, created) = server.json("POST", maps, &body).await;
    assert_eq!(code, 201);
    let name = created["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("a-") && name.len() == 7, "{name}");
    let (code, status) = server.json("POST", maps, &json!({"metadata": {}})).await;
    assert_eq!((code, status["reason"].as_str()), (422, Some("Invalid")));
    assert_eq!(status["details"]["causes"][0]["field"], "metadata.name");
}

#[tokio::test]
async fn a_dry_run_leaves_nothing_behind() {
    let server = Server::start().await;
    let (code, created) = server.json("POST", &format!("{DEPLOYMENTS}?dryRun=All"), &deployment("a")).await;
    assert_eq!(code, 201);
    assert!(created["metadata"].get("resourceVersion").is_none(), "{created}");
    let (code, _) = server.json("GET", &format!("{DEPLOYMENTS}/a"), &Value::Null).await;
    assert_eq!(code, 404);
    let (code, _) = server.json("POST", &format!("{DEPLOYMENTS}?dryRun=Some"), &deployment("a")).await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn each_sort_of_patch_does_what_it_says() {
    let server = Server::start().await;
    server.json("POST", DEPLOYMENTS, &deployment("a")).await;
    let path = format!("{DEPLOYMENTS}/a");
    let containers =
        |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "d", "image": image}]}}}});
    let strategic = "application/strategic-merge-patch+json";
    let (code, patched) = server.patch(&path, strategic, &containers("new")).await;
    assert_eq!(code, 200, "{patched}");
    assert_eq!(patched["metadata"]["generation"], 2);
    let images = |value: &Value| -> Vec<String> {
        let containers = value["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        containers.iter().map(|c| c["image"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(images(&patched).len(), 2);
    assert!(images(&patched).contains(&"new".to_owned()));

    let (_, patched) = server.patch(&path, "application/merge-patch+json", &containers("only")).await;
    assert_eq!(images(&patched), ["only"]);
    let json_patch = json!([{"op": "replace", "path": "/spec/replicas", "value": 5}]);
    let (_, patched) = server.patch(&path, "application/json-patch+json", &json_patch).await;
    assert_eq!(patched["spec"]["replicas"], 5);

    let failing = json!([{"op": "test", "path": "/spec/replicas", "value": 4}]);
    let (code, status) = server.patch(&path, "application/json-patch+json", &failing).await;
    assert_eq!((code, status["reason"].as_str()), (422, Some("Invalid")));
    let (code, status) = server.patch(&path, "application/apply-patch+cbor", &deployment("a")).await;
    assert_eq!((code, status["reason"].as_str()), (415, Some("UnsupportedMediaType")));
    let (code, _) = server.patch(&path, "application/merge-patch+json", &json!([])).await;
    assert_eq!(code, 400);
    let rename = json!({"metadata": {"name": "b"}});
    let (code, _) = server.patch(&path, "application/merge-patch+json", &rename).await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn status_and_scale_are_apart() {
    let server = Server::start().await;
    let mut body = deployment("a");
    body["status"] = json!({"replicas": 7});
    let (_, created) = server.json("POST", DEPLOYMENTS, &body).await;
    assert!(created["status"].get("replicas").is_none(), "{created}");
    let merge = "application/merge-patch+json";
    let both = json!({"status": {"replicas": 2}, "spec": {"replicas": 9}});
    let (_, patched) = server.patch(&format!("{DEPLOYMENTS}/a/status"), merge, &both).await;
    assert_eq!((&patched["status"]["replicas"], &patched["spec"]["replicas"]), (&json!(2), &json!(2)));
    assert_eq!(patched["metadata"]["generation"], 1);

    let scale = format!("{DEPLOYMENTS}/a/scale");
    let (code, scaled) = server.patch(&scale, merge, &json!({"spec": {"replicas": 4}})).await;
    assert_eq!((code, scaled["kind"].as_str()), (200, Some("Scale")));
    assert_eq!((&scaled["spec"]["replicas"], &scaled["status"]["selector"]), (&json!(4), &json!("app=a")));
    let (code, status) = server.patch(&scale, merge, &json!({"spec": {"replicas": -1}})).await;
    assert_eq!((code, status["details"]["causes"][0]["field"].as_str()), (422, Some("spec.replicas")));
    let (_, read) = server.json("GET", &scale, &Value::Null).await;
    let (code, _) = server.json("PUT", &scale, &read).await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn fields_are_validated_as_asked_for() {
    let server = Server::start().await;
    let mut body = deployment("a");
    body["spec"]["foo"] = 1.into();
    let (code, status) = server.json("POST", &format!("{DEPLOYMENTS}?fieldValidation=Strict"), &body).await;
    assert_eq!((code, status["reason"].as_str()), (400, Some("BadRequest")));
    assert_eq!(
        status["message"],
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \
         \"spec.foo\""
    );
    let request = http::Request::post(DEPLOYMENTS)
        .header("content-type", "application/json")
        .body(kube::client::Body::from(body.to_string().into_bytes()))
        .unwrap();
    let answer = server.client().send(request).await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["warning"], "299 - \"unknown field \\\"spec.foo\\\"\"");

    let mut wrong = deployment("b");
    wrong["spec"]["replicas"] = "3".into();
    let (code, status) = server.json("POST", DEPLOYMENTS, &wrong).await;
    assert_eq!(code, 400);
    assert_eq!(
        status["message"],
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct \
         field Deployment.spec.replicas of type int32"
    );
}

#[tokio::test]
async fn bad_requests_get_answers() {
    let server = Server::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let json_type = [("content-type", "application/json")];
    for (method, path, headers, body, expected) in [
        ("POST", pods, &json_type[..], "{", 400),
        ("POST", pods, &json_type[..], "[]", 400),
        ("POST", pods, &json_type[..], "", 400),
        ("POST", pods, &json_type[..], r#"{"apiVersion":"v2","kind":"Pod"}"#, 400),
        ("POST", pods, &json_type[..], r#"{"apiVersion":"v1","kind":"Node"}"#, 400),
        ("POST", pods, &json_type[..], r#"{"metadata":{"namespace":"other"}}"#, 400),
        ("POST", pods, &[("content-type", "application/cbor")][..], "k8s", 415),
        ("POST", "/api/v1/pods", &json_type[..], "{}", 405),
        ("PUT", pods, &json_type[..], "{}", 405),
        ("TRACE", pods, &[], "", 405),
        ("GET", "/api/v1/namespaces/default/nodes", &[], "", 404),
        ("GET", "/api/v1/namespaces/default/pods/a/exec2", &[], "", 404),
        ("GET", "/api/v1/nonsense", &[], "", 404),
        ("GET", "/apis/nonsense", &[], "", 404),
        ("GET", "/api/v1/namespaces/%ff", &[], "", 400),
        ("GET", "/api/v1/namespaces/default/pods/a", &[], "", 404),
        ("POST", "/api", &[], "", 405),
        ("GET", "/api/v1/namespaces/default/pods?timeout=5", &[], "", 400),
    ] {
        let (code, answer) = server.raw(method, path, headers, body).await;
        assert_eq!(code, expected, "{method} {path} {body}: {answer}");
        let status: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(expected)));
    }
    for timeout in ["0s", "1m30s"] {
        let (code, _) = server.raw("GET", &format!("{pods}?timeout={timeout}"), &[], "").await;
        assert_eq!(code, 200, "{timeout}");
    }
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(3 * 1024 * 1024));
    let (code, _) = server.raw("POST", pods, &json_type, &large).await;
    assert_eq!(code, 413);
}

#[tokio::test]
async fn discovery_says_what_is_served() {
    let server = Server::start().await;
    let (_, groups) = server.json("GET", "/apis", &Value::Null).await;
    let names: Vec<&str> = groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"apps") && !names.contains(&""), "{names:?}");
    let (_, list) = server.json("GET", "/apis/apps/v1", &Value::Null).await;
    let resources = list["resources"].as_array().unwrap();
    let scale = resources.iter().find(|r| r["name"] == "deployments/scale").unwrap();
    assert_eq!((&scale["group"], &scale["kind"]), (&json!("autoscaling"), &json!("Scale")));

    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let (_, body) = server.raw("GET", "/api", &[("accept", aggregated)], "").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["kind"], "APIGroupDiscoveryList");
    assert_eq!(body["items"][0]["versions"][0]["version"], "v1");

    let (_, index) = server.json("GET", "/openapi/v3", &Value::Null).await;
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let (_, document) = server.json("GET", url, &Value::Null).await;
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    assert!(patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation"));
}

#[tokio::test]
async fn a_cluster_has_its_first_objects() {
    let server = Server::start().await;
    let (_, service) = server.json("GET", "/api/v1/namespaces/default/services/kubernetes", &Value::Null).await;
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let (_, slice) = server.json("GET", path, &Value::Null).await;
    assert_eq!(slice["endpoints"][0]["addresses"][0], "192.0.2.1");
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let (code, _) = server.json("GET", &format!("/api/v1/namespaces/{namespace}"), &Value::Null).await;
        assert_eq!(code, 200);
    }
}

#[tokio::test]
async fn an_update_creates_the_kinds_that_upstream_lets_it_create() {
    let server = Server::start().await;
    let lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let body = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}});
    let (code, created) = server.json("PUT", lease, &body).await;
    assert_eq!((code, created["metadata"]["name"].as_str()), (201, Some("l")));
    let (code, _) = server.json("PUT", lease, &created).await;
    assert_eq!(code, 200);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    let (code, status) = server.json("PUT", "/api/v1/namespaces/default/configmaps/m", &map).await;
    assert_eq!((code, status["reason"].as_str()), (404, Some("NotFound")));
}

#[tokio::test]
async fn requests_are_counted_under_upstreams_names() {
    let server = Server::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    server.json("GET", &format!("{maps}/none"), &Value::Null).await;
    let map = json!({"metadata": {"name": "counted"}});
    server.json("POST", &format!("{maps}?dryRun=All"), &map).await;
    server.json("POST", maps, &map).await;
    server.raw("GET", &format!("{maps}?watch=true&timeoutSeconds=1"), &[], "").await;
    let (code, text) = server.raw("GET", "/metrics", &[], "").await;
    assert_eq!(code, 200);
    let labels = |verb: &str, dry_run: &str| {
        format!(
            "{{verb=\"{verb}\",dry_run=\"{dry_run}\",group=\"\",version=\"v1\",resource=\"configmaps\",\
             subresource=\"\",scope=\"resource\",component=\"apiserver\""
        )
    };
    for row in [
        format!("apiserver_request_total{},code=\"404\"}} ", labels("GET", "")),
        format!("apiserver_request_total{},code=\"201\"}} ", labels("POST", "All")),
        format!("apiserver_request_duration_seconds_count{}}} ", labels("POST", "")),
        "apiserver_watch_events_total{group=\"\",version=\"v1\",resource=\"configmaps\"} ".to_owned(),
        "apiserver_longrunning_requests{verb=\"WATCH\",group=\"\",version=\"v1\",resource=\"configmaps\",".to_owned(),
        "apiserver_current_inflight_requests{request_kind=\"mutating\"} ".to_owned(),
        "etcd_request_duration_seconds_count{operation=\"create\",group=\"\",resource=\"configmaps\"} ".to_owned(),
    ] {
        assert!(text.contains(&row), "{row}\n{text}");
    }
}
