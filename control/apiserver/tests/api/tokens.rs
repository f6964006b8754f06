//! Service accounts' tokens: asked for, shown, and ended with what they are bound to.

use std::net::{Ipv4Addr, TcpListener};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, from_value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::{Server, refusal};
use crate::pki::Pki;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

async fn account(server: &Server, name: &str) {
    let account = from_value(json!({"metadata": {"name": name}})).unwrap();
    Api::<ServiceAccount>::default_namespaced(server.client()).create(&PostParams::default(), &account).await.unwrap();
}

async fn pod(server: &Server, name: &str, account: &str, node: &str) -> Pod {
    let pod = json!({"metadata": {"name": name}, "spec": {"serviceAccountName": account, "nodeName": node,
        "automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]}});
    let pods: Api<Pod> = Api::default_namespaced(server.client());
    pods.create(&PostParams::default(), &from_value(pod).unwrap()).await.unwrap()
}

async fn ask(server: &Server, name: &str, spec: Value) -> (u16, Value) {
    server.json("POST", &format!("{ACCOUNTS}/{name}/token"), &json!({"spec": spec})).await
}

async fn token(server: &Server, name: &str, spec: Value) -> String {
    let (code, answer) = ask(server, name, spec).await;
    assert_eq!(code, 201, "{answer}");
    answer["status"]["token"].as_str().unwrap().to_owned()
}

async fn review(server: &Server, token: &str, audiences: &[&str]) -> Value {
    let spec = json!({"spec": {"token": token, "audiences": audiences}});
    let (code, answer) = server.json("POST", "/apis/authentication.k8s.io/v1/tokenreviews", &spec).await;
    assert_eq!(code, 201, "{answer}");
    answer["status"].clone()
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn bound_to(pod: &Pod) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "name": pod.metadata.name, "uid": pod.metadata.uid})
}

#[tokio::test]
async fn tokens_stand_for_their_account_while_it_is_there() {
    let server = Server::start().await;
    account(&server, "bot").await;
    let first = token(&server, "bot", json!({"expirationSeconds": 900})).await;
    let said = claims(&first);
    assert_eq!((&said["iss"], &said["aud"]), (&json!(ISSUER), &json!([ISSUER])));
    assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 900);
    assert_eq!(said["kubernetes.io"]["serviceaccount"]["name"], "bot");
    let status = review(&server, &first, &[]).await;
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!([ISSUER])));
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:bot");
    let groups = json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]);
    assert_eq!(status["user"]["groups"], groups);
    let id = status["user"]["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().unwrap();
    assert_eq!(id, format!("JTI={}", said["jti"].as_str().unwrap()));

    let vault = token(&server, "bot", json!({"audiences": ["vault"]})).await;
    assert_eq!(review(&server, &vault, &["vault", "x"]).await["audiences"], json!(["vault"]));
    let error = review(&server, &vault, &[]).await["error"].clone();
    let text = format!(
        "[invalid bearer token, token audiences [\"vault\"] is invalid for the target audiences [\"{ISSUER}\"]]"
    );
    assert_eq!(error, text);
    let other = Server::start().await;
    account(&other, "bot").await;
    assert_eq!(review(&other, &first, &[]).await["error"], "invalid bearer token", "it is another cluster's");

    let accounts: Api<ServiceAccount> = Api::default_namespaced(server.client());
    accounts.delete("bot", &DeleteParams::default()).await.unwrap();
    account(&server, "bot").await;
    let error = "[invalid bearer token, service account token has been invalidated]";
    assert_eq!(review(&server, &first, &[]).await["error"], error, "the account is another one now");
}

