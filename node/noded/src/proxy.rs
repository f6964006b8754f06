//! A node's service datapath alone, in place of a kube-proxy: beside a kubelet, a container runtime and a pod network of others, against any
//! API server that speaks Kubernetes.
//!
//! Sockets of every pod and of the host are translated at the root of the cgroup hierarchy, packets from outside at the node's link. What
//! goes on to a pod of this node is left to the stack, which knows the way and applies what the pod network has there; a backend elsewhere
//! sees the node's address.

mod node;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use skep_bpf::Datapath;
use skep_netmodel::NodeIdentity;
use skep_observe::{InspectService, Timing, Verify};
use tokio_util::sync::CancellationToken;

use self::node::Seen;
use crate::healthz::{self, Freshness};
use crate::lock::Lock;
use crate::socket::Socket;
use crate::stale::{self, Namespaces};
use crate::tables::KernelTables;
use crate::{host_ports, preflight, services};

/// The longest name of a Node object.
const NAME_LEN_MAX: usize = 253;

/// What a service proxy is told at start. Nothing here changes while it runs.
#[derive(Debug, Clone)]
pub struct ProxyOptions {
    /// The Node object's name.
    pub name: String,
    /// Holds `run/skep.sock`.
    pub state_dir: PathBuf,
    /// The node's own addresses, at which node ports answer.
    pub node_ips: Vec<IpAddr>,
    /// The interface at which callers from outside come in.
    pub link: String,
    /// The directory in cgroup2 below which sockets are translated; the whole hierarchy where there is none.
    pub cgroup: Option<PathBuf>,
    /// Where the container runtime keeps the pods' network namespaces.
    pub netns_dir: PathBuf,
    /// Where probes are answered; nowhere where there is none.
    pub healthz: Option<SocketAddr>,
    /// Whether translation ends with the daemon, rather than being left for the next one.
    pub teardown: bool,
}

impl ProxyOptions {
    fn validate(&self) -> Result<()> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        let edges = self.name.starts_with(['-', '.']) || self.name.ends_with(['-', '.']);
        ensure!(
            !self.name.is_empty() && self.name.len() <= NAME_LEN_MAX && !edges && self.name.bytes().all(fits),
            "name: {:?} is not a DNS subdomain: up to {NAME_LEN_MAX} of a-z, 0-9, '-' and '.', with a letter or digit first and last",
            self.name
        );
        ensure!(self.state_dir.is_absolute(), "state_dir: {:?} is not an absolute path", self.state_dir);
        ensure!(!self.node_ips.is_empty(), "node_ips: the node has at least one address");
        for v4 in [true, false] {
            let of_family = self.node_ips.iter().filter(|ip| ip.is_ipv4() == v4).count();
            ensure!(of_family < 2, "node_ips: one of each address family at most");
        }
        Ok(())
    }

    /// Its directory in bpffs, whose names have no dots.
    fn pin_dir(&self) -> PathBuf {
        skep_bpf::pin_dir(&self.name.replace('.', "_"))
    }

    fn known_addresses(&self) -> Vec<IpAddr> {
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        [&loopback[..], &self.node_ips].concat()
    }

    fn open(&self) -> Result<Datapath> {
        let cgroup = match &self.cgroup {
            Some(dir) => dir.clone(),
            None => skep_cri::Cgroups::detect()?.unified().dir("/"),
        };
        let mut options = skep_bpf::Options::new(self.pin_dir(), cgroup);
        options.link = Some(self.link.clone());
        options.addresses.clone_from(&self.node_ips);
        options.foreign_pods = true;
        let datapath = Datapath::open(&options).context("start the datapath")?;
        datapath.set_node_addresses(&self.known_addresses())?;
        Ok(datapath)
    }
}

/// Serves Services until `stop`. The process must be in the node's network namespace.
///
/// # Errors
/// The host lacks something, another daemon serves the node, or a part does not start.
pub async fn run_service_proxy(options: ProxyOptions, client: Client, stop: CancellationToken) -> Result<()> {
    options.validate()?;
    preflight::check_kernel_and_user()?;
    let _lock = Lock::take(&options.state_dir)?;
    let datapath = Arc::new(options.open()?);
    let tables = Arc::new(KernelTables::beside(Arc::clone(&datapath)));
    let timing = Arc::<Timing>::default();
    let inspect = InspectService::new(
        &options.name,
        &datapath,
        None,
        [Arc::clone(&timing), Arc::default()],
        &[Arc::clone(&tables) as Arc<dyn Verify>],
    );
    let socket = Socket::serve(&options.state_dir.join("run/skep.sock"), None, inspect)?;
    let parts = stop.child_token();
    let pods = Namespaces::In(options.netns_dir.clone());
    let stale = tokio::spawn(stale::run(Arc::clone(&datapath), pods, tables.gone(), parts.clone()));
    tracing::info!(node = options.name, link = options.link, addresses = ?options.node_ips, "serving Services");
    let served = serve(&options, &client, &tables, &timing, &parts).await;
    parts.cancel();
    stale.await.context("the search for stale sockets panicked")?;
    socket.close().await;
    if options.teardown {
        // The lock on the pins goes with the last of these.
        drop((tables, datapath));
        skep_bpf::detach_all(&options.pin_dir()).context("detach the datapath")?;
    }
    served
}

