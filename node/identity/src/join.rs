//! From nothing, or from what is on disk, to an identity.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use rustls::ServerConfig;
use tokio::time::Instant;

use crate::client::Renewable;
use crate::error::Error;
use crate::keypair::KeyPair;
use crate::options::Options;
use crate::request::{Purpose, obtain};
use crate::serving::{self, Serving};
use crate::{authority, client};

/// How long a server may take to come up that this node was told to join.
const SERVER_WITHIN: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(250);

/// A node as its cluster knows it.
#[derive(Clone)]
pub struct Identity {
    pub(crate) options: Options,
    pub(crate) client: Renewable,
    pub(crate) serving: Arc<Serving>,
    tls: Arc<ServerConfig>,
}

impl Identity {
    /// Takes the identity on disk, or asks the cluster for one by the bootstrap token.
    ///
    /// # Errors
    /// The server is not reached or not the right one, the token is not accepted, the request is refused; each says what to do.
    pub async fn join(options: Options) -> Result<Self, Error> {
        let authority_pem = authority::find(&options).await?;
        let path = client_path(&options);
        let held = KeyPair::load(&path)?;
        let usable = match &held {
            Some(pair) => !pair.lifetime()?.is_over(Timestamp::now()),
            None => false,
        };
        let pair = match held {
            Some(pair) if usable => pair,
            _ => {
                let pair = retried(|| bootstrap(&options, &authority_pem)).await?;
                pair.save(&path)?;
                pair
            }
        };
        let client = Renewable::new(&options.server, &authority_pem, &pair).await?;
        let serving = Arc::new(Serving::default());
        let tls = serving::tls(Arc::clone(&serving), &authority_pem)?;
        Ok(Self { options, client, serving, tls })
    }

    /// A client that shows the node's certificate of the moment.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.client()
    }

    /// TLS settings for the node's own server, which only the cluster may call.
    #[must_use]
    pub fn serving(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls)
    }
}

pub(crate) fn client_path(options: &Options) -> PathBuf {
    options.dir.join("client.pem")
}

pub(crate) fn serving_path(options: &Options) -> PathBuf {
    options.dir.join("serving.pem")
}

async fn bootstrap(options: &Options, authority_pem: &str) -> Result<KeyPair, Error> {
    let token = options.token.as_deref().ok_or(Error::NoToken)?;
    let client = client::with_token(&options.server, authority_pem, token).await?;
    match obtain(&client, &options.server, &options.node, &Purpose::Client).await {
        Err(Error::Api { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.code == 401) => {
            let id = token.split('.').next().unwrap_or_default().to_owned();
            Err(Error::TokenRefused { id })
        }
        obtained => obtained,
    }
}

/// Tries until the server answers, for a bounded time.
pub(crate) async fn retried<T, F: Future<Output = Result<T, Error>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T, Error> {
    let deadline = Instant::now() + SERVER_WITHIN;
    loop {
        match attempt().await {
            Err(error) if error.is_transient() && Instant::now() < deadline => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the server is not there yet");
                tokio::time::sleep(RETRY).await;
            }
            outcome => return outcome,
        }
    }
}
