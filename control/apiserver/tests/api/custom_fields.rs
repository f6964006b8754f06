//! What is said of fields that a custom resource's schema does not have.

use serde_json::{Value, json};

use crate::custom::{FOOS, definition, establish, foo, message};
use crate::harness::Server;

async fn serve(schema: &Value) -> Server {
    let server = Server::start().await;
    let mut definition = definition("foos", "Foo", schema);
    definition["spec"]["versions"][0].as_object_mut().unwrap().remove("subresources");
    definition["spec"]["versions"][0].as_object_mut().unwrap().remove("selectableFields");
    establish(&server, &definition).await;
    server
}

async fn strict(server: &Server, text: &str) -> (u16, Value) {
    let path = format!("{FOOS}?fieldValidation=Strict");
    let (code, body) = server.raw("POST", &path, &[("content-type", "application/json")], text).await;
    (code, serde_json::from_str(&body).unwrap())
}

fn sized() -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}})
}

/// `[sig-api-machinery] FieldValidation should create/apply a CR with unknown fields for CRD with no validation schema`
#[tokio::test]
async fn a_schema_that_says_nothing_takes_anything() {
    let server = serve(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).await;
    let (code, created) = strict(&server, &foo("a", json!({"size": 1, "other": {"deep": [1]}})).to_string()).await;
    assert_eq!((code, &created["spec"]["other"]), (201, &json!({"deep": [1]})));
}

/// `[sig-api-machinery] FieldValidation should create/apply a valid CR for CRD with validation schema`
#[tokio::test]
async fn a_valid_object_is_taken() {
    let server = serve(&sized()).await;
    let (code, created) = strict(&server, &foo("a", json!({"size": 1})).to_string()).await;
    assert_eq!((code, &created["spec"]), (201, &json!({"size": 1})));
}

/// `[sig-api-machinery] FieldValidation should create/apply an invalid CR with extra properties for CRD with validation
/// schema`
#[tokio::test]
async fn extra_properties_are_named() {
    let server = serve(&sized()).await;
    let (code, status) = strict(&server, &foo("a", json!({"size": 1, "extra": 1})).to_string()).await;
    assert_eq!(code, 400);
    assert!(message(&status).contains("strict decoding error: unknown field \"spec.extra\""), "{status}");
    let (code, created) = server.json("POST", FOOS, &foo("a", json!({"size": 1, "extra": 1}))).await;
    assert_eq!((code, &created["spec"]), (201, &json!({"size": 1})));
    let merge = "application/merge-patch+json";
    let path = format!("{FOOS}/a?fieldValidation=Strict");
    let (code, status) = server.patch(&path, merge, &json!({"spec": {"extra": 2}})).await;
    assert_eq!(code, 400, "{status}");
}

/// `[sig-api-machinery] FieldValidation should detect duplicates in a CR when preserving unknown fields`
#[tokio::test]
async fn duplicates_are_found_where_unknown_fields_are_kept() {
    let server = serve(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).await;
    let text =
        r#"{"apiVersion":"example.com/v1","kind":"Foo","metadata":{"name":"a"},"spec":{"other":1,"size":1,"size":2}}"#;
    let (code, status) = strict(&server, text).await;
    assert_eq!(code, 400);
    assert!(message(&status).contains("strict decoding error: duplicate field \"spec.size\""), "{status}");
}

/// `[sig-api-machinery] FieldValidation should detect unknown metadata fields in both the root and embedded object of a
/// CR`
#[tokio::test]
async fn metadata_is_the_same_everywhere() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"template": {
        "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
    }}}}});
    let server = serve(&schema).await;
    let mut object =
        foo("a", json!({"template": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "b", "odd": 1}, "y": 1}}));
    object["metadata"]["odd"] = 1.into();
    let (code, status) = strict(&server, &object.to_string()).await;
    assert_eq!(code, 400);
    let text = message(&status);
    assert!(text.contains("unknown field \"metadata.odd\""), "{status}");
    assert!(text.contains("unknown field \"spec.template.metadata.odd\""), "{status}");
    let (code, created) = server.json("POST", FOOS, &object).await;
    assert_eq!(code, 201, "{created}");
    let template = &created["spec"]["template"];
    assert_eq!((&template["y"], template["metadata"].get("odd")), (&json!(1), None));
    object["spec"]["template"]["kind"] = "".into();
    object["metadata"]["name"] = "b".into();
    let (code, status) = server.json("POST", FOOS, &object).await;
    assert_eq!(code, 422);
    assert!(message(&status).contains("spec.template.kind: Required value: must not be empty"), "{status}");
}