/// Until `stop`, or until probes can no longer be answered.
async fn serve(
    options: &ProxyOptions,
    client: &Client,
    tables: &Arc<KernelTables>,
    timing: &Arc<Timing>,
    stop: &CancellationToken,
) -> Result<()> {
    let health = Arc::<Freshness>::default();
    let (watching, mut seen) = node::watch(client, &options.name, stop.clone());
    let watching = tokio::spawn(watching);
    let mut answered = match options.healthz {
        Some(address) => tokio::spawn(healthz::serve(address, Arc::clone(&health), stop.clone())),
        None => tokio::spawn(stopped(stop.clone())),
    };
    let follow = async {
        loop {
            let own = seen.borrow_and_update().clone();
            let Some(own) = own else {
                if seen.changed().await.is_err() {
                    return;
                }
                continue;
            };
            health.set_eligible(own.eligible);
            let part = stop.child_token();
            let identity = NodeIdentity { name: options.name.clone(), zone: own.zone.clone(), addresses: Vec::new() };
            let tables = Arc::clone(tables);
            let running = tokio::spawn(services::run(
                client.clone(),
                identity,
                host_ports::none(),
                tables,
                Arc::clone(timing),
                Arc::clone(&health),
                part.clone(),
            ));
            // A zone is part of every choice among backends: another one begins anew, and changes what differs.
            let moved = wait_for_other_zone(&mut seen, &own, &health).await;
            part.cancel();
            if running.await.is_err() {
                tracing::error!("the service loop panicked");
            }
            if !moved {
                return;
            }
        }
    };
    let outcome = tokio::select! {
        () = follow => Ok(()),
        ended = &mut answered => ended.context("the answers to probes panicked")?,
    };
    stop.cancel();
    watching.await.context("the watch of the node panicked")?;
    outcome
}

async fn stopped(stop: CancellationToken) -> Result<()> {
    stop.cancelled().await;
    Ok(())
}

/// `false` where the watch has ended.
async fn wait_for_other_zone(
    seen: &mut tokio::sync::watch::Receiver<Option<Seen>>,
    known: &Seen,
    health: &Freshness,
) -> bool {
    loop {
        if seen.changed().await.is_err() {
            return false;
        }
        let Some(own) = seen.borrow_and_update().clone() else { continue };
        health.set_eligible(own.eligible);
        if own.zone != known.zone {
            tracing::info!(from = known.zone, to = own.zone, "the node is in another zone");
            return true;
        }
    }
}

/// The taint by which the cluster's autoscaler marks nodes that it is about to remove.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// What a Node says to its proxy.
fn read(node: &Node) -> Seen {
    let labels = node.metadata.labels.as_ref();
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    Seen {
        zone: labels.and_then(|labels| labels.get(crate::ZONE)).cloned(),
        eligible: node.metadata.deletion_timestamp.is_none() && taints.iter().all(|taint| taint.key != TO_BE_DELETED),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_option_is_named() {
        let good = || ProxyOptions {
            name: "ip-192-0-2-1.example".to_owned(),
            state_dir: PathBuf::from("/var/lib/skep/x"),
            node_ips: vec!["192.0.2.1".parse().unwrap()],
            link: "eth0".to_owned(),
            cgroup: None,
            netns_dir: PathBuf::from("/run/netns"),
            healthz: None,
            teardown: false,
        };
        good().validate().unwrap();
        assert!(good().pin_dir().ends_with("ip-192-0-2-1_example"));
        let two = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        for (bad, field) in [
            (ProxyOptions { name: "../x".to_owned(), ..good() }, "name"),
            (ProxyOptions { name: "..".to_owned(), ..good() }, "name"),
            (ProxyOptions { name: String::new(), ..good() }, "name"),
            (ProxyOptions { state_dir: PathBuf::from("x"), ..good() }, "state_dir"),
            (ProxyOptions { node_ips: Vec::new(), ..good() }, "node_ips"),
            (ProxyOptions { node_ips: two.to_vec(), ..good() }, "node_ips"),
        ] {
            let error = bad.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field}: ")), "{error}");
        }
    }

    #[test]
    fn a_node_that_is_about_to_go_takes_nothing_new() {
        let node = |json| serde_json::from_value::<Node>(json).unwrap();
        let plain = read(&node(serde_json::json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "a"}}})));
        assert_eq!(plain, Seen { zone: Some("a".to_owned()), eligible: true });
        let taint = serde_json::json!({"key": TO_BE_DELETED, "effect": "NoSchedule"});
        assert!(!read(&node(serde_json::json!({"metadata": {}, "spec": {"taints": [taint]}}))).eligible);
        let going = serde_json::json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert!(!read(&node(going)).eligible);
    }
}
