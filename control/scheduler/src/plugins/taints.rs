//! TaintToleration.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::cache::Snapshot;
use crate::framework::{ClusterEvent, Plugin, Score, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

/// Whether a toleration covers a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let set = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
    if set(&toleration.effect).is_some_and(|effect| effect != taint.effect) {
        return false;
    }
    let exists = toleration.operator.as_deref() == Some("Exists");
    let value = |value: &Option<String>| set(value).unwrap_or_default();
    match (set(&toleration.key), toleration.operator.as_deref().unwrap_or_default()) {
        // No key with Exists is every taint.
        (None, _) => exists,
        (Some(key), _) if key != taint.key => false,
        (Some(_), "Exists") => true,
        (Some(_), "" | "Equal") => value(&toleration.value) == value(&taint.value),
        _ => false,
    }
}

pub(super) fn tolerations(pod: &PodInfo) -> &[Toleration] {
    pod.spec().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
}

/// No node with a taint that the pod does not tolerate; fewer soft ones are better.
pub(super) fn plugin() -> Plugin {
    let mut plugin = Plugin::named("TaintToleration", &[ClusterEvent::NodeAdded, ClusterEvent::NodeChanged]);
    plugin.filter = Some(filter);
    plugin.score = Some(Score { weight: 3, score, normalize: Some(normalize_reversed), applies: |_| true });
    plugin
}

fn filter(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    match node.taints().iter().filter(hard).find(|taint| !is_tolerated(pod, taint)) {
        Some(taint) => {
            let value = taint.value.as_deref().unwrap_or_default();
            Verdict::no(format!("node(s) had untolerated taint {{{}: {value}}}", taint.key))
        }
        None => Verdict::Fits,
    }
}

fn is_tolerated(pod: &PodInfo, taint: &Taint) -> bool {
    tolerations(pod).iter().any(|toleration| tolerates(toleration, taint))
}

fn score(pod: &PodInfo, node: &NodeInfo, _: &Snapshot) -> i64 {
    let soft = node.taints().iter().filter(|taint| taint.effect == "PreferNoSchedule");
    i64::try_from(soft.filter(|taint| !is_tolerated(pod, taint)).count()).unwrap_or(i64::MAX)
}

/// Fewer is better.
fn normalize_reversed(scores: &mut [i64]) {
    let most = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        *score = if most == 0 { 100 } else { 100 - *score * 100 / most };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn tolerations_cover_taints_as_upstream_says() {
        let taint: Taint = from_value(json!({"key": "k", "value": "v", "effect": "NoSchedule"})).unwrap();
        for (expected, toleration) in [
            (true, json!({"key": "k", "value": "v", "effect": "NoSchedule"})),
            (true, json!({"key": "k", "operator": "Equal", "value": "v"})),
            (true, json!({"key": "k", "operator": "Exists"})),
            (true, json!({"operator": "Exists"})),
            (false, json!({"key": "k", "value": "w"})),
            (false, json!({"key": "other", "operator": "Exists"})),
            (false, json!({"key": "k", "operator": "Exists", "effect": "NoExecute"})),
            (false, json!({"value": "v"})),
        ] {
            let parsed: Toleration = from_value(toleration.clone()).unwrap();
            assert_eq!(tolerates(&parsed, &taint), expected, "{toleration}");
        }
    }
}
