//! What a ReplicaSet needs, from what is there.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::rank::rank_for_deletion;
use crate::owner::{claim, controller_reference};
use crate::{pod, selector};

/// Pods created or deleted in one reconcile at most.
pub(crate) const BURST_REPLICAS: usize = 500;

/// A ReplicaSet and its surroundings.
pub(crate) struct Observed {
    pub(crate) replica_set: Arc<ReplicaSet>,
    /// Its pods, and those of its namespace that nobody controls.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// Active pods by node of all ReplicaSets with the same controller.
    pub(crate) related_by_node: HashMap<String, usize>,
    pub(crate) now: Timestamp,
}

/// What to do.
pub(crate) struct Plan {
    pub(crate) adopt: Vec<Arc<Pod>>,
    pub(crate) release: Vec<Arc<Pod>>,
    pub(crate) create: usize,
    pub(crate) delete: Vec<Arc<Pod>>,
    /// The status as observed, but for the ReplicaFailure condition.
    pub(crate) status: ReplicaSetStatus,
    /// When a ready pod becomes available without any event.
    pub(crate) available_in: Option<SignedDuration>,
}

/// Plans one ReplicaSet.
pub(crate) fn plan(observed: &Observed) -> Plan {
    let replica_set = observed.replica_set.as_ref();
    let label_selector = &replica_set.spec.selector;
    // Validation refuses an empty selector; were one there, it must not take all pods.
    let candidates = if selector::is_empty(label_selector) { &[][..] } else { &observed.pods[..] };
    let claims = claim(&replica_set.metadata, label_selector, candidates);
    let active: Vec<_> = claims.owned.iter().filter(|pod| pod::is_active(pod)).cloned().collect();
    let terminating = claims.owned.iter().filter(|pod| !pod::is_terminal(pod)).count() - active.len();

    let wanted = usize::try_from(wanted_replicas(replica_set)).unwrap_or(0);
    let going = replica_set.metadata.deletion_timestamp.is_some();
    let create = if going { 0 } else { wanted.saturating_sub(active.len()).min(BURST_REPLICAS) };
    let surplus = if going { 0 } else { active.len().saturating_sub(wanted).min(BURST_REPLICAS) };
    let mut delete = Vec::new();
    if surplus > 0 {
        delete = rank_for_deletion(&active, &observed.related_by_node, observed.now);
        delete.truncate(surplus);
    }

    let (status, available_in) = plan_status(replica_set, &active, terminating, observed.now);
    Plan { adopt: claims.adopt, release: claims.release, create, delete, status, available_in }
}

/// `spec.replicas`, 1 by default.
pub(crate) fn wanted_replicas(replica_set: &ReplicaSet) -> i32 {
    replica_set.spec.replicas.unwrap_or(1)
}

