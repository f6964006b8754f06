//! The documents of custom resources' schemas.

use serde_json::{Value, json};

use crate::custom::{CRDS, definition, establish};
use crate::harness::Server;

/// The schema of a kind in both documents, v3's and v2's.
async fn published(server: &Server, group: &str, version: &str, kind: &str) -> [Option<Value>; 2] {
    let gvk = json!([{"group": group, "version": version, "kind": kind}]);
    let find = |schemas: &Value| -> Option<Value> {
        let all = schemas.as_object()?;
        all.values().find(|schema| schema["x-kubernetes-group-version-kind"] == gvk).cloned()
    };
    let (_, v3) = server.json("GET", &format!("/openapi/v3/apis/{group}/{version}"), &Value::Null).await;
    let (_, v2) = server.json("GET", "/openapi/v2", &Value::Null).await;
    [find(&v3["components"]["schemas"]), find(&v2["definitions"])]
}

fn plain(plural: &str, kind: &str, schema: &Value) -> Value {
    let mut definition = definition(plural, kind, schema);
    for key in ["subresources", "selectableFields", "additionalPrinterColumns"] {
        definition["spec"]["versions"][0].as_object_mut().unwrap().remove(key);
    }
    definition
}

fn sized() -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "description": "What it is to be.",
        "properties": {"size": {"type": "integer", "description": "How large."}}}}})
}

/// `[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD with validation schema`,
/// `[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group and version but different kinds`,
/// `[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of different groups`
#[tokio::test]
async fn schemas_are_published_beside_each_other() {
    let server = Server::start().await;
    establish(&server, &plain("foos", "Foo", &sized())).await;
    establish(&server, &plain("bars", "Bar", &sized())).await;
    let mut other = plain("foos", "Foo", &sized());
    other["metadata"]["name"] = "foos.example.org".into();
    other["spec"]["group"] = "example.org".into();
    establish(&server, &other).await;
    // Clients make the patches that they find here, and strategic merge is not for custom resources.
    let (_, v3) = server.json("GET", "/openapi/v3/apis/example.com/v1", &Value::Null).await;
    let path = "/apis/example.com/v1/namespaces/{namespace}/foos/{name}";
    let patches = v3["paths"][path]["patch"]["requestBody"]["content"].as_object().unwrap();
    assert!(!patches.contains_key("application/strategic-merge-patch+json"));
    assert!(patches.contains_key("application/merge-patch+json"));
    for (group, kind) in [("example.com", "Foo"), ("example.com", "Bar"), ("example.org", "Foo")] {
        for schema in published(&server, group, "v1", kind).await {
            let schema = schema.unwrap();
            let spec = &schema["properties"]["spec"];
            assert_eq!(spec["description"], "What it is to be.", "{schema}");
            assert_eq!(spec["properties"]["size"]["type"], "integer");
            assert!(schema["properties"]["metadata"].is_object());
        }
    }
}

/// `[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown fields at the schema root`,
/// `[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown fields in an embedded object`
#[tokio::test]
async fn what_keeps_unknown_fields_says_so() {
    let server = Server::start().await;
    let preserving = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    establish(&server, &plain("foos", "Foo", &preserving)).await;
    let [v3, _] = published(&server, "example.com", "v1", "Foo").await;
    assert_eq!(v3.unwrap()["x-kubernetes-preserve-unknown-fields"], true);
    let embedded = json!({"type": "object", "properties": {"spec": {"type": "object",
        "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}});
    establish(&server, &plain("bars", "Bar", &embedded)).await;
    let [v3, _] = published(&server, "example.com", "v1", "Bar").await;
    assert_eq!(v3.unwrap()["properties"]["spec"]["x-kubernetes-embedded-resource"], true);
}

/// `[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group but different versions`,
/// `[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] updates the published spec when one version gets renamed`,
/// `[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] removes definition from spec when one version gets changed to not be served`
#[tokio::test]
async fn versions_come_change_names_and_go() {
    let server = Server::start().await;
    let mut crd = plain("foos", "Foo", &sized());
    let mut second = crd["spec"]["versions"][0].clone();
    second["name"] = "v2".into();
    second["storage"] = false.into();
    crd["spec"]["versions"].as_array_mut().unwrap().push(second);
    establish(&server, &crd).await;
    for version in ["v1", "v2"] {
        assert!(published(&server, "example.com", version, "Foo").await.iter().all(Option::is_some), "{version}");
    }
    let path = format!("{CRDS}/foos.example.com");
    let change = |pointer: &str, value: Value| json!([{"op": "replace", "path": pointer, "value": value}]);
    let json_patch = "application/json-patch+json";
    let (code, _) = server.patch(&path, json_patch, &change("/spec/versions/1/name", "v4".into())).await;
    assert_eq!(code, 200);
    // What was written before is seen by what is read after it.
    server.json("GET", &path, &Value::Null).await;
    assert!(published(&server, "example.com", "v2", "Foo").await.iter().all(Option::is_none));
    assert!(published(&server, "example.com", "v4", "Foo").await.iter().all(Option::is_some));
    server.patch(&path, json_patch, &change("/spec/versions/1/served", false.into())).await;
    server.json("GET", &path, &Value::Null).await;
    assert!(published(&server, "example.com", "v4", "Foo").await.iter().all(Option::is_none));
    assert!(published(&server, "example.com", "v1", "Foo").await.iter().all(Option::is_some));
}
