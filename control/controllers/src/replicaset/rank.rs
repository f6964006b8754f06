//! Which pods go first when there are too many.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::pod;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Orders pods so that the first is the best to delete: not assigned, pending, not ready, of low deletion cost, on a
/// node with many of its kind, ready for a short time, restarted often, young. Ages count by powers of two, so that
/// of pods of about one age any may go; their UIDs, which are random, decide.
pub(crate) fn rank_for_deletion(
    pods: &[Arc<Pod>],
    related_by_node: &HashMap<String, usize>,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    let mut ranked: Vec<_> = pods.iter().map(|pod| (Rank::of(pod, related_by_node, now), Arc::clone(pod))).collect();
    ranked.sort_by(|(a, _), (b, _)| a.cmp(b));
    ranked.into_iter().map(|(_, pod)| pod).collect()
}

#[derive(PartialEq, Eq)]
struct Rank {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    crowd: Reverse<usize>,
    ready_age: Age,
    restarts: Reverse<i32>,
    age: Age,
    uid: String,
}

/// The power of two of an age in nanoseconds; none where the time is not known.
type Age = Option<u32>;

impl Rank {
    fn of(pod: &Pod, related_by_node: &HashMap<String, usize>, now: Timestamp) -> Self {
        let node = pod::node_name(pod);
        let meta = &pod.metadata;
        let cost = meta.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST));
        Self {
            assigned: node.is_some(),
            phase: match pod::phase(pod) {
                "Pending" | "" => 0,
                "Unknown" => 1,
                _ => 2,
            },
            ready: pod::is_ready(pod),
            cost: cost.and_then(|cost| cost.parse().ok()).unwrap_or(0),
            crowd: Reverse(node.and_then(|node| related_by_node.get(node)).copied().unwrap_or(0)),
            ready_age: age(pod::ready_since(pod), now),
            restarts: Reverse(pod::restarts_max(pod)),
            age: age(meta.creation_timestamp.as_ref().map(|time| time.0), now),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }
}

fn age(since: Option<Timestamp>, now: Timestamp) -> Age {
    let nanos = now.duration_since(since?).as_nanos();
    Some(u128::try_from(nanos).ok().and_then(u128::checked_ilog2).unwrap_or(0))
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.assigned
            .cmp(&other.assigned)
            .then_with(|| self.phase.cmp(&other.phase))
            .then_with(|| self.ready.cmp(&other.ready))
            .then_with(|| self.cost.cmp(&other.cost))
            .then_with(|| self.crowd.cmp(&other.crowd))
            .then_with(|| self.ready_age.cmp(&other.ready_age))
            .then_with(|| self.restarts.cmp(&other.restarts))
            .then_with(|| self.age.cmp(&other.age))
            .then_with(|| self.uid.cmp(&other.uid))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn the_order_is_upstreams() {
        let pod = |name: &str, node: Option<&str>, phase: &str, ready: Option<&str>, cost: &str, restarts: i32| {
            let pod = json!({
                "metadata": {
                    "name": name, "uid": name, "annotations": {DELETION_COST: cost},
                    "creationTimestamp": "2026-01-01T00:00:00Z",
                },
                "spec": {"containers": [], "nodeName": node},
                "status": {
                    "phase": phase,
                    "conditions": ready.map(|at| json!([{"type": "Ready", "status": "True", "lastTransitionTime": at}])),
                    "containerStatuses": [{
                        "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": restarts,
                    }],
                },
            });
            Arc::new(from_value::<Pod>(pod).unwrap())
        };
        let old = Some("2026-01-01T00:00:10Z");
        let pods = [
            pod("steady", Some("a"), "Running", old, "0", 0),
            pod("restarted", Some("a"), "Running", old, "0", 3),
            pod("young", Some("a"), "Running", Some("2026-01-01T09:59:00Z"), "0", 0),
            pod("crowded", Some("b"), "Running", old, "0", 0),
            pod("cheap", Some("a"), "Running", old, "-5", 0),
            pod("unready", Some("a"), "Running", None, "0", 0),
            pod("pending", Some("a"), "Pending", None, "0", 0),
            pod("unassigned", None, "Pending", None, "9", 0),
        ];
        let related = HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 4)]);
        let ranked = rank_for_deletion(&pods, &related, "2026-01-01T10:00:00Z".parse().unwrap());
        let names: Vec<_> = ranked.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        assert_eq!(names, ["unassigned", "pending", "unready", "cheap", "crowded", "young", "restarted", "steady"]);
    }
}
