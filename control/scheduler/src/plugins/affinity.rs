//! NodeAffinity, `nodeSelector` included.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm};

use crate::cache::Snapshot;
use crate::framework::{ClusterEvent, Plugin, PreFiltered, Score, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

const REASON: &str = "node(s) didn't match Pod's node affinity/selector";

/// Only nodes that the pod selects; those that it prefers before others.
pub(super) fn plugin() -> Plugin {
    let mut plugin = Plugin::named("NodeAffinity", &[ClusterEvent::NodeAdded, ClusterEvent::NodeChanged]);
    plugin.pre_filter = Some(pre_filter);
    plugin.filter = Some(filter);
    plugin.score = Some(Score { weight: 2, score, normalize: Some(normalize), applies });
    plugin
}

fn node_affinity(pod: &PodInfo) -> Option<&NodeAffinity> {
    pod.spec()?.affinity.as_ref()?.node_affinity.as_ref()
}

fn required_terms(pod: &PodInfo) -> Option<&[NodeSelectorTerm]> {
    let required = node_affinity(pod)?.required_during_scheduling_ignored_during_execution.as_ref()?;
    Some(&required.node_selector_terms)
}

/// Where every term names its nodes, as a DaemonSet's pods do, no other node is looked at.
fn pre_filter(pod: &PodInfo, _: &Snapshot) -> PreFiltered {
    let mut only = BTreeSet::new();
    for term in required_terms(pod).unwrap_or_default() {
        let fields = term.match_fields.iter().flatten();
        let mut names = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
        match names.next() {
            Some(field) => only.extend(field.values.iter().flatten().cloned()),
            None => return PreFiltered { verdict: Verdict::Fits, only: None },
        }
    }
    PreFiltered { verdict: Verdict::Fits, only: (!only.is_empty()).then_some(only) }
}

fn filter(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    let empty = BTreeMap::new();
    let labels = node.labels().unwrap_or(&empty);
    let selector = pod.spec().and_then(|spec| spec.node_selector.as_ref());
    let selected = selector.is_none_or(|selector| selector.iter().all(|(key, value)| labels.get(key) == Some(value)));
    let required = required_terms(pod).is_none_or(|terms| terms.iter().any(|term| matches(term, node)));
    if selected && required { Verdict::Fits } else { Verdict::no(REASON) }
}

/// Whether a node is in a term. A term without any requirement has no nodes.
fn matches(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let label = |key: &str| node.labels().and_then(|labels| labels.get(key)).map(String::as_str);
    let field = |key: &str| (key == "metadata.name").then(|| node.name());
    expressions.iter().all(|requirement| meets(requirement, label(&requirement.key)))
        && fields.iter().all(|requirement| meets(requirement, field(&requirement.key)))
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = |value: &str| values.iter().any(|listed| listed == value);
    let numbers = || {
        let own: i64 = value?.parse().ok()?;
        let bound: i64 = values.first()?.parse().ok()?;
        Some((own, bound))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(own, bound)| own > bound),
        "Lt" => numbers().is_some_and(|(own, bound)| own < bound),
        _ => false,
    }
}

fn applies(pod: &PodInfo) -> bool {
    let preferred =
        node_affinity(pod).and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
    preferred.is_some_and(|terms| !terms.is_empty())
}

fn score(pod: &PodInfo, node: &NodeInfo, _: &Snapshot) -> i64 {
    let affinity = node_affinity(pod);
    let terms = affinity
        .iter()
        .flat_map(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten());
    terms.filter(|term| matches(&term.preference, node)).map(|term| i64::from(term.weight)).sum()
}

fn normalize(scores: &mut [i64]) {
    let most = scores.iter().copied().max().unwrap_or(0);
    if most > 0 {
        scores.iter_mut().for_each(|score| *score = *score * 100 / most);
    }
}
