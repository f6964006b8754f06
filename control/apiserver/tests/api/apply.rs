//! Server-side apply, and who owns what after other writes.

use serde_json::{Value, json};

use crate::harness::Server;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const APPLY: &str = "application/apply-patch+yaml";
pub(crate) const MERGE: &str = "application/merge-patch+json";

impl Server {
    pub(crate) async fn apply(&self, path: &str, manager: &str, body: &Value) -> (u16, Value) {
        self.patch(&format!("{path}?fieldManager={manager}"), APPLY, body).await
    }

    async fn get(&self, path: &str) -> Value {
        self.json("GET", path, &Value::Null).await.1
    }
}

fn map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn deployment(spec: &Value) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {
        "selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object
}

/// The fields of a manager, by name and subresource.
pub(crate) fn owned(object: &Value, manager: &str, subresource: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let same = |entry: &&Value| {
        entry["manager"] == manager && entry["subresource"].as_str().unwrap_or_default() == subresource
    };
    entries.iter().find(same).map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    entries.iter().map(|e| format!("{} {}", text(e, "operation"), text(e, "manager"))).collect()
}

#[tokio::test]
async fn applying_creates_and_applying_again_changes_nothing() {
    let server = Server::start().await;
    let path = format!("{DEPLOYMENTS}/a");
    let (code, created) = server.apply(&path, "me", &deployment(&json!({"replicas": 2}))).await;
    assert_eq!(code, 201, "{created}");
    assert_eq!(managers(&created), ["Apply me"]);
    assert_eq!(
        owned(&created, "me", ""),
        json!({"f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {"f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}}}}}}})
    );
    let entry = &created["metadata"]["managedFields"][0];
    assert_eq!((&entry["apiVersion"], &entry["fieldsType"]), (&json!("apps/v1"), &json!("FieldsV1")));
    assert!(entry["time"].as_str().is_some_and(|time| time.len() == 20), "{entry}");

    let (code, again) = server.apply(&path, "me", &deployment(&json!({"replicas": 2}))).await;
    assert_eq!(code, 200, "{again}");
    assert_eq!(again, created);
    let (code, fewer) = server.apply(&path, "me", &deployment(&json!({}))).await;
    assert_eq!((code, &fewer["spec"]["replicas"]), (200, &json!(1)), "{fewer}");
    assert_eq!(owned(&fewer, "me", "")["f:spec"].get("f:replicas"), None);
}

#[tokio::test]
async fn conflicts_name_owners_and_fields() {
    let server = Server::start().await;
    let path = format!("{DEPLOYMENTS}/a");
    server.apply(&path, "me", &deployment(&json!({"replicas": 2}))).await;
    let (code, status) = server.apply(&path, "other", &deployment(&json!({"replicas": 3}))).await;
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")), "{status}");
    assert_eq!(status["message"], "Apply failed with 1 conflict: conflict with \"me\": .spec.replicas");
    let cause = json!({"reason": "FieldManagerConflict", "message": "conflict with \"me\"", "field": ".spec.replicas"});
    assert_eq!(status["details"]["causes"], json!([cause]));

    let image = json!({"spec": {"replicas": 4}});
    let (code, _) = server.patch(&format!("{path}?fieldManager=kubectl-patch"), MERGE, &image).await;
    assert_eq!(code, 200);
    let (code, status) = server.apply(&path, "other", &deployment(&json!({"replicas": 3}))).await;
    assert_eq!(code, 409);
    assert_eq!(
        status["message"],
        "Apply failed with 1 conflict: conflict with \"kubectl-patch\" using apps/v1: .spec.replicas"
    );
    let (code, forced) = server
        .patch(&format!("{path}?fieldManager=other&force=true"), APPLY, &deployment(&json!({"replicas": 3})))
        .await;
    assert_eq!((code, &forced["spec"]["replicas"]), (200, &json!(3)), "{forced}");
    assert_eq!(managers(&forced), ["Apply me", "Apply other"]);
    assert_eq!(forced["metadata"]["generation"], 3);
}

