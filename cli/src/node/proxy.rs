//! `skep node --only service-proxy`, and what a kube-proxy left.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::settings::default_state_dir;

#[derive(clap::Args)]
pub(super) struct ServiceProxy {
    /// How to reach the API server [default: the service account of the pod that this runs in].
    #[arg(long, requires = "only", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The directory in cgroup2 below which sockets are translated [default: the root of where it is mounted].
    #[arg(long, requires = "only", value_name = "DIR")]
    cgroup_root: Option<PathBuf>,
    /// Where the container runtime keeps the pods' network namespaces.
    #[arg(long, requires = "only", default_value = "/run/netns", value_name = "DIR")]
    netns_dir: PathBuf,
    /// Where to answer /healthz and /livez.
    #[arg(long, requires = "only", default_value = "[::]:10256", value_name = "ADDRESS:PORT")]
    healthz_bind_address: SocketAddr,
}

/// Serves Services until SIGINT or SIGTERM.
pub(super) async fn run(args: &super::Args) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let name = args.name()?;
    let (link, node_ips, keep) = args.node.place()?;
    let options = skep_noded::ProxyOptions {
        state_dir: args.state_dir.clone().unwrap_or_else(|| default_state_dir(&name)),
        name,
        node_ips,
        link,
        cgroup: args.proxy.cgroup_root.clone(),
        netns_dir: args.proxy.netns_dir.clone(),
        healthz: Some(args.proxy.healthz_bind_address),
        teardown: !keep,
    };
    let client = Client::try_from(config(args).await?).context("make a client")?;
    let stop = CancellationToken::new();
    let mut running = tokio::spawn(skep_noded::run_service_proxy(options, client, stop.clone()));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        ended = &mut running => return ended.context("the proxy panicked")?.and_then(|()| bail!("the proxy ended by itself")),
    }
    tracing::info!("stopping");
    stop.cancel();
    running.await.context("the proxy panicked")?
}

async fn config(args: &super::Args) -> Result<Config> {
    let mut config = match &args.proxy.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("read {}", path.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("use {}", path.display()))?
        }
        None => Config::incluster().context("no service account of a pod is here: give --kubeconfig")?,
    };
    if let Some(server) = &args.server {
        config.cluster_url = server.parse().with_context(|| format!("--server {server}"))?;
    }
    Ok(config)
}

/// Removes what a kube-proxy left, and says what that was.
pub(super) fn clean_up() -> Result<ExitCode> {
    let removed = skep_noded::remove_kube_proxy()?;
    for line in &removed {
        println!("removed {line}");
    }
    if removed.is_empty() {
        println!("nothing of a kube-proxy is here");
    }
    Ok(ExitCode::SUCCESS)
}
