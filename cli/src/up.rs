//! `skep up`: control plane and node in one process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use skep_server::ControlPlane;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::uplink;

const EXAMPLES: &str = "\
Examples:
  skep up                                         a cluster on this machine's own network
  skep up --kubeconfig ~/.kube/skep --image web.tar
  skep up --name n1 --netns /run/netns/n1 --link eth0 --listen 127.0.0.1:0";

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
    /// The node's address, which pods reach the API server at [default: that of --link].
    #[arg(long)]
    node_ip: Option<Ipv4Addr>,
    /// The node's interface to the outside [default: that of the default route].
    #[arg(long)]
    link: Option<String>,
    /// The port of the API server on the node's address.
    #[arg(long, default_value_t = 6443)]
    api_port: u16,
    /// Addresses for pods.
    #[arg(long, default_value = "10.42.0.0/24")]
    pod_cidr: ipnet::Ipv4Net,
    /// Addresses for Services.
    #[arg(long, default_value = "10.96.0.0/16")]
    service_cidr: ipnet::Ipv4Net,
    /// How packets get to other nodes' pods: native (as they are, by routes) or vxlan (in a tunnel).
    #[arg(long, default_value_t = skep_noded::RoutingMode::Native)]
    routing: skep_noded::RoutingMode,
    /// A prefix outside of the cluster that knows pods by their own addresses: packets there are not masqueraded; may be repeated.
    #[arg(long, value_name = "CIDR")]
    masquerade_except: Vec<ipnet::IpNet>,
    /// An OCI archive to import at start; may be repeated.
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// The image that holds each pod's namespaces.
    #[arg(long, default_value = "docker.io/library/skep-pause:1")]
    sandbox_image: String,
    /// Leave pods and their network running when this ends; the next start adopts them.
    #[arg(long)]
    keep: bool,
    /// What to log, e.g. info or skep_agent=debug,info.
    #[arg(long, env = "SKEP_LOG", default_value = "info,openraft=warn")]
    log: String,
    /// Log as JSON lines.
    #[arg(long)]
    log_json: bool,
}

/// Where a node keeps its state unless told otherwise.
pub(crate) fn default_state_dir(name: &str) -> PathBuf {
    Path::new("/var/lib/skep").join(name)
}

/// Starts the cluster and stays until SIGINT or SIGTERM.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    skep_telemetry::init(&skep_telemetry::Settings { json: args.log_json, filter: args.log.clone() })?;
    if !nix::unistd::geteuid().is_root() {
        bail!("a node needs root: run this with sudo");
    }
    // A socket stays in the namespace that it was made in: this one is the caller's.
    let outside = listen(args.listen)?;
    if let Some(path) = &args.netns {
        let file = std::fs::File::open(path).with_context(|| format!("open network namespace {}", path.display()))?;
        setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("enter network namespace {}", path.display()))?;
    }
    // Threads inherit the namespace, so the runtime comes after it.
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(up(args, outside))
        .map(|()| ExitCode::SUCCESS)
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!("listen on {address}: choose another address with --listen, or end what holds it (ss -ltnp)")
    })
}

async fn up(args: &Args, outside: TcpListener) -> Result<()> {
    let stop = CancellationToken::new();
    let state_dir = args.state_dir.clone().unwrap_or_else(|| default_state_dir(&args.name));
    let kubeconfig = args.kubeconfig.clone().unwrap_or_else(|| state_dir.join("admin.kubeconfig"));
    let link = args.link.clone().map_or_else(uplink::default_link, Ok)?;
    let node_ip = args.node_ip.map_or_else(|| uplink::address_of(&link), Ok)?;
    let advertise = SocketAddr::from((node_ip, args.api_port));
    let server = format!("https://{}", outside.local_addr()?);

    let mut listeners = vec![listen(advertise)?];
    listeners.push(outside);
    let control =
        skep_server::Options { state_dir: state_dir.clone(), advertise, service_cidr: args.service_cidr.into() };
    let mut plane = ControlPlane::start(control, listeners, stop.clone()).await?;
    skep_server::write_kubeconfig(&kubeconfig, &args.name, &server, plane.authority_pem(), &plane.admin()?)?;
    tracing::info!(kubeconfig = %kubeconfig.display(), %server, "control plane is up");

    let node = skep_noded::Options {
        name: args.name.clone(),
        state_dir,
        node_ip,
        link: Some(link),
        pod_cidr: args.pod_cidr,
        service_cidr: args.service_cidr,
        images: args.images.clone(),
        sandbox_image: args.sandbox_image.clone(),
        routing: args.routing,
        masquerade_except: args.masquerade_except.clone(),
        teardown: !args.keep,
        ..Default::default()
    };
    let client = plane.client(&format!("system:node:{}", args.name), &["system:nodes"]);
    let tls = plane.node_tls(&args.name, &[IpAddr::V4(node_ip)])?;
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
