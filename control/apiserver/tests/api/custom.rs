//! Custom resources: from a definition to objects and back to nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{SOON, Server};

pub(crate) const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(crate) const FOOS: &str = "/apis/example.com/v1/namespaces/default/foos";

fn spec_schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 10},
            "color": {"type": "string", "default": "red", "enum": ["red", "blue"]},
            "names": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "replicas": {"type": "integer"},
        }},
        "status": {"type": "object", "properties": {"phase": {"type": "string"}, "replicas": {"type": "integer"}}},
    }})
}

pub(crate) fn definition(plural: &str, kind: &str, schema: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, "shortNames": [format!("{plural}x")], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "selectableFields": [{"jsonPath": ".spec.color"}],
            }],
        },
    })
}

pub(crate) fn foo(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": name}, "spec": spec})
}

pub(crate) fn message(status: &Value) -> &str {
    status["message"].as_str().unwrap_or_default()
}

/// Makes a definition and waits until it is established. Returns how long that took.
pub(crate) async fn establish(server: &Server, definition: &Value) -> Duration {
    let began = Instant::now();
    let (code, created) = server.json("POST", CRDS, definition).await;
    assert_eq!(code, 201, "{created}");
    let path = format!("{CRDS}/{}", definition["metadata"]["name"].as_str().unwrap());
    until(server, &path, |crd| condition(crd, "Established")["status"] == "True").await;
    began.elapsed()
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

/// Reads until what is read suits.
async fn until(server: &Server, path: &str, suits: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        let (_, value) = server.json("GET", path, &Value::Null).await;
        if suits(&value) {
            return value;
        }
        assert!(Instant::now() < deadline, "{path} stays {value}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn foos() -> Server {
    let server = Server::start().await;
    establish(&server, &definition("foos", "Foo", &spec_schema())).await;
    server
}

/// `[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition
/// creating/deleting custom resource definition objects works`
#[tokio::test]
async fn a_definition_comes_and_takes_its_objects_with_it() {
    let server = foos().await;
    for name in ["a", "b"] {
        let (code, created) = server.json("POST", FOOS, &foo(name, json!({"size": 3}))).await;
        assert_eq!(code, 201, "{created}");
        assert_eq!(created["metadata"]["generation"], 1);
    }
    let held = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    server.patch(&format!("{FOOS}/a"), "application/merge-patch+json", &held).await;
    let crd = format!("{CRDS}/foos.example.com");
    let (code, pending) = server.json("DELETE", &crd, &Value::Null).await;
    assert_eq!(code, 200);
    assert_eq!(pending["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    until(&server, &format!("{FOOS}/b"), |b| b["reason"] == "NotFound").await;
    let (code, status) = server.json("POST", FOOS, &foo("c", json!({"size": 3}))).await;
    assert_eq!(code, 405);
    assert_eq!(message(&status), "create not allowed while custom resource definition is terminating");
    assert_eq!(condition(&until(&server, &crd, |_| true).await, "Terminating")["reason"], "InstanceDeletionInProgress");

    let free = json!({"metadata": {"finalizers": null}});
    server.patch(&format!("{FOOS}/a"), "application/merge-patch+json", &free).await;
    until(&server, &crd, |crd| crd["reason"] == "NotFound").await;
    let (code, status) = server.json("GET", FOOS, &Value::Null).await;
    assert_eq!((code, message(&status)), (404, "the server could not find the requested resource"));

    // Nothing of the old ones is there when the name comes back.
    establish(&server, &definition("foos", "Foo", &spec_schema())).await;
    let (_, list) = server.json("GET", FOOS, &Value::Null).await;
    assert_eq!((&list["kind"], &list["items"]), (&json!("FooList"), &json!([])));
}

#[tokio::test]
async fn a_definition_is_served_at_once() {
    let server = Server::start().await;
    establish(&server, &definition("foos", "Foo", &spec_schema())).await;
    // Whoever sees it established finds it served.
    let (code, _) = server.json("GET", FOOS, &Value::Null).await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn objects_are_pruned_defaulted_and_validated() {
    let server = foos().await;
    let odd = foo("a", json!({"size": 3, "other": 1}));
    let (code, created) = server.json("POST", FOOS, &odd).await;
    assert_eq!((code, &created["spec"]), (201, &json!({"size": 3, "color": "red"})));
    let (code, status) =
        server.json("POST", &format!("{FOOS}?fieldValidation=Strict"), &foo("b", json!({"size": 3, "other": 1}))).await;
    assert_eq!(code, 400);
    assert_eq!(
        message(&status),
        "Foo in version \"v1\" cannot be handled as a Foo: strict decoding error: unknown field \"spec.other\""
    );
    let (code, status) = server.json("POST", FOOS, &foo("b", json!({"size": 30, "names": ["x", "x"]}))).await;
    assert_eq!(code, 422);
    assert_eq!(
        message(&status),
        "Foo.example.com \"b\" is invalid: [spec.size: Invalid value: 30: spec.size in body should be less than or \
         equal to 10, spec.names[1]: Duplicate value: \"x\"]"
    );
    let (code, status) = server.json("POST", FOOS, &foo("b", json!({}))).await;
    assert_eq!((code, message(&status)), (422, "Foo.example.com \"b\" is invalid: spec.size: Required value"));
    let (code, status) = server.patch(&format!("{FOOS}/a"), "application/strategic-merge-patch+json", &json!({})).await;
    assert_eq!(code, 415, "{status}");
}

#[tokio::test]
async fn status_scale_columns_and_selectors() {
    let server = foos().await;
    for (name, color) in [("a", "red"), ("b", "blue")] {
        let mut object = foo(name, json!({"size": 3, "color": color, "replicas": 2}));
        object["status"] = json!({"phase": "Made"});
        let (_, created) = server.json("POST", FOOS, &object).await;
        assert_eq!(created.get("status"), None);
    }
    let merge = "application/merge-patch+json";
    let (_, updated) = server
        .patch(&format!("{FOOS}/a/status"), merge, &json!({"status": {"phase": "Up"}, "spec": {"size": 9}}))
        .await;
    assert_eq!((&updated["status"]["phase"], &updated["spec"]["size"]), (&json!("Up"), &json!(3)));
    assert_eq!(updated["metadata"]["generation"], 1);
    let (_, updated) =
        server.patch(&format!("{FOOS}/a"), merge, &json!({"status": {"phase": "No"}, "spec": {"size": 9}})).await;
    assert_eq!((&updated["status"]["phase"], &updated["metadata"]["generation"]), (&json!("Up"), &json!(2)));

    let (code, scale) = server.patch(&format!("{FOOS}/a/scale"), merge, &json!({"spec": {"replicas": 5}})).await;
    assert_eq!((code, &scale["spec"]["replicas"]), (200, &json!(5)));
    let (_, read) = server.json("GET", &format!("{FOOS}/a"), &Value::Null).await;
    assert_eq!(read["spec"]["replicas"], 5);

    let (_, list) = server.json("GET", &format!("{FOOS}?fieldSelector=spec.color%3Dblue"), &Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let (code, _) = server.json("GET", &format!("{FOOS}?fieldSelector=spec.size%3D3"), &Value::Null).await;
    assert_eq!(code, 400);

    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let (_, body) = server.raw("GET", &format!("{FOOS}/a"), &table, "").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["columnDefinitions"][1]["name"], "Size");
    assert_eq!(body["rows"][0]["cells"], json!(["a", 9]));
}

/// `[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] should include custom resource
/// definition resources in discovery documents`, `[sig-api-machinery] AggregatedDiscovery should support aggregated
/// discovery interface for CRDs`, `[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery request
/// for CRDs`
#[tokio::test]
async fn discovery_has_what_definitions_add() {
    let server = foos().await;
    let (_, groups) = server.json("GET", "/apis", &Value::Null).await;
    let find = |name: &str| groups["groups"].as_array().unwrap().iter().find(|group| group["name"] == name).cloned();
    assert_eq!(find("apiextensions.k8s.io").unwrap()["preferredVersion"]["version"], "v1");
    assert_eq!(find("example.com").unwrap()["preferredVersion"]["groupVersion"], "example.com/v1");
    let (_, group) = server.json("GET", "/apis/apiextensions.k8s.io", &Value::Null).await;
    assert_eq!(group["versions"][0]["groupVersion"], "apiextensions.k8s.io/v1");
    let (_, list) = server.json("GET", "/apis/apiextensions.k8s.io/v1", &Value::Null).await;
    assert!(list["resources"].as_array().unwrap().iter().any(|r| r["name"] == "customresourcedefinitions"));
    let (_, list) = server.json("GET", "/apis/example.com/v1", &Value::Null).await;
    let names: Vec<&str> = list["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["foos", "foos/status", "foos/scale"]);
    assert_eq!(list["resources"][0]["shortNames"], json!(["foosx"]));

    let accept = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let (code, body) = server.raw("GET", "/apis", &accept, "").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let group = body["items"].as_array().unwrap().iter().find(|group| group["metadata"]["name"] == "example.com");
    let found = &group.unwrap()["versions"][0];
    assert_eq!((code, &found["version"], &found["resources"][0]["resource"]), (200, &json!("v1"), &json!("foos")));
    let below = found["resources"][0]["subresources"].as_array().unwrap();
    assert!(below.iter().any(|below| below["subresource"] == "scale"));
}

/// `[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] custom resource defaulting for
/// requests and from storage works`
#[tokio::test]
async fn defaults_reach_what_is_stored() {
    let server = Server::start().await;
    let mut schema = spec_schema();
    schema["properties"]["spec"]["properties"]["color"] = json!({"type": "string"});
    let mut crd = definition("foos", "Foo", &schema);
    crd["spec"]["versions"][0]["selectableFields"] = json!([]);
    establish(&server, &crd).await;
    let (_, created) = server.json("POST", FOOS, &foo("a", json!({"size": 1}))).await;
    assert_eq!(created["spec"], json!({"size": 1}));
    let patch = json!([{"op": "add", "path":
        "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/color/default", "value": "blue"}]);
    let (code, patched) =
        server.patch(&format!("{CRDS}/foos.example.com"), "application/json-patch+json", &patch).await;
    assert_eq!(code, 200, "{patched}");
    until(&server, &format!("{FOOS}/a"), |a| a["spec"]["color"] == "blue").await;
    let (_, list) = server.json("GET", FOOS, &Value::Null).await;
    assert_eq!(list["items"][0]["spec"]["color"], "blue");
    let (_, created) = server.json("POST", FOOS, &foo("b", json!({"size": 1}))).await;
    assert_eq!(created["spec"]["color"], "blue");
}

#[tokio::test]
async fn several_versions_show_the_same_objects() {
    let server = Server::start().await;
    let mut crd = definition("foos", "Foo", &spec_schema());
    let mut beta = crd["spec"]["versions"][0].clone();
    beta["name"] = "v1beta1".into();
    beta["storage"] = false.into();
    crd["spec"]["versions"].as_array_mut().unwrap().push(beta);
    establish(&server, &crd).await;
    let betas = FOOS.replace("/v1/", "/v1beta1/");
    let mut object = foo("a", json!({"size": 1}));
    object["apiVersion"] = "example.com/v1beta1".into();
    let (code, created) = server.json("POST", &betas, &object).await;
    assert_eq!((code, &created["apiVersion"]), (201, &json!("example.com/v1beta1")));
    let (_, read) = server.json("GET", &format!("{FOOS}/a"), &Value::Null).await;
    assert_eq!(
        (&read["apiVersion"], &read["metadata"]["uid"]),
        (&json!("example.com/v1"), &created["metadata"]["uid"])
    );
    let (_, group) = server.json("GET", "/apis/example.com", &Value::Null).await;
    assert_eq!(group["preferredVersion"]["version"], "v1");

    // The other version is stored from now on.
    let patch = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]);
    let path = format!("{CRDS}/foos.example.com");
    let (code, patched) = server.patch(&path, "application/json-patch+json", &patch).await;
    assert_eq!((code, &patched["status"]["storedVersions"]), (200, &json!(["v1", "v1beta1"])));
    // While the definition is taken in, requests for its objects are told to come again.
    until(&server, &format!("{FOOS}/a"), |read| read["kind"] == "Foo").await;
    // Whoever writes what is there moves it to the version that is stored now.
    let (_, before) = server.json("GET", &format!("{FOOS}/a"), &Value::Null).await;
    let (code, moved) = server.json("PUT", &format!("{FOOS}/a"), &before).await;
    assert_eq!(code, 200);
    assert_ne!(moved["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    let (_, again) = server.json("PUT", &format!("{FOOS}/a"), &moved).await;
    assert_eq!(again["metadata"]["resourceVersion"], moved["metadata"]["resourceVersion"]);

    let drop = json!([{"op": "remove", "path": "/spec/versions/0"}]);
    let (code, status) = server.patch(&path, "application/json-patch+json", &drop).await;
    assert_eq!(code, 422);
    assert!(message(&status).contains("v1 was previously a storage version"), "{status}");
    let off = json!([{"op": "replace", "path": "/spec/versions/0/served", "value": false}]);
    server.patch(&path, "application/json-patch+json", &off).await;
    until(&server, FOOS, |list| list["reason"] == "NotFound").await;
    let (code, _) = server.json("GET", &format!("{betas}/a"), &Value::Null).await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn names_are_held_by_one_definition() {
    let server = foos().await;
    let second = definition("bars", "Foo", &spec_schema());
    let (code, _) = server.json("POST", CRDS, &second).await;
    assert_eq!(code, 201);
    let path = format!("{CRDS}/bars.example.com");
    let bars = until(&server, &path, |crd| !condition(crd, "NamesAccepted").is_null()).await;
    assert_eq!(condition(&bars, "NamesAccepted")["reason"], "ListKindConflict");
    assert_eq!(condition(&bars, "Established")["status"], "False");
    server.json("DELETE", &format!("{CRDS}/foos.example.com"), &Value::Null).await;
    until(&server, &path, |crd| condition(crd, "Established")["status"] == "True").await;
}

/// `[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition
/// getting/updating/patching custom resource definition status sub-resource works`
#[tokio::test]
async fn a_definitions_status_is_a_subresource() {
    let server = foos().await;
    let path = format!("{CRDS}/foos.example.com/status");
    let (code, mut crd) = server.json("GET", &path, &Value::Null).await;
    assert_eq!(code, 200);
    let added = json!({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"});
    crd["status"]["conditions"].as_array_mut().unwrap().push(added);
    let (code, updated) = server.json("PUT", &path, &crd).await;
    assert_eq!((code, &condition(&updated, "StatusUpdate")["reason"]), (200, &json!("E2E")));
    let patch = json!({"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}});
    let (code, patched) = server.patch(&path, "application/merge-patch+json", &patch).await;
    assert_eq!((code, &condition(&patched, "StatusPatched")["status"]), (200, &json!("True")));
}

#[tokio::test]
async fn a_bad_definition_is_told_why() {
    let server = Server::start().await;
    let mut crd = definition("foos", "Foo", &json!({"properties": {"spec": {"x-kubernetes-list-type": "map"}}}));
    crd["metadata"]["name"] = "other.example.com".into();
    crd["spec"]["conversion"] = json!({"strategy": "Webhook"});
    let (code, status) = server.json("POST", CRDS, &crd).await;
    assert_eq!(code, 422);
    let causes: Vec<String> = status["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| format!("{}: {}", cause["field"].as_str().unwrap(), cause["message"].as_str().unwrap()))
        .collect();
    for expected in [
        "metadata.name: Invalid value: \"other.example.com\": must be spec.names.plural+\".\"+spec.group",
        "spec.validation.openAPIV3Schema.type: Required value: must not be empty at the root",
        "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
        "spec.conversion.strategy: Unsupported value: \"Webhook\": supported values: \"None\"",
    ] {
        assert!(causes.iter().any(|cause| cause == expected), "{expected} is not in {causes:#?}");
    }
}

/// Rules of schemas hold for objects, and rules that cannot are refused with their definition.
#[tokio::test]
async fn rules_are_kept() {
    let server = Server::start().await;
    let rule = |rule: &str| {
        json!({"type": "object", "properties": {"spec": {"type": "object",
            "x-kubernetes-validations": [{"rule": rule}],
            "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}, "color": {"type": "string"},
                "list": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}}}}})
    };
    for (bad, why) in [
        ("self = 42", "compilation failed: "),
        ("self.z == 1", "undefined field 'z'"),
        ("self.list.all(a, a.all(b, b == 'x'))", "estimated rule cost exceeds budget by factor of more than 100x"),
    ] {
        let (code, status) = server.json("POST", CRDS, &definition("foos", "Foo", &rule(bad))).await;
        assert_eq!(code, 422, "{bad}");
        assert!(message(&status).contains(why), "{status}");
    }
    let mut schema = rule("self.x < self.y");
    let spec = &mut schema["properties"]["spec"];
    spec["properties"]["y"]["x-kubernetes-validations"] =
        json!([{"rule": "self >= oldSelf", "message": "y may not shrink"}]);
    establish(&server, &definition("foos", "Foo", &schema)).await;
    let (code, _) = server.json("POST", FOOS, &foo("a", json!({"x": 1, "y": 2}))).await;
    assert_eq!(code, 201);
    let (code, status) = server.json("POST", FOOS, &foo("b", json!({"x": 2, "y": 1}))).await;
    assert_eq!(
        (code, message(&status)),
        (422, "Foo.example.com \"b\" is invalid: spec: Invalid value: failed rule: self.x < self.y")
    );
    let merge = "application/merge-patch+json";
    let (code, status) = server.patch(&format!("{FOOS}/a"), merge, &json!({"spec": {"y": 1, "x": 0}})).await;
    assert_eq!(
        (code, message(&status)),
        (422, "Foo.example.com \"a\" is invalid: spec.y: Invalid value: 1: y may not shrink")
    );
}

/// `[sig-api-machinery] CustomResourceDefinition Watch [Privileged:ClusterAdmin] CustomResourceDefinition Watch watch on
/// custom resource definition objects`
#[tokio::test]
async fn objects_are_watched_until_their_definition_changes() {
    use futures::TryStreamExt;
    use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams, WatchEvent, WatchParams};

    let server = foos().await;
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("example.com", "v1", "Foo"), "foos");
    let api: Api<DynamicObject> = Api::default_namespaced_with(server.client(), &resource);
    let mut events = Box::pin(api.watch(&WatchParams::default(), "0").await.unwrap());
    let object: DynamicObject = serde_json::from_value(foo("a", json!({"size": 1}))).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    let next = tokio::time::timeout(SOON, events.try_next()).await.unwrap().unwrap();
    assert!(matches!(next, Some(WatchEvent::Added(added)) if added.metadata.name.as_deref() == Some("a")));
    api.delete("a", &kube::api::DeleteParams::default()).await.unwrap();
    let next = tokio::time::timeout(SOON, events.try_next()).await.unwrap().unwrap();
    assert!(matches!(next, Some(WatchEvent::Deleted(_))));
    let patch = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/more",
        "value": {"type": "string"}}]);
    server.patch(&format!("{CRDS}/foos.example.com"), "application/json-patch+json", &patch).await;
    let end = tokio::time::timeout(SOON, events.try_next()).await.unwrap().unwrap();
    assert!(end.is_none());
}

/// `[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition
/// listing custom resource definition objects works`
#[tokio::test]
async fn definitions_are_listed_and_go_by_label() {
    let server = Server::start().await;
    for (plural, kind) in [("foos", "Foo"), ("bars", "Bar")] {
        let mut crd = definition(plural, kind, &spec_schema());
        crd["metadata"]["labels"] = json!({"set": "x"});
        establish(&server, &crd).await;
    }
    let selected = format!("{CRDS}?labelSelector=set%3Dx");
    let (_, list) = server.json("GET", &selected, &Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let (code, _) = server.json("DELETE", &selected, &Value::Null).await;
    assert_eq!(code, 200);
    until(&server, &selected, |list| list["items"] == json!([])).await;
}
