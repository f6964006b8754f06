//! Server-side apply of custom resources: their schema says what is owned.

use serde_json::{Value, json};

use crate::apply::{MERGE, owned};
use crate::custom::{FOOS, definition, establish, foo};
use crate::harness::Server;

async fn serve() -> Server {
    let server = Server::start().await;
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "size": {"type": "integer"},
            "replicas": {"type": "integer"},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
                "items": {"type": "object", "required": ["port"], "properties":
                    {"port": {"type": "integer"}, "name": {"type": "string"}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "color": {"type": "string"},
        }},
        "status": {"type": "object", "properties": {
            "phase": {"type": "string"}, "replicas": {"type": "integer"}}},
    }});
    establish(&server, &definition("foos", "Foo", &schema)).await;
    server
}

#[tokio::test]
async fn lists_and_what_is_free_are_owned_by_their_schema() {
    let server = serve().await;
    let path = format!("{FOOS}/a");
    let spec = json!({"ports": [{"port": 1}, {"port": 2}], "free": {"x": {"y": 1}}});
    let (code, created) = server.apply(&path, "one", &foo("a", spec)).await;
    assert_eq!(code, 201, "{created}");
    assert_eq!(
        owned(&created, "one", ""),
        json!({"f:spec": {"f:free": {"f:x": {".": {}, "f:y": {}}}, "f:ports": {
            "k:{\"port\":1}": {".": {}, "f:port": {}}, "k:{\"port\":2}": {".": {}, "f:port": {}}}}})
    );
    let ports = json!({"ports": [{"port": 2, "name": "b"}, {"port": 3}]});
    let (code, both) = server.apply(&path, "two", &foo("a", ports)).await;
    assert_eq!(code, 200, "{both}");
    let (code, left) = server.apply(&path, "one", &foo("a", json!({"size": 3}))).await;
    assert_eq!(code, 200, "{left}");
    assert_eq!(left["spec"], json!({"ports": [{"port": 2, "name": "b"}, {"port": 3}], "size": 3}));
    let (code, again) = server.apply(&path, "one", &foo("a", json!({"size": 3}))).await;
    assert_eq!((code, again), (200, left));
}

/// `[sig-api-machinery] FieldValidation should create/apply an invalid CR with extra properties for CRD with validation
/// schema`
#[tokio::test]
async fn what_the_schema_does_not_have_is_refused() {
    let server = serve().await;
    let path = format!("{FOOS}/a");
    let (code, status) = server.apply(&path, "one", &foo("a", json!({"size": 3, "extra": 1}))).await;
    assert_eq!(code, 500, "{status}");
    assert_eq!(
        status["message"],
        "failed to create typed patch object (/a; example.com/v1, Kind=Foo): .spec.extra: field not declared in schema"
    );
}

#[tokio::test]
async fn status_and_scale_have_owners_of_their_own() {
    let server = serve().await;
    let path = format!("{FOOS}/a");
    let (_, plain) = server.json("POST", &format!("{FOOS}?fieldManager=m"), &foo("a", json!({"size": 1}))).await;
    assert_eq!(owned(&plain, "m", ""), json!({"f:spec": {".": {}, "f:size": {}}}));
    let phase = json!({"status": {"phase": "on"}});
    let (_, patched) = server.patch(&format!("{path}/status?fieldManager=c"), MERGE, &phase).await;
    assert_eq!(owned(&patched, "c", "status"), json!({"f:status": {".": {}, "f:phase": {}}}));

    let mut whole = foo("a", json!({"size": 9}));
    whole["status"] = json!({"replicas": 2});
    let (code, applied) = server.apply(&format!("{path}/status"), "applier", &whole).await;
    assert_eq!((code, &applied["spec"]["size"]), (200, &json!(1)), "{applied}");
    assert_eq!(applied["status"], json!({"phase": "on", "replicas": 2}));
    assert_eq!(owned(&applied, "applier", "status"), json!({"f:status": {"f:replicas": {}}}));

    let (code, _) = server.apply(&path, "me", &foo("a", json!({"replicas": 2}))).await;
    assert_eq!(code, 200);
    let scale = |replicas: i32| {
        let spec = json!({"replicas": replicas});
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": spec})
    };
    let (code, status) = server.apply(&format!("{path}/scale"), "autoscaler", &scale(7)).await;
    assert_eq!(code, 409, "{status}");
    assert_eq!(status["message"], "Apply failed with 1 conflict: conflict with \"me\": .spec.replicas");
    let force = format!("{path}/scale?fieldManager=autoscaler&force=true");
    let (code, scaled) = server.patch(&force, "application/apply-patch+yaml", &scale(7)).await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(7)), "{scaled}");
    let (_, read) = server.json("GET", &path, &Value::Null).await;
    assert_eq!(read["spec"], json!({"size": 1, "replicas": 7}));
    assert_eq!(owned(&read, "autoscaler", "scale"), json!({"f:spec": {"f:replicas": {}}}));
}
