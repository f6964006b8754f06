//! Connections: who asks, and what they get.

use std::net::{Ipv4Addr, TcpListener};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio_util::sync::CancellationToken;

use crate::harness::{SOON, Server, refusal};
use crate::pki::Pki;

struct Listening {
    server: Server,
    pki: Pki,
    url: String,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl Listening {
    async fn start() -> Self {
        let server = Server::start().await;
        let pki = Pki::new().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let (api, tls, stop) = (server.api.clone(), pki.server_tls().unwrap(), stop.clone());
            async move { api.serve(listener, tls, stop).await.unwrap() }
        });
        Self { server, pki, url, stop, serving }
    }

    async fn client(&self, pki: &Pki, user: Option<(&str, Option<&str>)>) -> kube::Client {
        let client = user.map(|(user, group)| pki.client(user, group).unwrap());
        let yaml = self.pki.kubeconfig(&self.url, client.as_ref());
        let kubeconfig = Kubeconfig::from_yaml(&yaml).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }
}

#[tokio::test]
async fn a_client_certificate_says_who_asks() {
    let listening = Listening::start().await;
    let admin = listening.client(&listening.pki, Some(("root", Some("system:masters")))).await;
    let namespaces: Api<Namespace> = Api::all(admin);
    assert_eq!(namespaces.list(&ListParams::default()).await.unwrap().items.len(), 4);

    let jane = listening.client(&listening.pki, Some(("jane", None))).await;
    let maps: Api<ConfigMap> = Api::namespaced(jane, "default");
    let status = refusal(maps.get("a").await);
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        status.message,
        "configmaps \"a\" is forbidden: User \"jane\" cannot get resource \"configmaps\" in API group \"\" in the \
         namespace \"default\""
    );
}

#[tokio::test]
async fn nobody_sees_health_and_version_alone() {
    let listening = Listening::start().await;
    let nobody = listening.client(&listening.pki, None).await;
    assert_eq!(nobody.apiserver_version().await.unwrap().minor, "37");
    for path in ["/livez", "/readyz?verbose", "/healthz"] {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        assert!(nobody.request_text(request).await.unwrap().contains("ok"), "{path}");
    }
    let namespaces: Api<Namespace> = Api::all(nobody);
    let status = refusal(namespaces.list(&ListParams::default()).await);
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert!(status.message.contains("User \"system:anonymous\" cannot list resource"), "{}", status.message);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_not_let_in() {
    let listening = Listening::start().await;
    let other = Pki::new().unwrap();
    let stranger = listening.client(&other, Some(("root", Some("system:masters")))).await;
    let namespaces: Api<Namespace> = Api::all(stranger);
    let error = namespaces.list(&ListParams::default()).await.unwrap_err();
    assert!(!matches!(error, kube::Error::Api(_)), "{error:?}");
}

#[tokio::test]
async fn a_listener_that_stops_ends_its_watches_and_no_others() {
    use futures::StreamExt;
    let listening = Listening::start().await;
    let admin = listening.client(&listening.pki, Some(("root", Some("system:masters")))).await;
    let maps: Api<ConfigMap> = Api::namespaced(admin, "default");
    let mut watch = maps.watch(&kube::api::WatchParams::default(), "0").await.unwrap().boxed();
    listening.stop.cancel();
    let ended = async { while let Some(Ok(_)) = watch.next().await {} };
    tokio::time::timeout(SOON, ended).await.unwrap();
    tokio::time::timeout(SOON, listening.serving).await.unwrap().unwrap();
    listening.server.config_maps().list(&ListParams::default()).await.unwrap();
}
