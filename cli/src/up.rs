//! `skep up`: control plane and node in one process.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use skep_server::ControlPlane;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::settings::{self, default_state_dir};

const EXAMPLES: &str = "\
Examples:
  skep up                                         a cluster on this machine's own network
  skep up --kubeconfig ~/.kube/skep --image web.tar
  skep up --name n1 --netns /run/netns/n1 --link eth0 --listen 127.0.0.1:0

More nodes join with `skep node`; `skep token create --print-join-command` says how.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The cluster's and the node's name.
    #[arg(long, default_value = "skep")]
    name: String,
    /// Where all state is kept [default: /var/lib/skep/NAME].
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Where this machine's kubectl reaches the API server; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Where the kubeconfig is written [default: STATE_DIR/admin.kubeconfig].
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Live in this network namespace, as the node, e.g. /run/netns/node-1. --listen stays in the caller's.
    #[arg(long)]
    netns: Option<PathBuf>,
    /// The port of the API server on the node's address.
    #[arg(long, default_value_t = 6443)]
    api_port: u16,
    #[command(flatten)]
    cluster: settings::Cluster,
    #[command(flatten)]
    node: settings::Node,
    #[command(flatten)]
    log: settings::Log,
}

/// Starts the cluster and stays until SIGINT or SIGTERM.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    args.log.init()?;
    skep_noded::check_host()?;
    // A socket stays in the namespace that it was made in: this one is the caller's.
    let outside = settings::listen(args.listen)?;
    settings::enter(args.netns.as_deref())?;
    settings::block_on(up(args, outside)).map(|()| ExitCode::SUCCESS)
}

async fn up(args: &Args, outside: TcpListener) -> Result<()> {
    let stop = CancellationToken::new();
    let state_dir = args.state_dir.clone().unwrap_or_else(|| default_state_dir(&args.name));
    let kubeconfig = args.kubeconfig.clone().unwrap_or_else(|| state_dir.join("admin.kubeconfig"));
    let node = args.node.options(&args.name, state_dir.clone(), &args.cluster.service_cidr)?;
    let own = *node.node_ips.first().context("the node has no address")?;
    let advertise = SocketAddr::from((own, args.api_port));
    let server = format!("https://{}", outside.local_addr()?);

    let mut listeners = vec![settings::listen(advertise)?];
    listeners.push(outside);
    let control = args.cluster.control_plane(state_dir, advertise, Vec::new())?;
    let mut plane = ControlPlane::start(control, listeners, stop.clone()).await?;
    skep_server::write_kubeconfig(&kubeconfig, &args.name, &server, plane.authority_pem(), &plane.admin()?)?;
    tracing::info!(kubeconfig = %kubeconfig.display(), %server, "control plane is up");

    let client = plane.client(&format!("system:node:{}", args.name), &["system:nodes"]);
    let tls = plane.node_tls(&args.name, &node.node_ips)?;
    // The node outlives the control plane by a moment: its last status and its pods' ends are written through it.
    let node_stop = CancellationToken::new();
    let mut node = tokio::spawn(skep_noded::run(node, client, tls, node_stop.clone()));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let outcome = tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        ended = &mut node => return ended.context("the node panicked")?.and_then(|()| bail!("the node ended by itself")),
        failed = plane.failed() => failed.and_then(|()| bail!("a part of the control plane ended by itself")),
    };
    tracing::info!("stopping");
    node_stop.cancel();
    let node_outcome = node.await.context("the node panicked")?;
    stop.cancel();
    outcome.and(node_outcome).and(plane.join().await)
}
