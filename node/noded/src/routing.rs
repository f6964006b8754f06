//! From a watch of Nodes to the node's routes and the programs' prefixes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use skep_bpf::Datapath;
use skep_netmodel::{Nodes, RoutingMode, RoutingSpec, plan_routing};
use skep_network::{Network, OVERHEAD_V4, OVERLAY, ensure_overlay, remove_overlay};
use tokio_util::sync::CancellationToken;

use crate::Options;

/// As many events as are there are carried out at once, up to this many.
const BATCH_MAX: usize = 256;
/// After a failure, and after a route was refused, until all is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Makes or removes the tunnel's device. Returns what the tunnel adds to pods' packets.
///
/// # Errors
/// The device cannot be made.
pub(crate) async fn prepare(options: &Options) -> Result<u32> {
    match (options.routing, &options.link) {
        (RoutingMode::Vxlan, Some(link)) => {
            // The outer header has the family of the node's first address.
            ensure_overlay(None, link, skep_bpf::TUNNEL_PORT, OVERHEAD_V4).await.context("make the tunnel's device")?;
            Ok(OVERHEAD_V4)
        }
        _ => {
            remove_overlay(None).await.context("remove the tunnel's device")?;
            Ok(0)
        }
    }
}

/// Removes routes and the tunnel's device.
///
/// # Errors
/// The first that cannot be removed.
pub(crate) async fn undo(network: &Network) -> Result<()> {
    network.sync_routes(&[], skep_bpf::OVERLAY_VNI).await.context("remove routes")?;
    remove_overlay(None).await.context("remove the tunnel's device")
}

/// The tunnel's device, where there is one.
pub(crate) fn overlay(options: &Options) -> Option<String> {
    (options.routing == RoutingMode::Vxlan).then(|| OVERLAY.to_owned())
}

/// The loop and what it writes to.
pub(crate) struct Routing {
    options: Options,
    datapath: Arc<Datapath>,
    network: Arc<Network>,
    nodes: Nodes,
    fresh: Vec<Node>,
    /// Until every Node was seen once, what an earlier daemon wrote stays as it is.
    complete: bool,
}

impl Routing {
    pub(crate) fn new(options: Options, datapath: Arc<Datapath>, network: Arc<Network>) -> Self {
        Routing { options, datapath, network, nodes: Nodes::new(), fresh: Vec::new(), complete: false }
    }

    /// Watches and writes until `stop`.
    pub(crate) async fn run(mut self, client: Client, stop: CancellationToken) {
        let watch = watcher(Api::<Node>::all(client), watcher::Config::default()).default_backoff();
        let mut batches = std::pin::pin!(watch.ready_chunks(BATCH_MAX));
        let mut retry_at: Option<tokio::time::Instant> = None;
        loop {
            let mut changed = false;
            tokio::select! {
                () = stop.cancelled() => return,
                () = async { if let Some(at) = retry_at { tokio::time::sleep_until(at).await } }, if retry_at.is_some() => changed = true,
                batch = batches.next() => {
                    let Some(batch) = batch else { return };
                    for event in batch {
                        match event {
                            Ok(event) => changed |= self.take(event),
                            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "watch of Nodes begins anew"),
                        }
                    }
                }
            }
            if !changed || !self.complete {
                continue;
            }
            retry_at = match self.write().await {
                Ok(true) => None,
                Ok(false) => Some(tokio::time::Instant::now() + RETRY_AFTER),
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "routes are not written; all are tried again");
                    Some(tokio::time::Instant::now() + RETRY_AFTER)
                }
            };
        }
    }

    /// Whether something is to be written.
    fn take(&mut self, event: Event<Node>) -> bool {
        let problems;
        let changed = match event {
            Event::Apply(node) => {
                let (changed, found) = self.nodes.upsert(&node);
                problems = found;
                changed
            }
            Event::Delete(node) => return self.nodes.remove(&node.name_any()),
            Event::Init => {
                self.fresh.clear();
                return false;
            }
            Event::InitApply(node) => {
                self.fresh.push(node);
                return false;
            }
            Event::InitDone => {
                problems = self.nodes.replace(&std::mem::take(&mut self.fresh));
                self.complete = true;
                true
            }
        };
        for problem in problems.iter().filter(|_| changed) {
            tracing::warn!(%problem, "left out");
        }
        changed
    }

    /// `false` where the kernel refused a route.
    async fn write(&self) -> Result<bool> {
        let options = &self.options;
        let spec: RoutingSpec =
            plan_routing(self.nodes.specs(), &options.name, options.routing, &options.masquerade_except);
        for problem in &spec.problems {
            tracing::warn!(problem, "left out");
        }
        // The programs come first: from then on no packet to a node's pods leaves the cluster by mistake.
        let (datapath, remotes) = (Arc::clone(&self.datapath), spec.remotes);
        let prefixes = tokio::task::spawn_blocking(move || datapath.sync_remotes(&remotes)).await??;
        let applied =
            self.network.sync_routes(&spec.routes, skep_bpf::OVERLAY_VNI).await.context("synchronise routes")?;
        for refused in &applied.refused {
            tracing::warn!(
                error = refused as &dyn std::error::Error,
                "the kernel takes it not; a route of the operator's own may do"
            );
        }
        if prefixes + applied.written + applied.removed > 0 {
            tracing::info!(prefixes, routes = applied.written, removed = applied.removed, "routing written");
        }
        Ok(applied.refused.is_empty())
    }
}
