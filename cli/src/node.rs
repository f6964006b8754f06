//! `skep node`: a node alone, of a cluster whose control plane is elsewhere; or one part of a node alone.

mod proxy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use skep_identity::{AuthorityHash, Identity, Trust};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::settings::{self, default_state_dir};

const EXAMPLES: &str = "\
Examples:
  skep node --server https://192.0.2.10:6443 --token abcdef.0123456789abcdef --ca-cert-hash sha256:…
  skep node --name n2 --server https://192.0.2.10:6443          once it has joined, it needs neither
  skep node --server https://192.0.2.10:6443 --token … --ca-file ca.crt
  skep node --only service-proxy --kubeconfig /etc/kubernetes/skep.conf    in place of a kube-proxy, in any cluster
  skep node --cleanup-kube-proxy                                           removes what a kube-proxy left on this machine

`skep token create --print-join-command`, where the admin's kubeconfig is, prints the first of these in full.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's name [default: this machine's host name].
    #[arg(long)]
    name: Option<String>,
    /// Where all state is kept [default: /var/lib/skep/NAME].
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// The API server, https://HOST:PORT.
    #[arg(long, value_name = "URL", required_unless_present_any = ["only", "cleanup_kube_proxy"])]
    server: Option<String>,
    /// Run this part of a node alone, beside what others run there.
    #[arg(long, value_enum, value_name = "PART", conflicts_with_all = ["token", "ca_cert_hashes", "ca_file"])]
    only: Option<Only>,
    #[command(flatten)]
    proxy: proxy::ServiceProxy,
    /// Remove chains, tables and interfaces that a kube-proxy left on this machine, say what was removed, and end.
    #[arg(long, conflicts_with = "only")]
    cleanup_kube_proxy: bool,
    /// A bootstrap token: by it the node asks for its first certificate.
    #[arg(long, env = "SKEP_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The hash of the key of the cluster's authority, sha256:HEX; may be repeated.
    #[arg(long = "ca-cert-hash", value_name = "HASH", conflicts_with = "ca_file")]
    ca_cert_hashes: Vec<AuthorityHash>,
    /// The certificate of the cluster's authority.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Live in this network namespace, e.g. /run/netns/node-2.
    #[arg(long)]
    netns: Option<PathBuf>,
    /// Addresses for Services, as the server has them.
    #[arg(long, default_value = "10.96.0.0/16", value_delimiter = ',', value_name = "CIDR,…")]
    service_cidr: Vec<ipnet::IpNet>,
    #[command(flatten)]
    node: settings::Node,
    #[command(flatten)]
    log: settings::Log,
}

/// The parts of a node that run alone.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// Services: what a kube-proxy does. It needs no agent, no container runtime and no pod network of ours.
    ServiceProxy,
}

/// Joins, and stays until SIGINT or SIGTERM.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    args.log.init()?;
    if args.cleanup_kube_proxy {
        settings::enter(args.netns.as_deref())?;
        return proxy::clean_up();
    }
    if args.only == Some(Only::ServiceProxy) {
        settings::enter(args.netns.as_deref())?;
        return settings::block_on(proxy::run(args)).map(|()| ExitCode::SUCCESS);
    }
    skep_noded::check_host()?;
    settings::enter(args.netns.as_deref())?;
    settings::block_on(join_and_run(args)).map(|()| ExitCode::SUCCESS)
}

async fn join_and_run(args: &Args) -> Result<()> {
    let name = args.name()?;
    let state_dir = args.state_dir.clone().unwrap_or_else(|| default_state_dir(&name));
    let node = args.node.options(&name, state_dir.clone(), &args.service_cidr)?;
    let trust = match (&args.ca_file, args.ca_cert_hashes.as_slice()) {
        (Some(file), _) => Some(Trust::File(file.clone())),
        (None, []) => None,
        (None, hashes) => Some(Trust::Pinned(hashes.to_vec())),
    };
    let server = args.server.as_deref().context("--server is missing")?;
    let options = skep_identity::Options {
        server: server.trim_end_matches('/').to_owned(),
        node: name.clone(),
        addresses: node.node_ips.clone(),
        dir: state_dir.join("identity"),
        token: args.token.clone(),
        trust,
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let identity = tokio::select! {
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
        joined = Identity::join(options) => joined.with_context(|| format!("join the cluster as {name}"))?,
    };
    tracing::info!(node = name, server, "the node has an identity");

    let (stop, rotation_stop) = (CancellationToken::new(), CancellationToken::new());
    let rotation = tokio::spawn(identity.clone().rotate(rotation_stop.clone()));
    let mut running = tokio::spawn(skep_noded::run(node, identity.client(), identity.serving(), stop.clone()));
    let outcome = tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        ended = &mut running => return ended.context("the node panicked")?.and_then(|()| bail!("the node ended by itself")),
    };
    tracing::info!("stopping");
    stop.cancel();
    let ended = running.await.context("the node panicked")?;
    rotation_stop.cancel();
    rotation.await.context("the rotation of certificates panicked")?;
    outcome.and(ended)
}

impl Args {
    fn name(&self) -> Result<String> {
        self.name.clone().map_or_else(host_name, Ok)
    }
}

/// As the kubelet has it: lower case.
fn host_name() -> Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").context("read the host name: give --name")?;
    Ok(text.trim().to_ascii_lowercase())
}
