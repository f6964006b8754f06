//! What a node's silence, or its own report, means.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::evict::plan_eviction;
use crate::options::NodeHealth;
use crate::pod;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that a silent node says nothing about any more.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Conditions that taint a node when they are true.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// A node and its surroundings.
pub(crate) struct Observed {
    pub(crate) node: Arc<Node>,
    /// How long neither its Lease nor its status was renewed, by this process's own clock.
    pub(crate) silent: Duration,
    /// Pods bound to it.
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) settings: NodeHealth,
    pub(crate) now: Timestamp,
}

/// What to do.
pub(crate) struct Plan {
    /// All conditions, if they change.
    pub(crate) conditions: Option<Vec<NodeCondition>>,
    /// All taints, if they change.
    pub(crate) taints: Option<Vec<Taint>>,
    /// Pods that are to be reported as not ready.
    pub(crate) not_ready: Vec<Arc<Pod>>,
    pub(crate) evict: Vec<Arc<Pod>>,
    /// When the next pod must leave.
    pub(crate) evict_in: Option<SignedDuration>,
}

/// Plans one node.
pub(crate) fn plan(observed: &Observed) -> Plan {
    let node = observed.node.as_ref();
    let known = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let conditions = plan_conditions(&known, observed);
    let old_taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let taints = plan_taints(&old_taints, &conditions, unschedulable, observed.now);
    let ready = status_of(&conditions, "Ready") == Some("True");
    // Services drop the pods of a node that may be gone; whether they still run cannot be known.
    let not_ready = if ready || conditions.is_empty() {
        Vec::new()
    } else {
        observed.pods.iter().filter(|pod| pod::is_ready(pod)).cloned().collect()
    };
    let (evict, evict_in) = plan_eviction(&taints, &observed.pods, observed.now);
    Plan {
        conditions: (conditions != known).then_some(conditions),
        taints: (taints != old_taints).then_some(taints),
        not_ready,
        evict,
        evict_in,
    }
}

fn status_of<'a>(conditions: &'a [NodeCondition], kind: &str) -> Option<&'a str> {
    conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.as_str())
}

fn plan_conditions(known: &[NodeCondition], observed: &Observed) -> Vec<NodeCondition> {
    let mut conditions = known.to_vec();
    let reported = status_of(known, "Ready").is_some();
    let grace = if reported { observed.settings.grace } else { observed.settings.startup_grace };
    if observed.silent <= grace {
        return conditions;
    }
    let created = observed.node.metadata.creation_timestamp.clone();
    for kind in REPORTED {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(Time(observed.now));
            }
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: created.clone(),
                last_transition_time: Some(Time(observed.now)),
            }),
        }
    }
    conditions
}

/// Sets the taints that follow from conditions, and leaves all others.
fn plan_taints(old: &[Taint], conditions: &[NodeCondition], unschedulable: bool, now: Timestamp) -> Vec<Taint> {
    let ready = status_of(conditions, "Ready");
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match ready {
        Some("False") => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        Some("Unknown") => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        _ => {}
    }
    let pressed = |(kind, _): &&(&str, &str)| status_of(conditions, kind) == Some("True");
    wanted.extend(PRESSURES.iter().filter(pressed).map(|(_, key)| (*key, "NoSchedule")));
    if unschedulable {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let is_ours = |taint: &Taint| match taint.effect.as_str() {
        // A node that has not reported yet keeps the taints with which it was registered.
        "NoSchedule" if taint.key == NOT_READY || taint.key == UNREACHABLE => ready.is_some(),
        "NoExecute" => ready.is_some() && (taint.key == NOT_READY || taint.key == UNREACHABLE),
        "NoSchedule" => taint.key == UNSCHEDULABLE || PRESSURES.iter().any(|(_, key)| *key == taint.key),
        _ => false,
    };
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let mut taints: Vec<_> = old.iter().filter(|taint| !is_ours(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            taints.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                value: None,
                time_added: Some(Time(now)),
            });
        }
    }
    taints
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn observed(ready: Option<&str>, silent_s: u64, spec: Value) -> Observed {
        let conditions: Vec<_> =
            ready.iter().map(|status| json!({"type": "Ready", "status": status, "reason": "KubeletReady"})).collect();
        let node = json!({"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": conditions}});
        let pod = json!({
            "metadata": {"name": "p"}, "spec": {"containers": [], "nodeName": "n"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        Observed {
            node: Arc::new(from_value(node).unwrap()),
            silent: Duration::from_secs(silent_s),
            pods: vec![Arc::new(from_value(pod).unwrap())],
            settings: NodeHealth::default(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn taints(plan: &Plan) -> Vec<String> {
        plan.taints.iter().flatten().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect()
    }

    #[test]
    fn a_healthy_node_is_left_alone() {
        let plan = plan(&observed(Some("True"), 39, json!({})));
        assert!(
            plan.conditions.is_none() && plan.taints.is_none() && plan.not_ready.is_empty() && plan.evict.is_empty()
        );
    }

    #[test]
    fn a_silent_node_is_unreachable() {
        let plan = plan(&observed(Some("True"), 41, json!({})));
        let conditions = plan.conditions.as_ref().unwrap();
        assert!(REPORTED.iter().all(|kind| status_of(conditions, kind) == Some("Unknown")));
        assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusUnknown"));
        assert_eq!(conditions[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
        assert_eq!(taints(&plan), [format!("{UNREACHABLE}:NoSchedule"), format!("{UNREACHABLE}:NoExecute")]);
        assert_eq!((plan.not_ready.len(), plan.evict.len()), (1, 1));
    }

    #[test]
    fn a_node_that_comes_back_loses_its_taints_and_keeps_others() {
        let spec = json!({"taints": [
            {"key": UNREACHABLE, "effect": "NoSchedule"}, {"key": UNREACHABLE, "effect": "NoExecute"},
            {"key": "dedicated", "value": "db", "effect": "NoSchedule"},
        ]});
        assert_eq!(taints(&plan(&observed(Some("True"), 0, spec))), ["dedicated:NoSchedule"]);
    }

    #[test]
    fn a_node_that_never_reported_has_longer() {
        let registered = json!({"taints": [{"key": NOT_READY, "effect": "NoSchedule"}]});
        let plan_early = plan(&observed(None, 50, registered.clone()));
        assert!(plan_early.conditions.is_none() && plan_early.taints.is_none());
        assert!(plan(&observed(None, 61, registered)).conditions.is_some());
    }

    #[test]
    fn a_cordoned_node_is_tainted() {
        let plan = plan(&observed(Some("True"), 0, json!({"unschedulable": true})));
        assert_eq!(taints(&plan), [format!("{UNSCHEDULABLE}:NoSchedule")]);
    }
}
