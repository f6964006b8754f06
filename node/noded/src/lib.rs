//! The node daemon: preflight, start, adoption and stop of all that runs on a node.
//!
//! [`run`] registers the Node and waits for its pod range, then brings up, in this order: the node's cgroup, the datapath, the pods' network, the node's socket, containerd, and then
//! at the same time the agent and the loops that write Services, routes and policy into the kernel. [`clean`] removes what a killed node left.
//!
//! Invariants: one daemon per state directory, by a lock that dies with it; a daemon that starts finds pods, translation and
//! network of the one before it in use, and changes nothing of them until it knows better; nothing of a Service is removed
//! or a policy before the first full view of the cluster; a pod that policy may select is policed before it runs.
//!
//! Tasks: the search for stale sockets, the service loop with a listener for each health-check node port, the policy loop, the routing loop, the collection of flows, the agent, the socket's server, and containerd's
//! supervisor; all end before [`run`] returns.

mod endpoints;
mod health;
mod healthz;
mod host_ports;
mod inputs;
mod kube_proxy;
mod lock;
mod node;
mod options;
mod policy;
mod preflight;
mod proxy;
mod range;
mod routing;
mod services;
mod socket;
mod stale;
mod tables;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use skep_netmodel::NodeIdentity;
use tokio_util::sync::CancellationToken;

use self::lock::Lock;
use self::node::Node;

pub use kube_proxy::remove_kube_proxy;
pub use options::Options;
pub use proxy::{ProxyOptions, run_service_proxy};
pub use skep_netmodel::RoutingMode;

/// The label of a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// What a host must have to run a node, looked at before anything is made.
///
/// # Errors
/// The first thing that is missing, in one line that says what to do.
pub fn check_host() -> Result<()> {
    preflight::check().map(|_| ())
}

/// Runs the node until `stop`. The process must be in the node's network namespace. `serving_tls` is for the kubelet's API.
///
/// # Errors
/// The host lacks something, another daemon runs the node, a part does not start, or one ends by itself.
pub async fn run(
    mut options: Options,
    client: kube::Client,
    serving_tls: Arc<rustls::ServerConfig>,
    stop: CancellationToken,
) -> Result<()> {
    options.validate()?;
    let cgroups = preflight::check()?;
    let _lock = Lock::take(&options.state_dir)?;
    if options.pod_cidrs.is_empty() {
        let agent = agent_options(&options, PathBuf::new(), None);
        let file = options.state_dir.join("cni/ranges");
        options.pod_cidrs = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ranges = range::allocated(agent, &client, &file) => ranges?,
        };
        options.validate()?;
    }
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
    let tables = node.tables.clone().context("the datapath is not open")?;
    let policing = node.policing.clone().context("the datapath is not open")?;
    let pods = stale::Namespaces::Own(Arc::clone(&network));
    let stale = tokio::spawn(stale::run(Arc::clone(&datapath), pods, tables.gone(), stop.clone()));
    let ported = host_ports::follow(network.ported());
    let links = routing::Routing::new(options.clone(), datapath, network);
    let routing = tokio::spawn(links.run(client.clone(), stop.clone()));
    let timing = Arc::clone(&node.programming);
    let identity = NodeIdentity {
        name: options.name.clone(),
        zone: options.labels.get(ZONE).cloned(),
        addresses: options.known_addresses(),
    };
    let services =
        tokio::spawn(services::run(client.clone(), identity, ported, tables, timing, Arc::default(), stop.clone()));
    let timing = Arc::clone(&node.policy_timing);
    let policy = tokio::spawn(policy::run(client.clone(), Arc::clone(&policing), timing, stop.clone()));
    let sweep = tokio::spawn(policy::sweep(policing, stop.clone()));
    let agent = agent_options(options, node.cri_socket()?, Some(serving_tls));
    let ended = skep_agent::run(agent, client, stop.clone()).await.context("node agent");
    stop.cancel();
    services.await.context("the service loop panicked")?;
    stale.await.context("the search for stale sockets panicked")?;
    routing.await.context("the routing loop panicked")?;
    policy.await.context("the policy loop panicked")?;
    sweep.await.context("the collection of flows panicked")?;
    ended
}

fn agent_options(
    options: &Options,
    cri_socket: PathBuf,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> skep_agent::Options {
    skep_agent::Options {
        pod_cidrs: options.pod_cidrs.iter().map(ToString::to_string).collect(),
        second_node_ip: options.node_ips.get(1).copied(),
        cgroup_parent: options.cgroup(),
        labels: options.labels.clone(),
        pods_max: options.pods_max,
        tls,
        kubelet_port: options.kubelet_port,
        cluster_dns: options.cluster_dns.clone(),
        cluster_domain: options.cluster_domain.clone(),
        ..skep_agent::Options::new(
            options.name.clone(),
            options.node_ips.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            options.state_dir.clone(),
            cri_socket,
        )
    }
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
