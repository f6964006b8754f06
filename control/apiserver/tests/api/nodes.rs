//! Nodes and those who are to become nodes: tokens, requests for certificates, and what a node may touch.

use std::net::{Ipv4Addr, TcpListener};

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, from_value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::{Server, refusal};
use crate::pki::Pki;

fn request(user: &str) -> CertificateSigningRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, user);
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let mut csr: CertificateSigningRequest = from_value(json!({"metadata": {"generateName": "csr-"}, "spec": {
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet", "usages": ["client auth"], "username": "system:admin"}}))
    .unwrap();
    csr.spec.request = ByteString(pem.into_bytes());
    csr
}

/// The status with which a patch is refused, or nothing.
fn refused<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String) {
    let status = refusal(result);
    (status.code, status.message)
}

#[tokio::test]
async fn a_token_asks_for_certificates_and_nothing_else() {
    let server = Server::start().await;
    let pki = Pki::new().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let (api, tls, stop) = (server.api.clone(), pki.server_tls().unwrap(), stop.clone());
        async move { api.serve(listener, tls, stop).await.unwrap() }
    });
    let client = async |token: &str| {
        let mut config: Value = serde_json::from_str(&pki.kubeconfig(&url, None)).unwrap();
        config["users"][0]["user"] = json!({"token": token});
        let config: Kubeconfig = from_value(config).unwrap();
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        kube::Client::try_from(config).unwrap()
    };
    let secret: Secret = from_value(json!({"metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token", "stringData": {"token-id": "abcdef", "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true"}}))
    .unwrap();
    let secrets: Api<Secret> = Api::namespaced(server.client(), "kube-system");
    secrets.create(&PostParams::default(), &secret).await.unwrap();

    let holder = client("abcdef.0123456789abcdef").await;
    let requests: Api<CertificateSigningRequest> = Api::all(holder.clone());
    let created = requests.create(&PostParams::default(), &request("system:node:a")).await.unwrap();
    assert_eq!(created.spec.username.as_deref(), Some("system:bootstrap:abcdef"), "the server says who asks");
    let name = created.metadata.name.unwrap();
    let approve = json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}});
    let approve = Patch::Merge(&approve);
    let own = requests.patch_subresource("approval", &name, &PatchParams::default(), &approve).await;
    assert_eq!(refused(own).0, 403);
    assert_eq!(refused(Api::<Node>::all(holder).get("a").await).0, 403);
    let wrong = Api::<CertificateSigningRequest>::all(client("abcdef.0123456789abcdeg").await);
    assert_eq!(refused(wrong.get(&name).await).0, 401);

    let requests: Api<CertificateSigningRequest> = Api::all(server.client());
    let approved = requests.patch_subresource("approval", &name, &PatchParams::default(), &approve).await.unwrap();
    assert_eq!(approved.status.unwrap().conditions.unwrap()[0].type_, "Approved");
    secrets.delete("bootstrap-token-abcdef", &Default::default()).await.unwrap();
    let late = Api::<CertificateSigningRequest>::all(client("abcdef.0123456789abcdef").await);
    assert_eq!(refused(late.get(&name).await).0, 401);
    stop.cancel();
    serving.await.unwrap();
}

fn node(name: &str, range: &str) -> Node {
    from_value(json!({"metadata": {"name": name}, "spec": {"podCIDRs": [range]}})).unwrap()
}

#[tokio::test]
async fn a_node_touches_what_is_its_own() {
    let server = Server::start().await;
    let a = server.api.client("system:node:a", &["system:nodes"]);
    let nodes: Api<Node> = Api::all(a.clone());
    nodes.create(&PostParams::default(), &node("a", "10.42.0.0/24")).await.unwrap();
    let (code, message) = refused(nodes.create(&PostParams::default(), &node("b", "10.42.1.0/24")).await);
    assert_eq!((code, message.contains("node \"a\" is not allowed to modify node \"b\"")), (403, true), "{message}");
    let all: Api<Node> = Api::all(server.client());
    all.create(&PostParams::default(), &node("b", "10.42.1.0/24")).await.unwrap();
    let taint = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}));
    nodes.patch("a", &PatchParams::default(), &taint).await.unwrap();
    assert_eq!(refused(nodes.patch("b", &PatchParams::default(), &taint).await).0, 403);
    assert_eq!(nodes.get("b").await.unwrap().metadata.name.as_deref(), Some("b"), "reading is everybody's");

    let pod = |name: &str, node: &str| -> Pod {
        from_value(json!({"metadata": {"name": name}, "spec": {"nodeName": node,
            "containers": [{"name": "c", "image": "i", "envFrom": [{"configMapRef": {"name": format!("of-{name}")}}]}]}}))
        .unwrap()
    };
    let admin: Api<Pod> = Api::default_namespaced(server.client());
    for (name, node) in [("mine", "a"), ("other", "b")] {
        admin.create(&PostParams::default(), &pod(name, node)).await.unwrap();
        let map: ConfigMap = from_value(json!({"metadata": {"name": format!("of-{name}")}})).unwrap();
        server.config_maps().create(&PostParams::default(), &map).await.unwrap();
    }
    let pods: Api<Pod> = Api::default_namespaced(a.clone());
    let running = Patch::Merge(json!({"status": {"phase": "Running"}}));
    pods.patch_status("mine", &PatchParams::default(), &running).await.unwrap();
    assert_eq!(refused(pods.patch_status("other", &PatchParams::default(), &running).await).0, 403);
    assert_eq!(refused(pods.delete("other", &Default::default()).await).0, 403);
    assert_eq!(refused(pods.create(&PostParams::default(), &pod("third", "b")).await).0, 403);
    let maps: Api<ConfigMap> = Api::default_namespaced(a);
    maps.get("of-mine").await.unwrap();
    assert_eq!(refused(maps.get("of-other").await).0, 403);
}

#[tokio::test]
async fn no_two_nodes_have_one_range() {
    let server = Server::start().await;
    let nodes: Api<Node> = Api::all(server.client());
    nodes.create(&PostParams::default(), &node("a", "10.42.0.0/24")).await.unwrap();
    let taken = "the range is allocated to another node";
    let (code, message) = refused(nodes.create(&PostParams::default(), &node("b", "10.42.0.0/24")).await);
    assert_eq!((code, message.contains(taken)), (422, true), "{message}");
    nodes.create(&PostParams::default(), &from_value(json!({"metadata": {"name": "b"}})).unwrap()).await.unwrap();
    let patch = |range: &str| Patch::Merge(json!({"spec": {"podCIDR": range, "podCIDRs": [range]}}));
    assert_eq!(refused(nodes.patch("b", &PatchParams::default(), &patch("10.42.0.0/24")).await).0, 422);
    nodes.delete("a", &Default::default()).await.unwrap();
    nodes.patch("b", &PatchParams::default(), &patch("10.42.0.0/24")).await.unwrap();
}
