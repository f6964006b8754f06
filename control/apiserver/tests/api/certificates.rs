//! Requests for certificates.

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, from_value, json};

use crate::harness::{SOON, Server, refusal};

const SIGNER: &str = "example.com/special";

fn request(name: &str) -> CertificateSigningRequest {
    let pem = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let mut csr: CertificateSigningRequest = from_value(json!({"metadata": {"name": name, "labels": {"for": "test"}},
        "spec": {"signerName": SIGNER, "usages": ["digital signature", "client auth"]}}))
    .unwrap();
    csr.spec.request = ByteString(pem.into_bytes());
    csr
}

fn conditions(of: &CertificateSigningRequest) -> Vec<String> {
    let held = of.status.iter().flat_map(|status| status.conditions.iter().flatten());
    held.map(|condition| condition.type_.clone()).collect()
}

/// `[sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations`
#[tokio::test]
async fn requests_are_decided_signed_and_deleted() {
    use futures::StreamExt;
    let server = Server::start().await;
    let (_, groups) = server.json("GET", "/apis/certificates.k8s.io/v1", &Value::Null).await;
    let names: Vec<&str> =
        groups["resources"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    for name in ["", "/approval", "/status"] {
        assert!(names.contains(&format!("certificatesigningrequests{name}").as_str()), "{names:?}");
    }
    let api: Api<CertificateSigningRequest> = Api::all(server.client());
    let params = PatchParams::default();
    let mut events = api.watch(&WatchParams::default().labels("for=test"), "0").await.unwrap().boxed();
    let created = api.create(&PostParams::default(), &request("a")).await.unwrap();
    assert_eq!(created.spec.username.as_deref(), Some("system:kube-test"));
    assert_eq!(api.get("a").await.unwrap(), created);
    assert_eq!(api.list(&ListParams::default().labels("for=test")).await.unwrap().items.len(), 1);
    let patched =
        api.patch("a", &params, &Patch::Merge(json!({"metadata": {"annotations": {"a": "b"}}}))).await.unwrap();
    let mut changed = patched.clone();
    changed.metadata.annotations.get_or_insert_default().insert("c".to_owned(), "d".to_owned());
    api.replace("a", &PostParams::default(), &changed).await.unwrap();

    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Test", "message": "set by a test"});
    let approve = Patch::Merge(json!({"status": {"conditions": [condition("Approved")]}}));
    let approved = api.patch_subresource("approval", "a", &params, &approve).await.unwrap();
    assert_eq!(conditions(&approved), ["Approved"]);
    let mut status = approved.clone();
    let held = status.status.as_mut().unwrap().conditions.as_mut().unwrap();
    held.push(from_value(condition("StatusUpdate")).unwrap());
    let status = api.replace_status("a", &PostParams::default(), &status).await.unwrap();
    assert_eq!(conditions(&status), ["Approved", "StatusUpdate"]);
    let more = Patch::Merge(json!({"status": {"conditions": [condition("Approved"), condition("StatusPatch")]}}));
    assert_eq!(conditions(&api.patch_status("a", &params, &more).await.unwrap()), ["Approved", "StatusPatch"]);

    api.delete("a", &DeleteParams::default()).await.unwrap();
    api.create(&PostParams::default(), &request("b")).await.unwrap();
    api.delete_collection(&DeleteParams::default(), &ListParams::default().labels("for=test")).await.unwrap();
    assert!(api.list(&ListParams::default()).await.unwrap().items.is_empty());
    let mut deleted = 0;
    while deleted < 2 {
        let event = tokio::time::timeout(SOON, events.next()).await.unwrap().unwrap().unwrap();
        deleted += usize::from(matches!(event, WatchEvent::Deleted(_)));
    }
}

#[tokio::test]
async fn deciding_and_signing_takes_a_right_for_the_signer() {
    let server = Server::start().await;
    let csrs = "certificatesigningrequests";
    let rules = json!([{"apiGroups": ["certificates.k8s.io"], "resources": [csrs, format!("{csrs}/approval"), format!("{csrs}/status")],
        "verbs": ["*"]}]);
    let role: ClusterRole = from_value(json!({"metadata": {"name": "csr"}, "rules": rules})).unwrap();
    let roles: Api<ClusterRole> = Api::all(server.client());
    roles.create(&PostParams::default(), &role).await.unwrap();
    let binding: ClusterRoleBinding = from_value(json!({"metadata": {"name": "csr"},
        "roleRef": {"kind": "ClusterRole", "name": "csr"}, "subjects": [{"kind": "User", "name": "jane"}]}))
    .unwrap();
    Api::all(server.client()).create(&PostParams::default(), &binding).await.unwrap();
    let api: Api<CertificateSigningRequest> = Api::all(server.api.client("jane", &[]));
    api.create(&PostParams::default(), &request("a")).await.unwrap();
    let approve = Patch::Merge(json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}}));
    let sign = Patch::Merge(json!({"status": {"conditions": [{"type": "Failed", "status": "True"}]}}));
    let params = PatchParams::default();
    let refused = refusal(api.patch_subresource("approval", "a", &params, &approve).await);
    let text = format!(
        "certificatesigningrequests.certificates.k8s.io \"a\" is forbidden: user not permitted to approve requests with \
         signerName \"{SIGNER}\""
    );
    assert_eq!((refused.code, refused.message), (403, text));
    assert_eq!(refusal(api.patch_status("a", &params, &sign).await).code, 403);
    let more = json!([{"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": ["example.com/*"],
        "verbs": ["approve", "sign"]}]);
    let all = [rules.as_array().unwrap().clone(), more.as_array().unwrap().clone()].concat();
    roles.patch("csr", &params, &Patch::Merge(json!({"rules": all}))).await.unwrap();
    // A role that is changed is heard of a moment later.
    let approved = async {
        while api.patch_subresource("approval", "a", &params, &approve).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, approved).await.unwrap();
    api.patch_status("a", &params, &sign).await.unwrap();
}
