//! NodeResourcesFit (least allocated) and NodeResourcesBalancedAllocation.

use crate::cache::Snapshot;
use crate::framework::{ClusterEvent, Plugin, Score, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

/// What nodes are compared by.
const SCORED: [&str; 2] = ["cpu", "memory"];

/// Only nodes with enough left; the emptier first.
pub(super) fn fit() -> Plugin {
    let wakes =
        &[ClusterEvent::NodeAdded, ClusterEvent::NodeChanged, ClusterEvent::PodRemoved, ClusterEvent::PodChanged];
    let mut plugin = Plugin::named("NodeResourcesFit", wakes);
    plugin.filter = Some(filter);
    plugin.score = Some(Score { weight: 1, score: score_least_allocated, normalize: None, applies: |_| true });
    plugin
}

fn filter(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    let mut reasons = Vec::new();
    let pods = i64::try_from(node.pod_count()).unwrap_or(i64::MAX);
    if pods >= node.allocatable.get("pods") {
        reasons.push("Too many pods".to_owned());
    }
    let lacks = |(name, amount): &(&str, i64)| *amount > node.allocatable.get(name) - node.requested.get(name);
    reasons.extend(pod.requests.iter().filter(lacks).map(|(name, _)| format!("Insufficient {name}")));
    Verdict::of(reasons)
}

/// What of a resource would be taken with the pod there, and what there is.
fn taken(pod: &PodInfo, node: &NodeInfo, resource: &str) -> (i64, i64) {
    let taken = node.requested_for_scoring.get(resource) + pod.requests_for_scoring.get(resource);
    (taken, node.allocatable.get(resource))
}

fn score_least_allocated(pod: &PodInfo, node: &NodeInfo, _: &Snapshot) -> i64 {
    let scored = SCORED.iter().map(|resource| taken(pod, node, resource)).filter(|(_, capacity)| *capacity > 0);
    let (sum, count) = scored.fold((0i64, 0i64), |(sum, count), (taken, capacity)| {
        let free = i128::from((capacity - taken).max(0)) * 100 / i128::from(capacity);
        (sum + i64::try_from(free).unwrap_or(0), count + 1)
    });
    if count == 0 { 0 } else { sum / count }
}

/// Nodes whose resources would be taken evenly first.
pub(super) fn balanced() -> Plugin {
    let mut plugin = Plugin::named("NodeResourcesBalancedAllocation", &[]);
    plugin.score = Some(Score { weight: 1, score: score_balanced, normalize: None, applies: asks_for_something });
    plugin
}

fn asks_for_something(pod: &PodInfo) -> bool {
    SCORED.iter().any(|resource| pod.requests.get(resource) > 0)
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn score_balanced(pod: &PodInfo, node: &NodeInfo, _: &Snapshot) -> i64 {
    let fraction = |resource: &&str| {
        let taken = node.requested.get(resource) + pod.requests.get(resource);
        let capacity = node.allocatable.get(resource);
        (capacity > 0).then(|| (taken as f64 / capacity as f64).min(1.0))
    };
    let fractions: Vec<f64> = SCORED.iter().filter_map(fraction).collect();
    let mean = fractions.iter().sum::<f64>() / fractions.len().max(1) as f64;
    let variance = fractions.iter().map(|f| (f - mean).powi(2)).sum::<f64>() / fractions.len().max(1) as f64;
    ((1.0 - variance.sqrt()) * 100.0) as i64
}
