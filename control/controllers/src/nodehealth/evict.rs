//! Which pods a node's NoExecute taints drive away, and when.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Taint};
use skep_scheduler::tolerates;

use crate::pod;

/// Splits a node's pods into those to delete now, and the wait until the next one's time is up.
pub(crate) fn plan_eviction(
    taints: &[Taint],
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> (Vec<Arc<Pod>>, Option<SignedDuration>) {
    let hard: Vec<_> = taints.iter().filter(|taint| taint.effect == "NoExecute").collect();
    let mut evict = Vec::new();
    let mut next: Option<SignedDuration> = None;
    for pod in pods.iter().filter(|pod| pod::is_active(pod)) {
        match stays_for(pod, &hard, now) {
            Stay::ForEver => {}
            Stay::For(left) if left.is_positive() => next = Some(next.map_or(left, |next| next.min(left))),
            Stay::For(_) => evict.push(Arc::clone(pod)),
        }
    }
    (evict, next)
}

enum Stay {
    ForEver,
    For(SignedDuration),
}

/// A pod stays while it tolerates all taints, and for the shortest time that any of its tolerations allows.
fn stays_for(pod: &Pod, taints: &[&Taint], now: Timestamp) -> Stay {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let mut shortest: Option<SignedDuration> = None;
    for taint in taints {
        let mut covering = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).peekable();
        if covering.peek().is_none() {
            return Stay::For(SignedDuration::ZERO);
        }
        let Some(seconds) = covering.filter_map(|toleration| toleration.toleration_seconds).min() else { continue };
        let since = taint.time_added.as_ref().map_or(now, |added| added.0);
        let left = SignedDuration::from_secs(seconds.max(0)) - now.duration_since(since);
        shortest = Some(shortest.map_or(left, |shortest| shortest.min(left)));
    }
    shortest.map_or(Stay::ForEver, Stay::For)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    #[test]
    fn pods_leave_when_their_toleration_ends() {
        let taint: Taint = from_value(json!({
            "key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z",
        }))
        .unwrap();
        let pod = |name: &str, tolerations: Value| {
            Arc::new(
                from_value::<Pod>(json!({
                    "metadata": {"name": name}, "spec": {"containers": [], "tolerations": tolerations},
                }))
                .unwrap(),
            )
        };
        let for_seconds = |seconds| json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": seconds}]);
        let pods = [
            pod("now", json!([])),
            pod("over", for_seconds(60)),
            pod("later", for_seconds(300)),
            pod("never", json!([{"operator": "Exists"}])),
        ];
        let now = "2026-01-01T00:01:30Z".parse().unwrap();
        let (evicted, next) = plan_eviction(&[taint], &pods, now);
        let names: Vec<_> = evicted.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        assert_eq!(names, ["now", "over"]);
        assert_eq!(next, Some(SignedDuration::from_secs(210)));
        assert!(plan_eviction(&[], &pods, now).0.is_empty());
    }
}
