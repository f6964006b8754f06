//! What may change of a pod through subresources: containers that are added for debugging, and what containers may use.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::field::{Errors, Path};
use crate::pod_spec;
use crate::strategy::{FieldError, Subresource};

const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// Keeps all of `old` but the part.
pub(super) fn prepare(part: Subresource, new: &mut Pod, old: &Pod) {
    let spec = new.spec.take().unwrap_or_default();
    let meta = std::mem::take(&mut new.metadata);
    new.clone_from(old);
    new.metadata.resource_version = meta.resource_version;
    new.metadata.managed_fields = meta.managed_fields;
    let kept = new.spec.get_or_insert_default();
    match part {
        Subresource::EphemeralContainers => kept.ephemeral_containers = spec.ephemeral_containers,
        Subresource::Resize => {
            copy_resources(&mut kept.containers, spec.containers);
            if let Some(init) = &mut kept.init_containers {
                copy_resources(init, spec.init_containers.unwrap_or_default());
            }
        }
        _ => {}
    }
}

/// By name: an element that is not there changes nothing.
fn copy_resources(containers: &mut [Container], from: Vec<Container>) {
    for wanted in from {
        if let Some(container) = containers.iter_mut().find(|container| container.name == wanted.name) {
            container.resources = wanted.resources;
            container.resize_policy = wanted.resize_policy;
        }
    }
}

pub(super) fn validate(part: Subresource, new: &Pod, old: &Pod) -> Vec<FieldError> {
    let mut errors = Errors::new();
    let path = Path::root("spec");
    let (spec, was) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    pod_spec::validate_spec(&mut errors, &path, &spec);
    match part {
        Subresource::EphemeralContainers => {
            validate_added(&mut errors, &path.child("ephemeralContainers"), &spec, &was);
        }
        Subresource::Resize => validate_resize(&mut errors, &path, &spec, &was),
        _ => {}
    }
    errors.into_vec()
}

/// Containers for debugging are added and stay as they are.
fn validate_added(errors: &mut Errors, path: &Path<'_>, spec: &PodSpec, was: &PodSpec) {
    for old in was.ephemeral_containers.iter().flatten() {
        let name = &old.name;
        match spec.ephemeral_containers.iter().flatten().find(|container| container.name == *name) {
            None => errors.forbidden(path, &format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(new) if new != old => {
                errors.forbidden(path, &format!("existing ephemeral containers {name:?} may not be changed\n"));
            }
            Some(_) => {}
        }
    }
}

fn validate_resize(errors: &mut Errors, path: &Path<'_>, spec: &PodSpec, was: &PodSpec) {
    let (class, before) = (pod_spec::qos_class(spec), pod_spec::qos_class(was));
    if class != before {
        errors.invalid(path, class, "Pod QOS Class may not change as a result of resizing");
    }
    let new = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let old = was.containers.iter().chain(was.init_containers.iter().flatten());
    let fixed = |container: &Container| other_resources(container.resources.as_ref());
    if new.map(fixed).ne(old.map(fixed)) {
        errors.forbidden(path, "only cpu and memory resources are mutable");
    }
}

/// Amounts that stay.
fn other_resources(
    resources: Option<&ResourceRequirements>,
) -> (BTreeMap<String, Quantity>, BTreeMap<String, Quantity>) {
    let others = |list: Option<&BTreeMap<String, Quantity>>| {
        let mut list = list.cloned().unwrap_or_default();
        list.retain(|name, _| !RESIZABLE.contains(&name.as_str()));
        list
    };
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    (others(limits), others(requests))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Pods;
    use super::*;
    use crate::kind::Kind as _;

    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut value = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1",
            "resources": {"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}}}]}});
        change(&mut value);
        let mut pod = crate::decode::decode(value).unwrap().0;
        Pods::default(&mut pod);
        Pods::prepare_for_create(&mut pod);
        pod
    }

    fn update(part: Subresource, change: impl FnOnce(&mut Value), old: &Pod) -> (Pod, Vec<String>) {
        let mut new = pod(change);
        Pods::prepare_for_part_update(part, &mut new, old);
        let errors = Pods::validate_part_update(part, &new, old);
        (new, errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect())
    }

    #[test]
    fn containers_for_debugging_are_added_and_stay() {
        let old = pod(|_| {});
        let debug = |name: &str, image: &str| json!([{"name": name, "image": image, "targetContainerName": "c"}]);
        let (with, faults) = update(
            Subresource::EphemeralContainers,
            |v| {
                v["spec"]["ephemeralContainers"] = debug("d", "busybox:1");
                v["spec"]["hostname"] = json!("ignored");
            },
            &old,
        );
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(with.spec.as_ref().unwrap().hostname, None);
        let (_, faults) = update(
            Subresource::EphemeralContainers,
            |v| v["spec"]["ephemeralContainers"] = debug("d", "busybox:2"),
            &with,
        );
        assert_eq!(
            faults,
            ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be changed\n"]
        );
        let (_, faults) =
            update(Subresource::EphemeralContainers, |v| v["spec"]["ephemeralContainers"] = debug("c", "b:1"), &old);
        assert_eq!(faults, ["spec.ephemeralContainers[0].name: Duplicate value: \"c\""]);
        let other = json!([{"name": "d", "image": "b:1", "targetContainerName": "x", "ports": [{"containerPort": 1}]}]);
        let (_, faults) = update(Subresource::EphemeralContainers, |v| v["spec"]["ephemeralContainers"] = other, &old);
        assert_eq!(
            faults,
            [
                "spec.ephemeralContainers[0].targetContainerName: Not found: \"x\"",
                "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
            ]
        );
    }

    #[test]
    fn only_amounts_of_two_resources_change() {
        let old = pod(|_| {});
        let requests =
            |requests: Value| move |v: &mut Value| v["spec"]["containers"][0]["resources"]["requests"] = requests;
        let (grown, faults) =
            update(Subresource::Resize, requests(json!({"cpu": "2", "ephemeral-storage": "1Gi"})), &old);
        assert_eq!(faults, Vec::<String>::new());
        assert!(Pods::spec_changed(&grown, &old));
        let (_, faults) = update(Subresource::Resize, requests(json!({"cpu": "1", "ephemeral-storage": "2Gi"})), &old);
        assert_eq!(faults, ["spec: Forbidden: only cpu and memory resources are mutable"]);
        let (_, faults) = update(Subresource::Resize, requests(json!({"ephemeral-storage": "1Gi"})), &old);
        assert_eq!(
            faults,
            ["spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing"]
        );
    }
}
