//! `skep node`: a node alone, of a cluster whose control plane is elsewhere.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use skep_identity::{AuthorityHash, Identity, Trust};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::settings::{self, default_state_dir};

const EXAMPLES: &str = "\
Examples:
  skep node --server https://192.0.2.10:6443 --token abcdef.0123456789abcdef --ca-cert-hash sha256:…
  skep node --name n2 --server https://192.0.2.10:6443          once it has joined, it needs neither
  skep node --server https://192.0.2.10:6443 --token … --ca-file ca.crt

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
    #[arg(long, value_name = "URL")]
    server: String,
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

/// Joins, and stays until SIGINT or SIGTERM.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    args.log.init()?;
    skep_noded::check_host()?;
    settings::enter(args.netns.as_deref())?;
    settings::block_on(join_and_run(args)).map(|()| ExitCode::SUCCESS)
}

async fn join_and_run(args: &Args) -> Result<()> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => host_name()?,
    };
    let state_dir = args.state_dir.clone().unwrap_or_else(|| default_state_dir(&name));
    let node = args.node.options(&name, state_dir.clone(), &args.service_cidr)?;
    let trust = match (&args.ca_file, args.ca_cert_hashes.as_slice()) {
        (Some(file), _) => Some(Trust::File(file.clone())),
        (None, []) => None,
        (None, hashes) => Some(Trust::Pinned(hashes.to_vec())),
    };
    let options = skep_identity::Options {
        server: args.server.trim_end_matches('/').to_owned(),
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
    tracing::info!(node = name, server = args.server, "the node has an identity");

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

/// As the kubelet has it: lower case.
fn host_name() -> Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").context("read the host name: give --name")?;
    Ok(text.trim().to_ascii_lowercase())
}