#[tokio::test]
async fn requests_for_tokens_are_checked() {
    let server = Server::start().await;
    account(&server, "bot").await;
    assert_eq!(ask(&server, "none", json!({})).await.0, 404);
    let (code, answer) = ask(&server, "bot", json!({"expirationSeconds": 599})).await;
    let text = "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not \
                specify a duration less than 10 minutes";
    assert_eq!((code, &answer["message"]), (422, &json!(text)));
    for (bound, code) in [
        (json!({"kind": "ConfigMap", "apiVersion": "v1", "name": "a"}), 400),
        (json!({"kind": "Pod", "apiVersion": "v1", "name": "a"}), 404),
        (json!({"kind": "Secret", "apiVersion": "v1", "name": "a"}), 404),
    ] {
        assert_eq!(ask(&server, "bot", json!({"boundObjectRef": bound})).await.0, code, "{bound}");
    }
    account(&server, "other").await;
    let pod = pod(&server, "p", "other", "a").await;
    let (code, answer) = ask(&server, "bot", json!({"boundObjectRef": bound_to(&pod)})).await;
    let text = "cannot bind token for serviceaccount \"bot\" to pod running with different serviceaccount name.";
    assert_eq!((code, &answer["message"]), (400, &json!(text)));
    let wrong = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "x"});
    assert_eq!(ask(&server, "other", json!({"boundObjectRef": wrong})).await.0, 409);
}

/// `[sig-auth] ServiceAccounts should mount an API token into pods`: what the agent asks for, and what ends it.
#[tokio::test]
async fn a_pods_token_ends_with_the_pod_and_is_its_nodes_to_ask_for() {
    let server = Server::start().await;
    account(&server, "bot").await;
    let nodes: Api<Node> = Api::all(server.client());
    nodes.create(&PostParams::default(), &from_value(json!({"metadata": {"name": "a"}})).unwrap()).await.unwrap();
    let pod = pod(&server, "p", "bot", "a").await;
    let wanted = json!({"spec": {"expirationSeconds": 3607, "boundObjectRef": bound_to(&pod)}});
    let ask = async |node: &str, body: &Value| {
        let client = server.api.client(&format!("system:node:{node}"), &["system:nodes"]);
        let request = http::Request::post(format!("{ACCOUNTS}/bot/token")).body(body.to_string().into_bytes()).unwrap();
        client.request::<Value>(request).await
    };
    let status = refusal(ask("b", &wanted).await);
    assert!(status.message.ends_with("no relationship found between node 'b' and this object"), "{}", status.message);
    let status = refusal(ask("a", &json!({"spec": {}})).await);
    assert_eq!(status.message, "serviceaccounts \"bot\" is forbidden: node requested token not bound to a pod");
    let token = ask("a", &wanted).await.unwrap()["status"]["token"].as_str().unwrap().to_owned();
    let said = claims(&token);
    let year = said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap();
    assert_eq!(year, 365 * 24 * 3600, "it stays good for clients that read it once");
    let warn = said["kubernetes.io"]["warnafter"].as_i64().unwrap() - said["iat"].as_i64().unwrap();
    assert_eq!(warn, 3607);
    let extra = review(&server, &token, &[]).await["user"]["extra"].clone();
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], json!(["p"]));
    assert_eq!(extra["authentication.kubernetes.io/node-name"], json!(["a"]));
    let pods: Api<Pod> = Api::default_namespaced(server.client());
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(review(&server, &token, &[]).await["authenticated"], Value::Null);
}

/// `[sig-auth] ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer`
#[tokio::test]
async fn a_token_opens_the_api_and_others_can_check_it() {
    let server = Server::start().await;
    account(&server, "bot").await;
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
    let bot = client(&token(&server, "bot", json!({})).await).await;
    let document = async |client: &kube::Client, path: &str| -> kube::Result<Value> {
        client.request(http::Request::get(path).body(Vec::new()).unwrap()).await
    };
    let found = document(&bot, "/.well-known/openid-configuration").await.unwrap();
    assert_eq!(
        (&found["issuer"], &found["jwks_uri"]),
        (&json!(ISSUER), &json!("https://192.0.2.1:6443/openid/v1/jwks"))
    );
    let keys = document(&bot, "/openid/v1/jwks").await.unwrap();
    assert_eq!(keys["keys"][0]["alg"], "ES256");
    let jane = server.api.client("jane", &[]);
    assert_eq!(refusal(document(&jane, "/openid/v1/jwks").await).code, 403, "service accounts alone may read it");

    let maps: Api<ConfigMap> = Api::default_namespaced(bot);
    let status = refusal(maps.list(&ListParams::default()).await);
    let text = "configmaps is forbidden: User \"system:serviceaccount:default:bot\" cannot list resource \"configmaps\" \
                in API group \"\" in the namespace \"default\"";
    assert_eq!((status.code, status.message.as_str()), (403, text));
    let binding = json!({"roleRef": {"kind": "Role", "name": "read", "apiGroup": "rbac.authorization.k8s.io"},
        "metadata": {"name": "read"}, "subjects": [{"kind": "ServiceAccount", "name": "bot"}]});
    let role = json!({"metadata": {"name": "read"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]});
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    assert_eq!(server.json("POST", &format!("{path}/roles"), &role).await.0, 201);
    assert_eq!(server.json("POST", &format!("{path}/rolebindings"), &binding).await.0, 201);
    maps.list(&ListParams::default()).await.unwrap();
    let stranger: Api<ConfigMap> = Api::default_namespaced(client("a.b.c").await);
    assert_eq!(refusal(stranger.list(&ListParams::default()).await).code, 401);
    stop.cancel();
    serving.await.unwrap();
}