#[tokio::test]
async fn lists_are_owned_item_by_item() {
    let server = Server::start().await;
    let path = format!("{DEPLOYMENTS}/a");
    server.apply(&path, "me", &deployment(&json!({}))).await;
    let side = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {"template":
        {"spec": {"containers": [{"name": "side", "image": "s", "env": [{"name": "A", "value": "1"}],
            "ports": [{"containerPort": 80}]}]}}}});
    let (code, both) = server.apply(&path, "injector", &side).await;
    assert_eq!(code, 200, "{both}");
    let names = |object: &Value| -> Vec<String> {
        let list = object["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        list.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&both), ["c", "side"]);
    assert_eq!(
        owned(&both, "injector", "")["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"side\"}"],
        json!({".": {}, "f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}}}, "f:image": {},
            "f:name": {}, "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}})
    );
    let mut none = side;
    none["spec"]["template"]["spec"]["containers"] = json!([]);
    let (code, one) = server.apply(&path, "injector", &none).await;
    assert_eq!(code, 200, "{one}");
    assert_eq!(names(&one), ["c"]);
}

#[tokio::test]
async fn every_write_says_who_owns_what() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    let (_, created) =
        server.json("POST", &format!("{MAPS}?fieldManager=maker"), &map(&json!({"x": "1", "y": "1"}))).await;
    assert_eq!(owned(&created, "maker", ""), json!({"f:data": {".": {}, "f:x": {}, "f:y": {}}}));

    // Who sends no name is called as its program is.
    let agent = [("content-type", MERGE), ("user-agent", "editor/1.0 (linux/amd64)")];
    let (_, body) = server.raw("PATCH", &path, &agent, r#"{"data":{"x":"2"}}"#).await;
    let edited: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(owned(&edited, "editor", ""), json!({"f:data": {"f:x": {}}}));
    assert_eq!(owned(&edited, "maker", ""), json!({"f:data": {".": {}, "f:y": {}}}));

    // What changes nothing changes nobody's fields.
    let (_, same) = server.json("PUT", &format!("{path}?fieldManager=idle"), &edited).await;
    assert_eq!(same, edited);
    // A client that knows nothing of managed fields does not remove them.
    let (_, put) = server.json("PUT", &format!("{path}?fieldManager=idle"), &map(&json!({"y": "1"}))).await;
    assert_eq!(managers(&put), ["Update maker"]);
}

#[tokio::test]
async fn managed_fields_can_be_set_and_forgotten() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    server.json("POST", &format!("{MAPS}?fieldManager=maker"), &map(&json!({"x": "1"}))).await;
    let taken = json!([{"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "heir"}]);
    let (code, taken) = server.patch(&path, "application/json-patch+json", &taken).await;
    assert_eq!((code, managers(&taken)), (200, vec!["Update heir".to_owned()]), "{taken}");

    for forget in [json!([{}]), json!([])] {
        let (_, forgotten) = server.patch(&path, MERGE, &json!({"metadata": {"managedFields": forget}})).await;
        assert_eq!(forgotten["metadata"].get("managedFields"), None);
    }
    // Nobody is tracked until the object is applied to; then whoever was there is one.
    let (_, edited) = server.patch(&path, MERGE, &json!({"data": {"y": "1"}})).await;
    assert_eq!(edited["metadata"].get("managedFields"), None);
    let (code, status) = server.apply(&path, "me", &map(&json!({"x": "2"}))).await;
    assert_eq!(code, 409);
    assert_eq!(
        status["message"],
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.x"
    );
    let wrong = json!({"metadata": {"managedFields": [{"manager": "x", "operation": "Steal"}]}});
    let (code, same) = server.patch(&path, MERGE, &wrong).await;
    assert_eq!((code, same["metadata"].get("managedFields")), (200, None));
}

#[tokio::test]
async fn status_and_scale_have_owners_of_their_own() {
    let server = Server::start().await;
    let path = format!("{DEPLOYMENTS}/a");
    server.apply(&path, "me", &deployment(&json!({"replicas": 2}))).await;
    let status = json!({"status": {"replicas": 2}});
    let (_, patched) = server.patch(&format!("{path}/status?fieldManager=controller"), MERGE, &status).await;
    assert_eq!(owned(&patched, "controller", "status"), json!({"f:status": {"f:replicas": {}}}));

    let mut whole = deployment(&json!({"replicas": 9}));
    whole["status"] = json!({"observedGeneration": 1});
    let (code, applied) = server.apply(&format!("{path}/status"), "applier", &whole).await;
    assert_eq!((code, &applied["spec"]["replicas"]), (200, &json!(2)), "{applied}");
    assert_eq!(owned(&applied, "applier", "status"), json!({"f:status": {"f:observedGeneration": {}}}));

    let scale = json!({"spec": {"replicas": 5}});
    let (_, _) = server.patch(&format!("{path}/scale?fieldManager=scaler"), MERGE, &scale).await;
    let scaled = server.get(&path).await;
    assert_eq!(owned(&scaled, "scaler", "scale"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(owned(&scaled, "me", "")["f:spec"].get("f:replicas"), None);
    let (code, status) = server.apply(&path, "me", &deployment(&json!({"replicas": 2}))).await;
    assert_eq!(code, 409);
    assert_eq!(
        status["message"],
        "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": 7}});
    let (code, status) = server.apply(&format!("{path}/scale"), "autoscaler", &scale).await;
    assert_eq!(code, 409, "{status}");
    let force = format!("{path}/scale?fieldManager=autoscaler&force=true");
    let (code, scaled) = server.patch(&force, APPLY, &scale).await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(7)), "{scaled}");
}

#[tokio::test]
async fn bad_configurations_get_answers() {
    let server = Server::start().await;
    let path = format!("{DEPLOYMENTS}/a");
    let (code, status) = server.patch(&path, APPLY, &deployment(&json!({}))).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    let (code, status) = server.patch(&format!("{path}?force=true"), MERGE, &json!({})).await;
    assert_eq!((code, &status["details"]["causes"][0]["field"]), (422, &json!("force")), "{status}");
    let long = format!("{path}?fieldManager={}", "x".repeat(129));
    assert_eq!(server.patch(&long, APPLY, &deployment(&json!({}))).await.0, 422);
    assert_eq!(server.patch(&path, "application/apply-patch+cbor", &json!({})).await.0, 415);

    let refused = async |config: &Value| {
        let (code, status) = server.apply(&path, "me", config).await;
        (code, status["message"].as_str().unwrap_or_default().to_owned())
    };
    let typed = |why: &str| (500, format!("failed to create typed patch object (/a; apps/v1, Kind=Deployment): {why}"));
    assert_eq!(refused(&deployment(&json!({"foo": 1}))).await, typed(".spec.foo: field not declared in schema"));
    assert_eq!(
        refused(&deployment(&json!({"replicas": "3"}))).await,
        typed(".spec.replicas: expected numeric (int or float), got string")
    );
    let mut other = deployment(&json!({}));
    other["kind"] = json!("DaemonSet");
    assert_eq!(refused(&other).await, (400, "invalid object type: apps/v1, Kind=DaemonSet".to_owned()));
    let mut managed = deployment(&json!({}));
    managed["metadata"]["managedFields"] = json!([]);
    assert_eq!(refused(&managed).await, (400, "metadata.managedFields must be nil".to_owned()));
    let mut renamed = deployment(&json!({}));
    renamed["metadata"]["name"] = json!("b");
    assert_eq!(refused(&renamed).await.0, 400);
    assert_eq!(refused(&json!([])).await.0, 400);
    assert_eq!(refused(&Value::Null).await, (400, "invalid object type: /, Kind=".to_owned()));
    let mut owned = deployment(&json!({}));
    owned["metadata"]["uid"] = json!("none");
    assert_eq!(refused(&owned).await.0, 409);
    assert_eq!(refused(&deployment(&json!({"replicas": -1}))).await.0, 422);
    let status = format!("{path}/status");
    assert_eq!(server.apply(&status, "me", &deployment(&json!({}))).await.0, 404);
}

#[tokio::test]
async fn a_dry_run_applies_nothing() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a?dryRun=All&fieldManager=me");
    let (code, created) = server.patch(&path, APPLY, &map(&json!({"x": "1"}))).await;
    assert_eq!((code, &created["data"]["x"]), (201, &json!("1")), "{created}");
    assert_eq!(server.get(&format!("{MAPS}/a")).await["code"], 404);
    server.apply(&format!("{MAPS}/a"), "me", &map(&json!({"x": "1"}))).await;
    let before = server.get(&format!("{MAPS}/a")).await;
    let (code, changed) = server.patch(&path, APPLY, &map(&json!({"x": "2"}))).await;
    assert_eq!((code, &changed["data"]["x"]), (200, &json!("2")), "{changed}");
    assert_eq!(server.get(&format!("{MAPS}/a")).await, before);
}

#[tokio::test]
async fn yaml_and_versions_are_read() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a?fieldManager=me");
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: \"1\"\n";
    let (code, body) = server.raw("PATCH", &path, &[("content-type", APPLY)], yaml).await;
    assert_eq!(code, 201, "{body}");
    let mut old = map(&json!({"x": "2"}));
    old["metadata"]["resourceVersion"] = json!("1");
    let (code, status) = server.apply(&format!("{MAPS}/a"), "me", &old).await;
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")), "{status}");
    let (code, body) = server.raw("PATCH", &path, &[("content-type", APPLY)], "a: [").await;
    assert!(code == 400 && body.contains("error decoding YAML"), "{body}");
}

#[tokio::test]
async fn appliers_that_meet_all_win() {
    let server = Server::start().await;
    let writes = (0..8).map(|i| {
        let server = &server;
        async move { server.apply(&format!("{MAPS}/a"), &format!("m{i}"), &map(&json!({format!("k{i}"): "1"}))).await.0 }
    });
    for code in futures::future::join_all(writes).await {
        assert!(code == 200 || code == 201, "{code}");
    }
    let object = server.get(&format!("{MAPS}/a")).await;
    assert_eq!((object["data"].as_object().unwrap().len(), managers(&object).len()), (8, 8));
}

#[tokio::test]
async fn many_updaters_become_one() {
    let server = Server::start().await;
    server.json("POST", &format!("{MAPS}?fieldManager=m"), &map(&json!({"x": "1"}))).await;
    for i in 0..12 {
        let path = format!("{MAPS}/a?fieldManager=m{i}");
        server.patch(&path, MERGE, &json!({"data": {format!("k{i}"): "1"}})).await;
    }
    let object = server.get(&format!("{MAPS}/a")).await;
    assert_eq!(managers(&object).len(), 10, "{object}");
    assert!(managers(&object).contains(&"Update ancient-changes".to_owned()));
}

#[tokio::test]
async fn a_lease_that_is_renewed_has_one_owner() {
    let server = Server::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let lease = |time: &str| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "n"},
        "spec": {"holderIdentity": "n", "renewTime": time}})
    };
    server.json("POST", &format!("{leases}?fieldManager=kubelet"), &lease("2026-01-01T00:00:00.000000Z")).await;
    let path = format!("{leases}/n?fieldManager=kubelet");
    let (code, renewed) = server.json("PUT", &path, &lease("2026-01-01T00:00:10.000000Z")).await;
    assert_eq!((code, managers(&renewed)), (200, vec!["Update kubelet".to_owned()]), "{renewed}");
    assert_eq!(owned(&renewed, "kubelet", ""), json!({"f:spec": {"f:holderIdentity": {}, "f:renewTime": {}}}));
}

#[tokio::test]
async fn namespaces_pods_and_services_have_owners_where_upstream_has() {
    let server = Server::start().await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pods = "/api/v1/namespaces/default/pods";
    let (code, created) = server.json("POST", &format!("{pods}?fieldManager=m"), &pod).await;
    assert_eq!(code, 201, "{created}");
    assert_eq!(owned(&created, "m", "").get("f:status"), None, "{created}");
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"name": "n"}});
    let (code, _) = server.json("POST", &format!("{pods}/p/binding"), &binding).await;
    assert_eq!(code, 201);
    assert_eq!(managers(&server.get(&format!("{pods}/p")).await), ["Update m"]);

    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": {"app": "a"}, "ports": [{"port": 80}]}});
    let services = "/api/v1/namespaces/default/services";
    let (code, created) = server.apply(&format!("{services}/s"), "m", &service).await;
    assert_eq!(code, 201, "{created}");
    assert_eq!(
        owned(&created, "m", ""),
        json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}, "f:selector": {}}})
    );
    let (code, again) = server.apply(&format!("{services}/s"), "m", &service).await;
    assert_eq!((code, again), (200, created));
}
