//! The scheduling cycle's decision.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::cache::Snapshot;
use crate::framework::{PreFiltered, Profile, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

/// Clusters of up to so many nodes are looked at in full.
const NODES_ALWAYS: usize = 100;

/// What varies from cycle to cycle, so that the decision itself does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints {
    /// Where to begin looking, so that in a large cluster all nodes get their turn.
    pub start: usize,
    /// Decides between nodes of equal score.
    pub seed: u64,
}

/// Where a pod goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The node.
    pub node: String,
    /// How many nodes were looked at.
    pub evaluated: usize,
    /// How many of those fit.
    pub feasible: usize,
}

/// Why a pod goes nowhere. Its text is the condition's and the event's message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unschedulable {
    /// Nodes in the cluster.
    pub nodes: usize,
    /// Reasons, and of how many nodes.
    pub reasons: BTreeMap<String, usize>,
    /// What was said before any node was looked at.
    pub pre_filter: Option<String>,
    /// Plugins that refused.
    pub plugins: BTreeSet<&'static str>,
}

impl fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available", self.nodes)?;
        let mut parts: Vec<String> = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        parts.sort();
        if let Some(reason) = &self.pre_filter {
            parts.insert(0, reason.clone());
        }
        if !parts.is_empty() {
            write!(f, ": {}", parts.join(", "))?;
        }
        f.write_str(".")
    }
}

/// Finds the node for a pod.
///
/// # Errors
/// No node fits; why not.
pub fn plan(profile: &Profile, snapshot: &Snapshot, pod: &PodInfo, hints: Hints) -> Result<Placement, Unschedulable> {
    let nodes: Vec<&Arc<NodeInfo>> = snapshot.nodes().collect();
    let mut refusal = Unschedulable { nodes: nodes.len(), ..Unschedulable::default() };
    if nodes.is_empty() {
        // Any node helps; which plugin refuses decides what wakes the pod.
        refusal
            .plugins
            .extend(profile.plugins.iter().filter(|plugin| plugin.filter.is_some()).map(|plugin| plugin.name));
        return Err(refusal);
    }
    let Some(only) = pre_filter(profile, snapshot, pod, &mut refusal) else { return Err(refusal) };
    let (feasible, evaluated) = filter(profile, &nodes, pod, only.as_ref(), hints, &mut refusal);
    let node = match feasible.as_slice() {
        [] => return Err(refusal),
        [one] => one.name(),
        several => best(profile, snapshot, pod, several, hints.seed),
    };
    Ok(Placement { node: node.to_owned(), evaluated, feasible: feasible.len() })
}

/// The nodes to look at, if they are known by name. None if a plugin refuses.
fn pre_filter(
    profile: &Profile,
    snapshot: &Snapshot,
    pod: &PodInfo,
    refusal: &mut Unschedulable,
) -> Option<Option<BTreeSet<String>>> {
    let mut only: Option<BTreeSet<String>> = None;
    for plugin in &profile.plugins {
        let Some(pre_filter) = plugin.pre_filter else { continue };
        let PreFiltered { verdict, only: named } = pre_filter(pod, snapshot);
        if let Verdict::Unschedulable(reasons) = verdict {
            refusal.pre_filter = Some(reasons.join(", "));
            refusal.plugins.insert(plugin.name);
            return None;
        }
        if let Some(named) = named {
            only = Some(match only {
                Some(only) => only.intersection(&named).cloned().collect(),
                None => named,
            });
            // Nodes that are not named are refused by this plugin.
            refusal.plugins.insert(plugin.name);
        }
    }
    Some(only)
}

fn filter<'a>(
    profile: &Profile,
    nodes: &[&'a Arc<NodeInfo>],
    pod: &PodInfo,
    only: Option<&BTreeSet<String>>,
    hints: Hints,
    refusal: &mut Unschedulable,
) -> (Vec<&'a Arc<NodeInfo>>, usize) {
    let enough = nodes_enough(nodes.len());
    let mut feasible = Vec::new();
    let mut evaluated = 0;
    for offset in 0..nodes.len() {
        let node = nodes[(hints.start.wrapping_add(offset)) % nodes.len()];
        if only.is_some_and(|only| !only.contains(node.name())) {
            *refusal.reasons.entry("node(s) didn't satisfy plugin(s) [NodeAffinity]".to_owned()).or_default() += 1;
            continue;
        }
        evaluated += 1;
        match first_refusal(profile, pod, node) {
            None => feasible.push(node),
            Some((plugin, reasons)) => {
                refusal.plugins.insert(plugin);
                for reason in reasons {
                    *refusal.reasons.entry(reason).or_default() += 1;
                }
            }
        }
        if feasible.len() >= enough {
            break;
        }
    }
    (feasible, evaluated)
}

fn first_refusal(profile: &Profile, pod: &PodInfo, node: &NodeInfo) -> Option<(&'static str, Vec<String>)> {
    profile.plugins.iter().find_map(|plugin| match plugin.filter?(pod, node) {
        Verdict::Fits => None,
        Verdict::Unschedulable(reasons) => Some((plugin.name, reasons)),
    })
}

/// How many nodes that fit are enough: all in small clusters, a share that falls from 50 % to 5 % in large ones.
fn nodes_enough(nodes: usize) -> usize {
    if nodes < NODES_ALWAYS {
        return nodes;
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(NODES_ALWAYS)
}

fn best<'a>(profile: &Profile, snapshot: &Snapshot, pod: &PodInfo, nodes: &[&'a Arc<NodeInfo>], seed: u64) -> &'a str {
    let mut totals = vec![0i64; nodes.len()];
    for plugin in &profile.plugins {
        let Some(score) = plugin.score.as_ref().filter(|score| (score.applies)(pod)) else { continue };
        let mut scores: Vec<i64> = nodes.iter().map(|node| (score.score)(pod, node, snapshot)).collect();
        if let Some(normalize) = score.normalize {
            normalize(&mut scores);
        }
        for (total, score_of_node) in totals.iter_mut().zip(scores) {
            *total += score.weight * score_of_node.clamp(0, 100);
        }
    }
    let highest = totals.iter().copied().max().unwrap_or(0);
    let ties: Vec<_> = (0..nodes.len()).filter(|index| totals[*index] == highest).collect();
    let pick = seed % u64::try_from(ties.len().max(1)).unwrap_or(1);
    let index = ties.get(usize::try_from(pick).unwrap_or(0)).copied().unwrap_or(0);
    nodes[index].name()
}

#[cfg(test)]
mod tests;
