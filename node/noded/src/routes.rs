//! Other nodes' pods: a route to each node's range by that node's address, on a segment that the nodes share.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures::StreamExt as _;
use ipnet::{IpNet, Ipv4Net};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use skep_network::NodeRoutes;
use tokio_util::sync::CancellationToken;

use crate::range::ranges;

/// After a failure everything is written again.
const RETRY: Duration = Duration::from_secs(5);

type Wanted = BTreeMap<Ipv4Net, Ipv4Addr>;

/// Keeps the routes until `stop`, and removes them then if `teardown`. Before the first full view of the cluster nothing is
/// removed.
pub(crate) async fn run(client: Client, own: String, teardown: bool, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep(client, &own) => {}
    }
    if teardown && let Err(error) = write(&Wanted::new()).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "routes to nodes are left behind");
    }
}

async fn keep(client: Client, own: &str) {
    let mut events = std::pin::pin!(watcher(Api::<Node>::all(client), watcher::Config::default()).default_backoff());
    let mut known: BTreeMap<String, Node> = BTreeMap::new();
    let mut seen: BTreeMap<String, Node> = BTreeMap::new();
    let mut synced = false;
    let mut failed = false;
    loop {
        let event = tokio::select! {
            () = tokio::time::sleep(RETRY), if failed => None,
            event = events.next() => match event {
                Some(event) => Some(event),
                None => return,
            },
        };
        let name = |node: &Node| node.metadata.name.clone().unwrap_or_default();
        match event {
            None => {}
            Some(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "watch of Nodes begins anew");
                continue;
            }
            Some(Ok(watcher::Event::Init)) => {
                seen.clear();
                continue;
            }
            Some(Ok(watcher::Event::InitApply(node))) => {
                seen.insert(name(&node), node);
                continue;
            }
            Some(Ok(watcher::Event::InitDone)) => {
                known = std::mem::take(&mut seen);
                synced = true;
            }
            Some(Ok(watcher::Event::Apply(node))) => {
                known.insert(name(&node), node);
            }
            Some(Ok(watcher::Event::Delete(node))) => {
                known.remove(&name(&node));
            }
        }
        if synced {
            let outcome = write(&plan(&known, own)).await;
            failed = outcome.is_err();
            if let Err(error) = outcome {
                tracing::error!(error = &error as &dyn std::error::Error, "routes to nodes are not written");
            }
        }
    }
}

async fn write(wanted: &Wanted) -> Result<(), skep_network::RouteError> {
    NodeRoutes::open()?.replace(wanted).await
}

/// A route for each IPv4 range of each other node that has an address.
fn plan(nodes: &BTreeMap<String, Node>, own: &str) -> Wanted {
    let mut wanted = Wanted::new();
    for (_, node) in nodes.iter().filter(|(name, _)| *name != own) {
        let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let mut internal = addresses.filter(|address| address.type_ == "InternalIP");
        let via = internal.find_map(|address| match address.address.parse() {
            Ok(IpAddr::V4(address)) => Some(address),
            _ => None,
        });
        let Some(via) = via else { continue };
        for range in ranges(node) {
            if let IpNet::V4(range) = range {
                wanted.insert(range, via);
            }
        }
    }
    wanted
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn other_nodes_ranges_are_reached_by_their_addresses() {
        let node = |address: &str, ranges: &[&str]| {
            let addresses = json!([{"type": "Hostname", "address": "x"}, {"type": "InternalIP", "address": address}]);
            serde_json::from_value(json!({"spec": {"podCIDRs": ranges}, "status": {"addresses": addresses}})).unwrap()
        };
        let nodes = BTreeMap::from([
            ("a".to_owned(), node("192.0.2.1", &["10.42.0.0/24"])),
            ("b".to_owned(), node("192.0.2.2", &["10.42.1.0/24", "fd00:42:0:1::/64"])),
            ("c".to_owned(), node("192.0.2.3", &[])),
            ("d".to_owned(), serde_json::from_value(json!({"spec": {"podCIDRs": ["10.42.3.0/24"]}})).unwrap()),
        ]);
        let expected = Wanted::from([("10.42.1.0/24".parse().unwrap(), "192.0.2.2".parse().unwrap())]);
        assert_eq!(plan(&nodes, "a"), expected);
    }
}
