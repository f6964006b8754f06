//! Fields that a type does not have, or that are there twice.

use serde_json::{Value, json};

use crate::harness::Server;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// `FieldValidation should detect unknown and duplicate fields of a typed object`.
#[tokio::test]
async fn unknown_and_duplicate_fields_are_refused_or_warned_of() {
    let server = Server::start().await;
    let body = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"unknown1":"v","paused":true,
        "paused":false,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[
        {"name":"c","image":"i","unknownNested":"v","imagePullPolicy":"Always","imagePullPolicy":"Never"}]}}}}"#;
    let json = [("content-type", "application/json")];
    let (code, answer) = server.raw("POST", &format!("{DEPLOYMENTS}?fieldValidation=Strict"), &json, body).await;
    let status: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((code, &status["reason"]), (400, &json!("BadRequest")));
    let message = status["message"].as_str().unwrap();
    assert!(
        message.starts_with("Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: ")
    );
    for fault in [
        "unknown field \"spec.template.spec.containers[0].unknownNested\"",
        "unknown field \"spec.unknown1\"",
        "duplicate field \"spec.paused\"",
        "duplicate field \"spec.template.spec.containers[0].imagePullPolicy\"",
    ] {
        assert!(message.contains(fault), "{message}");
    }
    let (code, _) = server.raw("POST", &format!("{DEPLOYMENTS}?fieldValidation=Ignore"), &json, body).await;
    assert_eq!(code, 201);
    let (code, answer) = server.raw("POST", &format!("{DEPLOYMENTS}?fieldValidation=Other"), &json, body).await;
    assert!(code == 422 || code == 400, "{answer}");
}

/// `FieldValidation should detect unknown metadata fields of a typed object`.
#[tokio::test]
async fn unknown_metadata_is_refused() {
    let server = Server::start().await;
    let mut body = json!({"metadata": {"name": "a", "unknownMeta": "v"}});
    let (code, status) = server.json("POST", &format!("{MAPS}?fieldValidation=Strict"), &body).await;
    assert_eq!(code, 400);
    assert!(status["message"].as_str().unwrap().contains("unknown field \"metadata.unknownMeta\""), "{status}");
    let (code, _) = server.json("POST", MAPS, &body).await;
    assert_eq!(code, 201, "what is not asked for is only warned of");
    body["data"] = json!({"k": "v"});
    let (code, status) =
        server.patch(&format!("{MAPS}/a?fieldValidation=Strict"), "application/merge-patch+json", &body).await;
    assert_eq!(code, 400, "{status}");
}
