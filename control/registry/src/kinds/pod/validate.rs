//! Validation of pods, and what of a pod may change.

use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};

use crate::field::{Errors, Path};
use crate::names;
use crate::pod_spec;
use crate::strategy::FieldError;

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A pod that is to be created.
pub(super) fn create(pod: &Pod) -> Vec<FieldError> {
    let mut errors = Errors::new();
    let path = Path::root("spec");
    let spec = pod.spec.clone().unwrap_or_default();
    pod_spec::validate_spec(&mut errors, &path, &spec);
    if spec.ephemeral_containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
        errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    let bound = spec.node_name.as_deref().is_some_and(|node| !node.is_empty());
    if bound && spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
        errors.forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    errors.into_vec()
}

/// A change of a pod's spec: hardly anything may differ.
pub(super) fn update(new: &Pod, old: &Pod) -> Vec<FieldError> {
    let mut errors = Errors::new();
    let path = Path::root("spec");
    let (spec, was) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    let added_or_removed = "pod updates may not add or remove containers";
    let count = |spec: &PodSpec| spec.init_containers.as_ref().map_or(0, Vec::len);
    if spec.containers.len() != was.containers.len() {
        errors.forbidden(&path.child("containers"), added_or_removed);
        return errors.into_vec();
    }
    if count(&spec) != count(&was) {
        errors.forbidden(&path.child("initContainers"), added_or_removed);
        return errors.into_vec();
    }
    validate_deadline(&mut errors, &path.child("activeDeadlineSeconds"), &spec, &was);
    validate_added_tolerations(&mut errors, &path.child("tolerations"), &spec, &was);
    let gates = |spec: &PodSpec| -> Vec<String> {
        spec.scheduling_gates.iter().flatten().map(|gate| gate.name.clone()).collect()
    };
    let had = gates(&was);
    for gate in gates(&spec).iter().filter(|gate| !had.contains(gate)) {
        let detail = format!("only deletion is allowed, but found new scheduling gate '{gate}'");
        errors.forbidden(&path.child("schedulingGates"), &detail);
    }
    if without_updatable(&spec, &was) != was {
        errors.forbidden(&path, UPDATABLE);
    }
    pod_spec::validate_spec(&mut errors, &path, &spec);
    errors.into_vec()
}

/// `spec` with what may change put back to what it was.
fn without_updatable(spec: &PodSpec, was: &PodSpec) -> PodSpec {
    let mut spec = spec.clone();
    for (container, was) in spec.containers.iter_mut().zip(&was.containers) {
        container.image.clone_from(&was.image);
    }
    let init = spec.init_containers.iter_mut().flatten().zip(was.init_containers.iter().flatten());
    for (container, was) in init {
        container.image.clone_from(&was.image);
    }
    spec.active_deadline_seconds = was.active_deadline_seconds;
    spec.tolerations.clone_from(&was.tolerations);
    spec.scheduling_gates.clone_from(&was.scheduling_gates);
    if was.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0)
        && spec.termination_grace_period_seconds == Some(1)
    {
        spec.termination_grace_period_seconds = was.termination_grace_period_seconds;
    }
    // Before a pod is scheduled, what restricts its placement may still grow.
    if was.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
        let had = was.node_selector.clone().unwrap_or_default();
        let has = spec.node_selector.clone().unwrap_or_default();
        if had.iter().all(|(key, value)| has.get(key) == Some(value)) {
            spec.node_selector.clone_from(&was.node_selector);
        }
    }
    spec
}

fn validate_deadline(errors: &mut Errors, path: &Path<'_>, spec: &PodSpec, was: &PodSpec) {
    match (spec.active_deadline_seconds, was.active_deadline_seconds) {
        (Some(now), Some(before)) if now > before => {
            errors.invalid(path, now, "must be less than or equal to previous value");
        }
        (None, Some(_)) => {
            errors.invalid(path, serde_json::Value::Null, "must not update from a positive integer to nil value");
        }
        _ => {}
    }
}

