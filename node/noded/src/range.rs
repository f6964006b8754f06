//! The node's range of pod addresses, from its Node object.

use std::time::Duration;

use anyhow::{Context as _, Result};
use ipnet::{IpNet, Ipv4Net};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};

/// After this the Node is looked at anew: it may have been deleted meanwhile.
const LOOK: Duration = Duration::from_secs(10);

/// Registers the Node and waits until the control plane has allocated a range for it.
///
/// # Errors
/// What was allocated has no IPv4 range.
pub(crate) async fn allocated(options: &skep_agent::Options, client: &Client) -> Result<Ipv4Net> {
    let api = Api::<Node>::all(client.clone());
    loop {
        let node = skep_agent::register(options, client).await?;
        if !ranges(&node).is_empty() {
            return first_v4(&node);
        }
        tracing::info!(node = options.node_name, "waiting for a pod range");
        let has_range = |node: Option<&Node>| node.is_some_and(|node| !ranges(node).is_empty());
        match tokio::time::timeout(LOOK, await_condition(api.clone(), &options.node_name, has_range)).await {
            Ok(Ok(Some(node))) => return first_v4(&node),
            Ok(Err(error)) => tracing::warn!(%error, "watch of the own Node"),
            Ok(Ok(None)) | Err(_) => {}
        }
    }
}

/// The pod ranges of a node.
pub(crate) fn ranges(node: &Node) -> Vec<IpNet> {
    let cidrs = node.spec.iter().flat_map(|spec| spec.pod_cidrs.iter().flatten());
    cidrs.filter_map(|cidr| cidr.parse().ok()).collect()
}

fn first_v4(node: &Node) -> Result<Ipv4Net> {
    let ranges = ranges(node);
    let v4 = ranges.iter().find_map(|range| match range {
        IpNet::V4(range) => Some(*range),
        IpNet::V6(_) => None,
    });
    v4.with_context(|| format!("the node's pod ranges {ranges:?} have none of IPv4"))
}
