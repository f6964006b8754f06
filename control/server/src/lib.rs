//! The control plane in one process: authority, store, API server, controllers, scheduler.
//!
//! [`ControlPlane::start`] is the entry. It owns these tasks: one per listener, one for the controllers, one for the
//! scheduler, one that compacts the store. All end with the token that it was given; [`ControlPlane::join`] waits for them and
//! closes the store last.
//!
//! Invariant: whatever runs here reaches the API through [`ControlPlane::client`], as any client outside does.

mod discovery;
mod kubeconfig;
mod pki;
mod signer;
mod token;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::IpNet;
use kube::Client;
use rustls::ServerConfig;
use skep_apiserver::ApiServer;
use skep_controllers::{Signer, TokenSigner};
use skep_raft::{Compactor, NodeId, Retention, Store};
use skep_registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::signer::{RequestSigner, SecretTokens};

pub use discovery::authority_hash;
pub use kubeconfig::write_kubeconfig;
pub use pki::{Authority, ClientAuth, Identity};
pub use skep_controllers::{PodRange, PodRangeError};
pub use token::{Entry as TokenEntry, Token, TokenError, create_token, delete_token, list_tokens};

/// This member of the store; the only one until members can join.
const NODE_ID: NodeId = 1;

/// Settings of the control plane.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of all state: `store/`, `pki/`.
    pub state_dir: PathBuf,
    /// The address under which pods and nodes reach the API server.
    pub advertise: SocketAddr,
    /// Addresses for Services, one range or one of each family, the default one first.
    pub service_cidrs: Vec<IpNet>,
    /// Addresses for pods, one range of each family, cut into blocks for nodes.
    pub pod_ranges: Vec<PodRange>,
    /// The longest that certificates are signed for that nodes ask for.
    pub signing_lifetime: Duration,
    /// More names under which the API server is reached, for its certificate.
    pub names: Vec<String>,
}

/// A running control plane.
pub struct ControlPlane {
    api: ApiServer,
    authority: Arc<Authority>,
    store: Store,
    tasks: JoinSet<Result<()>>,
}

impl ControlPlane {
    /// Opens the store, serves the API on every listener, and starts the controllers and the scheduler.
    ///
    /// # Errors
    /// State that cannot be read or written; each names its folder.
    pub async fn start(options: Options, listeners: Vec<TcpListener>, stop: CancellationToken) -> Result<ControlPlane> {
        let authority = Arc::new(Authority::open(&options.state_dir.join("pki"))?);
        let store = Store::open(skep_raft::Options::new(options.state_dir.join("store"), NODE_ID))
            .await
            .context("open the store")?;
        let api = start_api(&options, &authority, store.clone()).await?;
        let tls = serving_tls(&options, &authority, &listeners)?;

        let mut tasks = JoinSet::new();
        for listener in listeners {
            let (api, tls, stop) = (api.clone(), Arc::clone(&tls), stop.clone());
            tasks.spawn(async move { api.serve(listener, tls, stop).await.context("serve the API") });
        }
        let client = api.client("system:kube-controller-manager", &[]);
        let signer = RequestSigner { authority: Arc::clone(&authority), lifetime_max: options.signing_lifetime };
        let controllers = skep_controllers::Options {
            ca_pem: Some(authority.certificate_pem().to_owned()),
            pod_ranges: options.pod_ranges.clone(),
            signer: Some(Signer(Arc::new(signer))),
            token_signer: Some(TokenSigner(Arc::new(SecretTokens(api.clone())))),
            ..Default::default()
        };
        let publisher = api.client("system:apiserver", &["system:masters"]);
        discovery::publish(&publisher, &format!("https://{}", options.advertise), authority.certificate_pem()).await?;
        tasks.spawn(skep_controllers::run(client, controllers, stop.clone()));
        let client = api.client("system:kube-scheduler", &[]);
        tasks.spawn(skep_scheduler::run(client, skep_scheduler::Options::default(), stop.clone()));
        tasks.spawn(compact(store.clone(), stop));
        Ok(ControlPlane { api, authority, store, tasks })
    }

    /// A client in this process, with the identity of `user` in `groups`.
    #[must_use]
    pub fn client(&self, user: &str, groups: &[&str]) -> Client {
        self.api.client(user, groups)
    }

    /// A certificate for the cluster's administrator.
    ///
    /// # Errors
    /// Signing fails.
    pub fn admin(&self) -> Result<Identity> {
        self.authority.issue_client("kubernetes-admin", &["system:masters"])
    }

    /// What clients trust, PEM.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// TLS settings for a node's own server, which only the control plane may call.
    ///
    /// # Errors
    /// Signing fails.
    pub fn node_tls(&self, node: &str, addresses: &[IpAddr]) -> Result<Arc<ServerConfig>> {
        let identity =
            self.authority.issue_server(&format!("system:node:{node}"), &["system:nodes"], &[node], addresses)?;
        self.authority.server_config(&identity, ClientAuth::Required)
    }

    /// Waits for the tasks, which end with the token, and closes the store.
    ///
    /// # Errors
    /// The first task that failed.
    pub async fn join(mut self) -> Result<()> {
        let mut outcome = Ok(());
        while let Some(task) = self.tasks.join_next().await {
            outcome = outcome.and(task.context("a control plane task panicked").flatten());
        }
        self.api.shutdown();
        self.store.shutdown().await.context("close the store")?;
        outcome
    }

    /// The first task that ended, which none does before the token says so.
    ///
    /// # Errors
    /// What it failed with.
    pub async fn failed(&mut self) -> Result<()> {
        match self.tasks.join_next().await {
            Some(task) => task.context("a control plane task panicked").flatten(),
            None => Ok(()),
        }
    }
}

async fn start_api(options: &Options, authority: &Authority, store: Store) -> Result<ApiServer> {
    let kubelet = authority.issue_client("kube-apiserver-kubelet-client", &["system:masters"])?;
    let api = skep_apiserver::Options {
        service_cidrs: options.service_cidrs.clone(),
        advertise: Some(options.advertise),
        kubelet_client: Some(authority.client_config(&kubelet)?),
        service_account_key: Some(pki::service_account_key(&options.state_dir.join("pki"))?),
        ..Default::default()
    };
    ApiServer::start(api, Arc::new(Registry::builtin()), store).await.context("start the API server")
}

fn serving_tls(options: &Options, authority: &Authority, listeners: &[TcpListener]) -> Result<Arc<ServerConfig>> {
    let mut addresses = vec![options.advertise.ip(), IpAddr::from([127, 0, 0, 1])];
    // The `kubernetes` Service has the first address of the range.
    addresses.extend(options.service_cidrs.iter().filter_map(skep_apiserver::own_address));
    for listener in listeners {
        let address = listener.local_addr().context("a listener's address")?.ip();
        addresses.extend(Some(address).filter(|address| !address.is_unspecified()));
    }
    addresses.sort();
    addresses.dedup();
    let mut names = vec![
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    names.extend(options.names.iter().map(String::as_str));
    let identity = authority.issue_server("kube-apiserver", &[], &names, &addresses)?;
    authority.server_config(&identity, ClientAuth::Optional)
}

/// Forgets history that no watch is served from any more.
async fn compact(store: Store, stop: CancellationToken) -> Result<()> {
    let mut compactor = Compactor::new(Retention::default());
    let mut every = tokio::time::interval(compactor.interval());
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = every.tick() => {}
        }
        if let Err(error) = compactor.compact(&store).await {
            tracing::warn!(%error, "compaction failed");
        }
    }
}
