//! The node daemon: preflight, start, adoption and stop of all that runs on a node.
//!
//! [`run`] brings up, in this order: the node's cgroup, the datapath, the pods' network, the node's socket, containerd, and then
//! at the same time the agent and the loop that writes Services into the kernel. [`clean`] removes what a killed node left.
//!
//! Invariants: one daemon per state directory, by a lock that dies with it; a daemon that starts finds pods, translation and
//! network of the one before it in use, and changes nothing of them until it knows better; nothing of a Service is removed
//! before the first full view of the cluster.
//!
//! Tasks: the service loop, the routing loop, the agent, the socket's server, and containerd's supervisor; all end before [`run`] returns.

mod endpoints;
mod lock;
mod node;
mod options;
mod preflight;
mod routing;
mod services;
mod socket;
mod tables;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;

use self::lock::Lock;
use self::node::Node;
use self::tables::KernelTables;

pub use options::Options;
pub use skep_netmodel::RoutingMode;

/// Runs the node until `stop`. The process must be in the node's network namespace. `serving_tls` is for the kubelet's API.
///
/// # Errors
/// The host lacks something, another daemon runs the node, a part does not start, or one ends by itself.
pub async fn run(
    options: Options,
    client: kube::Client,
    serving_tls: Arc<rustls::ServerConfig>,
    stop: CancellationToken,
) -> Result<()> {
    options.validate()?;
    let cgroups = preflight::check()?;
    let _lock = Lock::take(&options.state_dir)?;
    let mut node = Node::new(options.clone(), cgroups);
    let parts = stop.child_token();
    let started = tokio::select! {
        () = stop.cancelled() => Ok(false),
        started = node.up() => started.map(|()| true),
    };
    let served = match started {
        Ok(true) => serve(&node, &options, client, serving_tls, &parts).await,
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    parts.cancel();
    if !options.teardown {
        node.leave().await;
        return served;
    }
    let ended = node.down().await.context("take the node down");
    served.and(ended)
}

/// Until `stop`, or until the agent fails.
async fn serve(
    node: &Node,
    options: &Options,
    client: kube::Client,
    serving_tls: Arc<rustls::ServerConfig>,
    stop: &CancellationToken,
) -> Result<()> {
    let datapath = node.datapath.clone().context("the datapath is not open")?;
    let network = node.network.clone().context("the network is not open")?;
    let links = routing::Routing::new(options.clone(), Arc::clone(&datapath), network);
    let routing = tokio::spawn(links.run(client.clone(), stop.clone()));
    let tables = Arc::new(KernelTables::new(datapath));
    let timing = Arc::clone(&node.programming);
    let services = tokio::spawn(services::run(client.clone(), tables, timing, stop.clone()));
    let agent = skep_agent::Options {
        pod_cidr: options.pod_cidr.to_string(),
        cgroup_parent: options.cgroup(),
        labels: options.labels.clone(),
        pods_max: options.pods_max,
        tls: Some(serving_tls),
        kubelet_port: options.kubelet_port,
        cluster_dns: options.cluster_dns.clone(),
        cluster_domain: options.cluster_domain.clone(),
        ..skep_agent::Options::new(
            options.name.clone(),
            IpAddr::V4(options.node_ip),
            options.state_dir.clone(),
            node.cri_socket()?,
        )
    };
    let ended = skep_agent::run(agent, client, stop.clone()).await.context("node agent");
    stop.cancel();
    services.await.context("the service loop panicked")?;
    routing.await.context("the routing loop panicked")?;
    ended
}

/// Removes what a killed node left: containers, containerd, pins, mounts, cgroups, and its files. The cluster's store and keys
/// in the same directory stay.
///
/// # Errors
/// The node is running, or something cannot be removed.
pub fn clean(state_dir: &Path, name: &str) -> Result<()> {
    options::validate_name(name)?;
    let _lock = if state_dir.exists() { Some(Lock::take(state_dir)?) } else { None };
    skep_cri::clean(state_dir, &options::cgroup(name)).context("end what the node left running")?;
    skep_bpf::detach_all(&skep_bpf::pin_dir(name)).context("detach the datapath")?;
    for part in ["run", "cni", "pods", "logs"] {
        let path = state_dir.join(part);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
