//! `skep server`: a control plane alone.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use skep_server::ControlPlane;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::settings::{self, default_state_dir};
use crate::uplink;

const EXAMPLES: &str = "\
Examples:
  skep server                                     at this machine's address, port 6443
  skep server --advertise 192.0.2.10:6443 --cluster-cidr 10.42.0.0/16,fd00:42::/48
  skep token create --print-join-command          what to run on each node

The admin's kubeconfig is for this machine and says 127.0.0.1; elsewhere put the advertised address in its place.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The cluster's name.
    #[arg(long, default_value = "skep")]
    name: String,
    /// Where all state is kept [default: /var/lib/skep/NAME].
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Where nodes and pods reach the API server [default: the address of the default route's link, port 6443].
    #[arg(long, value_name = "ADDRESS:PORT")]
    advertise: Option<SocketAddr>,
    /// Where this machine's kubectl reaches the API server; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Where the kubeconfig is written [default: STATE_DIR/admin.kubeconfig].
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// One more name under which the server is reached, for its certificate; may be repeated.
    #[arg(long = "tls-san", value_name = "NAME")]
    names: Vec<String>,
    /// Serve nodes in this network namespace, e.g. /run/netns/node-1. --listen stays in the caller's.
    #[arg(long)]
    netns: Option<PathBuf>,
    #[command(flatten)]
    cluster: settings::Cluster,
    #[command(flatten)]
    log: settings::Log,
}

/// Starts the control plane and stays until SIGINT or SIGTERM.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    args.log.init()?;
    let outside = settings::listen(args.listen)?;
    settings::enter(args.netns.as_deref())?;
    settings::block_on(serve(args, outside)).map(|()| ExitCode::SUCCESS)
}

async fn serve(args: &Args, outside: TcpListener) -> Result<()> {
    let advertise = match args.advertise {
        Some(advertise) => {
            settings::is_reached_from_pods("--advertise", advertise.ip())
                .context("give this machine's address as nodes see it")?;
            advertise
        }
        None => {
            let link = uplink::default_link().context("say where nodes reach this server with --advertise")?;
            SocketAddr::from((uplink::address_of(&link)?, 6443))
        }
    };
    let state_dir = args.state_dir.clone().unwrap_or_else(|| default_state_dir(&args.name));
    let kubeconfig = args.kubeconfig.clone().unwrap_or_else(|| state_dir.join("admin.kubeconfig"));
    let server = format!("https://{}", outside.local_addr()?);
    let listeners = vec![settings::listen(advertise)?, outside];
    let options = args.cluster.control_plane(state_dir, advertise, args.names.clone())?;
    let stop = CancellationToken::new();
    let mut plane = ControlPlane::start(options, listeners, stop.clone()).await?;
    skep_server::write_kubeconfig(&kubeconfig, &args.name, &server, plane.authority_pem(), &plane.admin()?)?;
    let hash = skep_server::authority_hash(plane.authority_pem())?;
    tracing::info!(kubeconfig = %kubeconfig.display(), %server, %advertise, ca_cert_hash = hash, "control plane is up");

    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let outcome = tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        failed = plane.failed() => failed.and_then(|()| bail!("a part of the control plane ended by itself")),
    };
    tracing::info!("stopping");
    stop.cancel();
    outcome.and(plane.join().await)
}
