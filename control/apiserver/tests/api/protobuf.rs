//! Bodies as clients with compiled types send them.

use serde_json::{Value, json};

use crate::harness::Server;

const HEADERS: &[(&str, &str)] = &[
    ("content-type", "application/vnd.kubernetes.protobuf"),
    ("accept", "application/vnd.kubernetes.protobuf,application/json"),
];

const NAMESPACES: &str = "/api/v1/namespaces";

/// A message of short strings and messages by their field numbers; all of its bytes are ASCII.
fn message(fields: &[(u8, &str)]) -> String {
    let field = |(number, content): &(u8, &str)| {
        let len = u8::try_from(content.len()).ok().filter(u8::is_ascii).unwrap();
        format!("{}{}{content}", char::from(number << 3 | 2), char::from(len))
    };
    fields.iter().map(field).collect()
}

fn body(api_version: &str, kind: &str, object: &str) -> String {
    format!("k8s\0{}", message(&[(1, &message(&[(1, api_version), (2, kind)])), (2, object), (3, ""), (4, "")]))
}

/// As Go writes it: plain values are there when they are zero.
fn namespace(name: &str) -> String {
    let label = message(&[(1, "team"), (2, "a")]);
    let meta = message(&[(1, name), (2, ""), (3, ""), (4, ""), (5, ""), (6, ""), (8, ""), (11, &label)]);
    body("v1", "Namespace", &message(&[(1, &meta), (2, ""), (3, &message(&[(1, "")]))]))
}

async fn send(server: &Server, method: &str, path: &str, body: &str) -> (u16, Value) {
    let (code, body) = server.raw(method, path, HEADERS, body).await;
    (code, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn an_object_is_created_replaced_and_deleted() {
    let server = Server::start().await;
    let (code, created) = send(&server, "POST", NAMESPACES, &namespace("a")).await;
    assert_eq!(code, 201, "{created}");
    assert_eq!(created["metadata"]["labels"]["team"], "a");
    assert_eq!(
        (&created["spec"], &created["status"]),
        (&json!({"finalizers": ["kubernetes"]}), &json!({"phase": "Active"}))
    );
    let path = format!("{NAMESPACES}/a");
    let (code, replaced) = send(&server, "PUT", &path, &namespace("a")).await;
    assert_eq!((code, &replaced["metadata"]["uid"]), (200, &created["metadata"]["uid"]), "{replaced}");
    let options = body("v1", "DeleteOptions", &message(&[(5, "All")]));
    let (code, answer) = send(&server, "DELETE", &path, &options).await;
    assert_eq!(code, 200, "{answer}");
    let (_, read) = server.json("GET", &path, &Value::Null).await;
    assert_eq!(read["status"]["phase"], "Active", "a dry run");
}

/// Of every kind that discovery names and clients have compiled types for.
#[tokio::test]
async fn every_kind_has_a_form() {
    let server = Server::start().await;
    let (_, groups) = server.json("GET", "/apis", &Value::Null).await;
    let versions = groups["groups"].as_array().unwrap().iter().flat_map(|group| group["versions"].as_array().unwrap());
    let mut versions: Vec<&str> = versions.map(|version| version["groupVersion"].as_str().unwrap()).collect();
    versions.push("v1");
    for version in versions {
        let path = if version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
        let (_, list) = server.json("GET", &path, &Value::Null).await;
        for resource in list["resources"].as_array().unwrap() {
            let (name, kind) = (resource["name"].as_str().unwrap(), resource["kind"].as_str().unwrap());
            // Definitions have schemas without end; their clients send JSON.
            if name.contains('/') || kind == "CustomResourceDefinition" {
                continue;
            }
            let scope = if resource["namespaced"] == true { "/namespaces/default" } else { "" };
            let (_, status) = send(&server, "POST", &format!("{path}{scope}/{name}"), &body(version, kind, "")).await;
            let message = status["message"].as_str().unwrap_or_default();
            assert!(!message.contains("no kind"), "{version} {kind}: {message}");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_said() {
    let server = Server::start().await;
    let cut = namespace("a");
    for (body, why) in [
        ("", "empty data"),
        ("{}", "provided data does not appear to be a protobuf message"),
        (&body("v1", "Nothing", ""), "no kind \"Nothing\" is registered for version \"v1\""),
        (&body("v1", "Pod", ""), "cannot be handled as a Namespace"),
        (
            &body("v1", "Namespace", &message(&[(1, &message(&[(7, "x")]))])),
            "metadata.generation: the field has the wrong",
        ),
        (&cut[..cut.len() - 9], "the protobuf envelope is malformed"),
    ] {
        let (code, status) = send(&server, "POST", NAMESPACES, body).await;
        assert_eq!((code, status["reason"].as_str()), (400, Some("BadRequest")), "{status}");
        assert!(status["message"].as_str().unwrap().contains(why), "{status}");
    }
}