fn validate_added_tolerations(errors: &mut Errors, path: &Path<'_>, spec: &PodSpec, was: &PodSpec) {
    let unbounded = |toleration: &Toleration| Toleration { toleration_seconds: None, ..toleration.clone() };
    let now: Vec<Toleration> = spec.tolerations.iter().flatten().map(unbounded).collect();
    if was.tolerations.iter().flatten().any(|toleration| !now.contains(&unbounded(toleration))) {
        errors.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
    }
}

/// A status that a node reports.
pub(super) fn status(pod: &Pod) -> Vec<FieldError> {
    let mut errors = Errors::new();
    let status = pod.status.clone().unwrap_or_default();
    let path = Path::root("status.podIPs");
    for (i, ip) in status.pod_ips.iter().flatten().enumerate() {
        if let Err(detail) = names::ip(&ip.ip) {
            errors.invalid(&path.index(i).child("ip"), ip.ip.as_str(), detail);
        }
    }
    if let Some(node) = status.nominated_node_name.as_deref().filter(|node| !node.is_empty()) {
        errors.invalid_each(&Path::root("status.nominatedNodeName"), node, names::dns1123_subdomain(node));
    }
    errors.into_vec()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Pods;
    use super::*;
    use crate::kind::Kind as _;

    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut value = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}],
            "activeDeadlineSeconds": 10, "tolerations": [{"key": "a", "operator": "Exists"}]}});
        change(&mut value);
        let mut pod = crate::decode::decode(value).unwrap().0;
        Pods::default(&mut pod);
        Pods::prepare_for_create(&mut pod);
        pod
    }

    fn text(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let errors = Pods::validate_update(&pod(change), &pod(|_| {}));
        errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
    }

    #[test]
    fn what_may_change_may() {
        assert!(text(|v| v["spec"]["containers"][0]["image"] = json!("i:2")).is_empty());
        assert!(text(|v| v["spec"]["activeDeadlineSeconds"] = json!(5)).is_empty());
        let more = json!([{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]);
        assert!(text(|v| v["spec"]["tolerations"] = more).is_empty());
    }

    #[test]
    fn what_may_not_does_not() {
        let forbidden = format!("spec: Forbidden: {UPDATABLE}");
        assert_eq!(text(|v| v["spec"]["containers"][0]["command"] = json!(["x"])), std::slice::from_ref(&forbidden));
        assert_eq!(text(|v| v["spec"]["nodeName"] = json!("n")), [forbidden]);
        let more = json!([{"name": "c", "image": "i:1"}, {"name": "d", "image": "i"}]);
        assert_eq!(
            text(|v| v["spec"]["containers"] = more),
            ["spec.containers: Forbidden: pod updates may not add or remove containers"]
        );
        assert_eq!(
            text(|v| v["spec"]["activeDeadlineSeconds"] = json!(20)),
            ["spec.activeDeadlineSeconds: Invalid value: 20: must be less than or equal to previous value"]
        );
        assert_eq!(
            text(|v| v["spec"]["tolerations"] = json!([])),
            ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]
        );
    }

    #[test]
    fn creation_sets_what_the_strategy_sets() {
        let pod = pod(|_| {});
        assert!(Pods::validate(&pod).is_empty());
        let value = serde_json::to_value(&pod).unwrap();
        assert_eq!(value["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
        assert_eq!(value["spec"]["serviceAccountName"], "default");
        assert_eq!(Pods::grace_period_seconds(&pod, None), 0);
    }

    #[test]
    fn binding_is_once() {
        let mut pod = pod(|_| {});
        let now = jiff::Timestamp::UNIX_EPOCH;
        Pods::bind(&mut pod, "n", now).unwrap();
        assert_eq!(Pods::bind(&mut pod, "n", now).unwrap_err(), "pod p is already assigned to node \"n\"");
        assert_eq!(Pods::grace_period_seconds(&pod, None), 30);
        assert_eq!(Pods::grace_period_seconds(&pod, Some(0)), 0);
        assert_eq!(Pods::grace_period_seconds(&pod, Some(-1)), 1);
        let condition = &pod.status.unwrap().conditions.unwrap()[0];
        assert_eq!((condition.type_.as_str(), condition.status.as_str()), ("PodScheduled", "True"));
    }
}