/// `[sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount` and
/// `[sig-auth] ServiceAccounts should update a ServiceAccount`
#[tokio::test]
async fn accounts_are_changed_listed_and_deleted() {
    use futures::StreamExt;
    use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
    let server = Server::start().await;
    let accounts: Api<ServiceAccount> = Api::default_namespaced(server.client());
    let labelled: ServiceAccount =
        from_value(json!({"metadata": {"name": "bot", "labels": {"test": "static"}}})).unwrap();
    let of_test = WatchParams::default().labels("test=static");
    let mut events = accounts.watch(&of_test, "0").await.unwrap().boxed();
    accounts.create(&PostParams::default(), &labelled).await.unwrap();
    let off = Patch::Strategic(json!({"automountServiceAccountToken": false}));
    accounts.patch("bot", &PatchParams::default(), &off).await.unwrap();
    let all: Api<ServiceAccount> = Api::all(server.client());
    let found = all.list(&ListParams::default().labels("test=static")).await.unwrap().items;
    assert_eq!(found[0].automount_service_account_token, Some(false));
    let mut changed = found[0].clone();
    changed.automount_service_account_token = Some(true);
    let changed = accounts.replace("bot", &PostParams::default(), &changed).await.unwrap();
    assert_eq!(changed.automount_service_account_token, Some(true));
    accounts.delete_collection(&DeleteParams::default(), &ListParams::default().labels("test=static")).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&"deleted") {
        seen.push(match tokio::time::timeout(crate::harness::SOON, events.next()).await.unwrap().unwrap().unwrap() {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["added", "modified", "modified", "deleted"]);
}

/// `[sig-auth] ServiceAccounts should mount projected service account token`: the volume that every pod gets.
#[tokio::test]
async fn pods_get_their_accounts_volume_or_are_refused() {
    let server = Server::start().await;
    let api = server.restarted().await;
    let pods: Api<Pod> = Api::default_namespaced(api.client("root", &["system:masters"]));
    let pod = |name: &str, account: &str| -> Pod {
        from_value(json!({"metadata": {"name": name}, "spec": {"serviceAccountName": account,
            "containers": [{"name": "c", "image": "i"}]}}))
        .unwrap()
    };
    let status = refusal(pods.create(&PostParams::default(), &pod("p", "bot")).await);
    let text =
        "pods \"p\" is forbidden: error looking up service account default/bot: serviceaccount \"bot\" not found";
    assert_eq!((status.code, status.message.as_str()), (403, text));
    // The default account is waited for: a controller makes it.
    let (params, waiting) = (PostParams::default(), pod("p", ""));
    let waits = pods.create(&params, &waiting);
    let (made, ()) = tokio::join!(waits, account(&server, "default"));
    let spec = serde_json::to_value(made.unwrap().spec).unwrap();
    assert_eq!((&spec["serviceAccountName"], &spec["serviceAccount"]), (&json!("default"), &json!("default")));
    let volume = &spec["volumes"][0];
    assert!(volume["name"].as_str().unwrap().starts_with("kube-api-access-"), "{volume}");
    assert_eq!(
        volume["projected"]["sources"][0]["serviceAccountToken"],
        json!({"expirationSeconds": 3607, "path": "token"})
    );
    let mount = &spec["containers"][0]["volumeMounts"][0];
    assert_eq!(
        (&mount["mountPath"], &mount["readOnly"]),
        (&json!("/var/run/secrets/kubernetes.io/serviceaccount"), &json!(true))
    );
}
