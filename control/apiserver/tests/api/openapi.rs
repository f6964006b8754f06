//! OpenAPI documents.

use std::io::Read as _;

use http::{HeaderMap, Request};
use serde_json::{Value, json};
use skep_registry::{Registry, Scope};

use crate::harness::Server;

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

pub(crate) async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Vec<u8>) {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = server.client().send(request.body(kube::client::Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    (parts.status.as_u16(), parts.headers, body.collect_bytes().await.unwrap().to_vec())
}

/// Every `$ref` in a document.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn assert_references_lead_somewhere(document: &Value) {
    let mut found = Vec::new();
    references(document, &mut found);
    assert!(!found.is_empty());
    for path in found {
        assert!(document.pointer(path.trim_start_matches('#')).is_some(), "{path}");
    }
}

/// Every kind is in its group version's document, with a schema of its own that says which kind it is.
#[tokio::test]
async fn every_kind_has_its_schema() {
    let server = Server::start().await;
    let (_, index) = server.json("GET", "/openapi/v3", &Value::Null).await;
    for resource in Registry::builtin().resources() {
        let (group, version, plural): (&str, &str, &str) = (&resource.group, &resource.version, &resource.plural);
        let name = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        let url = index["paths"][&name]["serverRelativeURL"].as_str().unwrap();
        let (code, document) = server.json("GET", url, &Value::Null).await;
        assert_eq!(code, 200);
        assert_references_lead_somewhere(&document);
        let gvk = json!({"group": group, "kind": resource.kind, "version": version});
        let mut schemas = document["components"]["schemas"].as_object().unwrap().values();
        let schema = schemas.find(|s| s["x-kubernetes-group-version-kind"] == json!([gvk])).unwrap();
        assert!(schema["properties"]["kind"]["type"] == "string" && schema["description"].is_string(), "{gvk}");
        let namespace = if resource.scope == Scope::Namespaced { "namespaces/{namespace}/" } else { "" };
        let path = &document["paths"][format!("/{name}/{namespace}{plural}")];
        assert_eq!(path["post"]["x-kubernetes-group-version-kind"], gvk);
    }
}

/// What `kubectl apply` computes its patches from, and server-side apply its fields.
#[tokio::test]
async fn lists_say_how_they_merge() {
    let server = Server::start().await;
    let (_, document) = server.json("GET", "/openapi/v3/api/v1", &Value::Null).await;
    let schemas = &document["components"]["schemas"];
    let ports = &schemas["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["port", "protocol"]));
    assert_eq!(
        (&ports["x-kubernetes-patch-strategy"], &ports["x-kubernetes-patch-merge-key"]),
        (&json!("merge"), &json!("port"))
    );
    let protocol = &schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"];
    assert_eq!((&protocol["default"], &protocol["enum"]), (&json!("TCP"), &json!(["SCTP", "TCP", "UDP"])));
    assert_eq!(schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"]["x-kubernetes-map-type"], "atomic");
    assert!(schemas["io.k8s.api.core.v1.Pod"].get("required").is_none(), "metadata is filled in");
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/services/{name}"]["patch"]["requestBody"]["content"];
    assert!(patch.get("application/strategic-merge-patch+json").is_some(), "{patch}");
}

#[tokio::test]
async fn a_document_is_asked_for_by_its_hash() {
    let server = Server::start().await;
    let (_, index) = server.json("GET", "/openapi/v3", &Value::Null).await;
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let hash = url.strip_prefix("/openapi/v3/apis/apps/v1?hash=").unwrap();
    assert_eq!(hash.len(), 128);
    let (code, headers, plain) = get(&server, url, &[]).await;
    assert_eq!((code, &headers["cache-control"]), (200, &"public, immutable".parse().unwrap()));
    assert!(headers.contains_key("expires") && headers["vary"].to_str().unwrap().contains("Accept"));
    let tag = headers["etag"].to_str().unwrap();
    assert_eq!(tag, format!("\"{hash}\""));

    let (code, headers, body) = get(&server, url, &[("accept-encoding", "gzip")]).await;
    assert_eq!((code, &headers["content-encoding"]), (200, &"gzip".parse().unwrap()));
    let mut unzipped = Vec::new();
    flate2::read::GzDecoder::new(&*body).read_to_end(&mut unzipped).unwrap();
    assert!(unzipped == plain && body.len() * 4 < plain.len());

    let (code, _, body) = get(&server, "/openapi/v3/apis/apps/v1", &[("if-none-match", tag)]).await;
    assert_eq!((code, body.len()), (304, 0));
    let (code, headers, _) = get(&server, "/openapi/v3/apis/apps/v1?hash=OLD", &[]).await;
    assert_eq!((code, headers["location"].to_str().unwrap()), (301, url));
    let (code, _, _) =
        get(&server, url, &[("accept", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf")]).await;
    assert_eq!(code, 406);
    assert_eq!(get(&server, "/openapi/v3/apis/none/v1", &[]).await.0, 404);
}

#[tokio::test]
async fn version_two_is_there_in_json_and_protobuf() {
    let server = Server::start().await;
    let (code, document) = server.json("GET", "/openapi/v2", &Value::Null).await;
    assert_eq!((code, &document["swagger"]), (200, &json!("2.0")));
    assert_references_lead_somewhere(&document);
    let deployment = &document["definitions"]["io.k8s.api.apps.v1.Deployment"]["properties"];
    assert_eq!(deployment["spec"]["$ref"], "#/definitions/io.k8s.api.apps.v1.DeploymentSpec");
    let (code, headers, body) = get(&server, "/openapi/v2", &[("accept", PROTOBUF)]).await;
    assert_eq!((code, &headers["content-type"]), (200, &PROTOBUF.replace('@', ".").parse().unwrap()));
    assert!(body.starts_with(b"\x0a\x032.0"), "the message begins with the version");
}
