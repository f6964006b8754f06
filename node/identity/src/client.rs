//! Clients of the API: for anybody, for a token's holder, and for the node.

use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Request, Response, header};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::error::Error;
use crate::keypair::KeyPair;

/// What a node's program is called; the part before the slash names its writes in managed fields.
const AGENT: &str = concat!("kubelet/skep-", env!("CARGO_PKG_VERSION"));

/// For what is checked afterwards, by other means than TLS.
pub(crate) async fn unchecked(server: &str) -> Result<Client, Error> {
    client(json!({"server": server, "insecure-skip-tls-verify": true}), json!({})).await
}

/// In the name of a bootstrap token.
pub(crate) async fn with_token(server: &str, authority_pem: &str, token: &str) -> Result<Client, Error> {
    client(checked(server, authority_pem), json!({"token": token})).await
}

async fn with_certificate(server: &str, authority_pem: &str, pair: &KeyPair) -> Result<Client, Error> {
    let user = json!({
        "client-certificate-data": STANDARD.encode(&pair.chain_pem),
        "client-key-data": STANDARD.encode(&pair.key_pem),
    });
    client(checked(server, authority_pem), user).await
}

fn checked(server: &str, authority_pem: &str) -> Value {
    json!({"server": server, "certificate-authority-data": STANDARD.encode(authority_pem)})
}

async fn client(cluster: Value, user: Value) -> Result<Client, Error> {
    let bad = |error: &dyn std::fmt::Display| Error::malformed("the settings of a client", error);
    let config: Kubeconfig = serde_json::from_value(json!({
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": "user"}}],
        "current-context": "context",
    }))
    .map_err(|error| bad(&error))?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| bad(&error))?;
    config.headers.push((header::USER_AGENT, HeaderValue::from_static(AGENT)));
    Client::try_from(config).map_err(|error| bad(&error))
}

/// A client whose certificate can be replaced: requests that begin afterwards show the new one; what is under way, watches above
/// all, goes on over the connections that it has.
#[derive(Clone)]
pub(crate) struct Renewable {
    server: String,
    authority_pem: String,
    current: Arc<RwLock<Client>>,
}

impl Renewable {
    pub(crate) async fn new(server: &str, authority_pem: &str, pair: &KeyPair) -> Result<Self, Error> {
        let current = Arc::new(RwLock::new(with_certificate(server, authority_pem, pair).await?));
        Ok(Self { server: server.to_owned(), authority_pem: authority_pem.to_owned(), current })
    }

    pub(crate) async fn replace(&self, pair: &KeyPair) -> Result<(), Error> {
        let client = with_certificate(&self.server, &self.authority_pem, pair).await?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(())
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.clone(), "default")
    }
}

impl tower::Service<Request<Body>> for Renewable {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, kube::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let client = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move { client.send(request).await })
    }
}