fn plan_status(
    replica_set: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: usize,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<SignedDuration>) {
    let min_ready_seconds = replica_set.spec.min_ready_seconds.unwrap_or(0);
    let template_labels = replica_set
        .spec
        .template
        .as_ref()
        .and_then(|template| template.metadata.as_ref())
        .and_then(|meta| meta.labels.as_ref());
    let fully_labeled = |pod: &&Arc<Pod>| {
        template_labels.is_none_or(|labels| selector::matches_map(labels, pod.metadata.labels.as_ref()))
    };
    let waits: Vec<_> = active.iter().filter_map(|pod| pod::available_in(pod, min_ready_seconds, now)).collect();
    let ready = active.iter().filter(|pod| pod::is_ready(pod)).count();
    let status = ReplicaSetStatus {
        replicas: count(active.len()),
        fully_labeled_replicas: Some(count(active.iter().filter(fully_labeled).count())),
        ready_replicas: Some(count(ready)),
        available_replicas: Some(count(waits.iter().filter(|wait| wait.is_zero()).count())),
        terminating_replicas: Some(count(terminating)),
        observed_generation: replica_set.metadata.generation,
        conditions: replica_set.status.as_ref().and_then(|status| status.conditions.clone()),
    };
    (status, waits.into_iter().filter(|wait| !wait.is_zero()).min())
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Sets or clears the ReplicaFailure condition: `failure` is a reason and a message.
pub(crate) fn set_failure(status: &mut ReplicaSetStatus, failure: Option<(&str, String)>, now: Timestamp) {
    let mut conditions = status.conditions.take().unwrap_or_default();
    let known = conditions.iter().any(|condition| condition.type_.as_deref() == Some("ReplicaFailure"));
    match failure {
        Some((reason, message)) if !known => conditions.push(ReplicaSetCondition {
            type_: Some("ReplicaFailure".to_owned()),
            status: Some("True".to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        }),
        Some(_) => {}
        None => conditions.retain(|condition| condition.type_.as_deref() != Some("ReplicaFailure")),
    }
    status.conditions = (!conditions.is_empty()).then_some(conditions);
}

/// Whether two statuses say the same; an absent number is 0.
pub(crate) fn same_status(a: &ReplicaSetStatus, b: &ReplicaSetStatus) -> bool {
    let numbers = |status: &ReplicaSetStatus| {
        [
            Some(status.replicas),
            status.fully_labeled_replicas,
            status.ready_replicas,
            status.available_replicas,
            status.terminating_replicas,
        ]
        .map(Option::unwrap_or_default)
    };
    let conditions = |status: &ReplicaSetStatus| status.conditions.clone().unwrap_or_default();
    numbers(a) == numbers(b)
        && a.observed_generation.unwrap_or_default() == b.observed_generation.unwrap_or_default()
        && conditions(a) == conditions(b)
}

/// The pod that a ReplicaSet creates.
pub(crate) fn pod_from_template(replica_set: &ReplicaSet) -> Pod {
    let empty = PodTemplateSpec::default();
    let template = replica_set.spec.template.as_ref().unwrap_or(&empty);
    let meta = template.metadata.clone().unwrap_or_default();
    let metadata = ObjectMeta {
        namespace: replica_set.metadata.namespace.clone(),
        generate_name: Some(format!("{}-", replica_set.metadata.name.as_deref().unwrap_or_default())),
        labels: meta.labels,
        annotations: meta.annotations,
        finalizers: meta.finalizers,
        owner_references: Some(vec![controller_reference(replica_set)]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: template.spec.clone(), status: None }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn observed(replicas: i32, pods: Vec<Value>) -> Observed {
        let replica_set = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "rs", "generation": 3},
            "spec": {
                "replicas": replicas, "minReadySeconds": 10,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
            },
        });
        Observed {
            replica_set: Arc::new(from_value(replica_set).unwrap()),
            pods: pods.into_iter().map(|pod| Arc::new(from_value(pod).unwrap())).collect(),
            related_by_node: HashMap::new(),
            now: "2026-01-01T00:01:00Z".parse().unwrap(),
        }
    }

    fn pod(name: &str, ready_at: Option<&str>) -> Value {
        let status = if ready_at.is_some() { "True" } else { "False" };
        json!({
            "metadata": {
                "name": name, "namespace": "default", "uid": name, "labels": {"app": "web"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true}],
            },
            "spec": {"containers": [], "nodeName": "n"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": ready_at}]},
        })
    }

    #[test]
    fn missing_pods_are_created() {
        let plan = plan(&observed(3, vec![pod("a", None)]));
        assert_eq!((plan.create, plan.delete.len()), (2, 0));
    }

    #[test]
    fn terminating_and_ended_pods_are_no_replicas() {
        let mut going = pod("a", None);
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let mut failed = pod("b", None);
        failed["status"]["phase"] = json!("Failed");
        let plan = plan(&observed(1, vec![going, failed]));
        assert_eq!(plan.create, 1);
        assert_eq!(plan.status.replicas, 0);
        assert_eq!(plan.status.terminating_replicas, Some(1));
    }

    #[test]
    fn a_deleted_replica_set_does_nothing_but_count() {
        let mut observed = observed(3, vec![pod("a", None)]);
        Arc::make_mut(&mut observed.replica_set).metadata.deletion_timestamp = Some(Time(observed.now));
        let plan = plan(&observed);
        assert_eq!((plan.create, plan.delete.len(), plan.status.replicas), (0, 0, 1));
    }

    #[test]
    fn a_pod_is_available_once_it_was_ready_long_enough() {
        let pods = vec![pod("a", Some("2026-01-01T00:00:00Z")), pod("b", Some("2026-01-01T00:00:53Z")), pod("c", None)];
        let plan = plan(&observed(3, pods));
        assert_eq!(plan.status.ready_replicas, Some(2));
        assert_eq!(plan.status.available_replicas, Some(1));
        assert_eq!(plan.available_in, Some(SignedDuration::from_secs(3)));
        assert_eq!(plan.status.observed_generation, Some(3));
    }

    #[test]
    fn a_burst_is_bounded() {
        assert_eq!(plan(&observed(2000, vec![])).create, BURST_REPLICAS);
    }

    #[test]
    fn a_failure_is_reported_once_and_cleared() {
        let now = Timestamp::UNIX_EPOCH;
        let mut status = ReplicaSetStatus::default();
        set_failure(&mut status, Some(("FailedCreate", "quota".to_owned())), now);
        set_failure(&mut status, Some(("FailedCreate", "quota again".to_owned())), now);
        let conditions = status.conditions.clone().unwrap();
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].message.as_deref(), Some("quota"));
        set_failure(&mut status, None, now);
        assert_eq!(status.conditions, None);
    }
}
