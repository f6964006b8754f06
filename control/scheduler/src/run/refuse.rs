//! Telling that a pod has no node.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use skep_informer::{EventType, reference};
use tracing::debug;

use super::Shared;
use crate::pod_info::PodInfo;

/// Writes the event and the PodScheduled condition.
pub(super) async fn refuse(shared: &Shared, pod: &PodInfo, message: &str, nominated: Option<String>) {
    shared.recorder.event(EventType::Warning, reference(pod.pod.as_ref()), "FailedScheduling", message);
    let meta = &pod.pod.metadata;
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let Some(current) = shared.pods.get(namespace, name).filter(|current| current.metadata.uid == meta.uid) else {
        return;
    };
    let Some(conditions) = with_condition(&current, message) else { return };
    let mut status = json!({"conditions": conditions});
    if let Some(node) = nominated {
        status["nominatedNodeName"] = json!(node);
    }
    let version = &current.metadata.resource_version;
    let patch = json!({"metadata": {"uid": meta.uid, "resourceVersion": version}, "status": status});
    let api: Api<Pod> = Api::namespaced(shared.client.clone(), namespace);
    match api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(patched) => shared.pods.record(patched),
        // The next attempt writes it.
        Err(error) => debug!(error = %error, "condition not written"),
    }
}

/// The pod's conditions with PodScheduled false; None if it says so already.
fn with_condition(pod: &Pod, message: &str) -> Option<Vec<PodCondition>> {
    let mut conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let known =
        conditions.iter().position(|condition| condition.type_ == "PodScheduled").map(|at| conditions.remove(at));
    let was_false = known.as_ref().is_some_and(|known| known.status == "False");
    if let Some(known) = &known
        && was_false
        && known.reason.as_deref() == Some("Unschedulable")
        && known.message.as_deref() == Some(message)
    {
        return None;
    }
    let since = known.filter(|_| was_false).and_then(|known| known.last_transition_time);
    conditions.push(PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: since.or_else(|| Some(Time(Timestamp::now()))),
        ..PodCondition::default()
    });
    Some(conditions)
}
