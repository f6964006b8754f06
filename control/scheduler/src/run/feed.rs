//! From the informers into cache and queue.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use skep_informer::{Change, Informers};
use tokio::time::Instant;

use super::Shared;
use crate::framework::ClusterEvent;

/// Registers the handlers.
pub(super) fn feed(shared: &Arc<Shared>, informers: &Informers) {
    let to = Arc::downgrade(shared);
    informers.get::<Node>().on_change(move |change| {
        if let Some(shared) = to.upgrade() {
            take_node(&shared, change);
        }
    });
    let to = Arc::downgrade(shared);
    shared.pods.on_change(move |change| {
        if let Some(shared) = to.upgrade() {
            take_pod(&shared, change);
        }
    });
}

fn take_node(shared: &Shared, change: &Change<Node>) {
    let event = match (&change.old, &change.new) {
        (_, None) => None,
        (None, Some(_)) => Some(ClusterEvent::NodeAdded),
        (Some(old), Some(new)) => (schedulable_part(old) != schedulable_part(new)).then_some(ClusterEvent::NodeChanged),
    };
    shared.change(|state| {
        match (&change.new, &change.old) {
            (Some(node), _) => state.cache.set_node(Arc::clone(node)),
            (None, Some(node)) => state.cache.remove_node(node.metadata.name.as_deref().unwrap_or_default()),
            (None, None) => {}
        }
        if let Some(event) = event {
            state.queue.event(event, Instant::now());
        }
    });
}

/// What of a node a plugin looks at; heartbeats change other parts.
fn schedulable_part(node: &Node) -> impl PartialEq + use<'_> {
    let spec = node.spec.as_ref();
    let status = node.status.as_ref();
    (
        &node.metadata.labels,
        spec.map(|spec| (&spec.taints, spec.unschedulable)),
        status.map(|status| &status.allocatable),
    )
}

fn take_pod(shared: &Shared, change: &Change<Pod>) {
    let Some(latest) = change.latest() else { return };
    let uid = latest.metadata.uid.clone().unwrap_or_default();
    let now = Instant::now();
    // A namesake took the place of a pod whose removal was not seen.
    if let (Some(old), Some(_)) = (&change.old, &change.new)
        && old.metadata.uid.as_deref() != Some(&uid)
    {
        remove(shared, old.metadata.uid.as_deref().unwrap_or_default(), now);
    }
    match &change.new {
        Some(pod) if !is_over(pod) => match bound_to(pod) {
            Some(node) => shared.change(|state| {
                state.queue.remove(&uid);
                state.cache.set_pod(pod, node);
            }),
            None if is_ours(shared, pod) && differs(change) => {
                shared.change(|state| {
                    if !state.cache.is_assumed(&uid) {
                        state.queue.set(&uid, pod, now);
                    }
                });
            }
            None => {}
        },
        _ => remove(shared, &uid, now),
    }
}

fn remove(shared: &Shared, uid: &str, now: Instant) {
    shared.change(|state| {
        state.queue.remove(uid);
        if state.cache.remove_pod(uid) {
            state.queue.event(ClusterEvent::PodRemoved, now);
        }
    });
}

/// Ended for good: takes no room any more.
fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn bound_to(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

fn is_ours(shared: &Shared, pod: &Pod) -> bool {
    let named = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref()).filter(|name| !name.is_empty());
    named.unwrap_or("default-scheduler") == shared.profile.scheduler_name
}

/// Whether more than the status changed; the loop's own condition must not wake the pod.
fn differs(change: &Change<Pod>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    let relevant = |pod: &Pod| {
        let meta = &pod.metadata;
        (meta.uid.clone(), meta.labels.clone(), meta.deletion_timestamp.clone(), pod.spec.clone())
    };
    relevant(old) != relevant(new)
}
