//! The node's ranges of pod addresses, from its Node object.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};

/// After this the Node is looked at anew: it may have been deleted meanwhile.
const LOOK: Duration = Duration::from_secs(10);

/// Registers the Node and waits until it has ranges: those that it has already, those that the node had last (`file` keeps them,
/// since pods may still use them) if nobody else has them, or new ones from the control plane.
///
/// # Errors
/// The file cannot be written.
pub(crate) async fn allocated(mut agent: skep_agent::Options, client: &Client, file: &Path) -> Result<Vec<IpNet>> {
    agent.pod_cidrs = last(file);
    let api = Api::<Node>::all(client.clone());
    loop {
        let node = match skep_agent::register(&agent, client).await {
            Ok(node) => node,
            Err(taken) => {
                tracing::warn!(node = agent.node_name, %taken, "another range is needed");
                agent.pod_cidrs.clear();
                continue;
            }
        };
        if !ranges(&node).is_empty() {
            return keep(&node, file);
        }
        tracing::info!(node = agent.node_name, "waiting for a pod range");
        let has_range = |node: Option<&Node>| node.is_some_and(|node| !ranges(node).is_empty());
        match tokio::time::timeout(LOOK, await_condition(api.clone(), &agent.node_name, has_range)).await {
            Ok(Ok(Some(node))) => return keep(&node, file),
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

fn last(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let ranges = text.split_whitespace();
    ranges.filter(|range| range.parse::<IpNet>().is_ok()).map(str::to_owned).collect()
}

fn keep(node: &Node, file: &Path) -> Result<Vec<IpNet>> {
    let all = ranges(node);
    let text: Vec<String> = all.iter().map(ToString::to_string).collect();
    let write = || -> std::io::Result<()> {
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let new = file.with_extension("new");
        std::fs::write(&new, text.join("\n"))?;
        std::fs::rename(&new, file)
    };
    write().with_context(|| format!("write {}", file.display()))?;
    Ok(all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_node_was_given_is_kept_and_asked_for_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cni/ranges");
        assert!(last(&file).is_empty());
        let node = |cidrs| serde_json::from_value::<Node>(json!({"spec": {"podCIDRs": cidrs}})).unwrap();
        let both = ["10.42.3.0/24", "fd00:42:0:3::/64"];
        let kept = keep(&node(json!(both)), &file).unwrap();
        assert_eq!(kept, both.map(|range| range.parse().unwrap()));
        assert_eq!(last(&file), both);
    }
}
