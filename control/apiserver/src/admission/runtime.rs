//! RuntimeClass: a pod pays for what its class costs beside its containers, and goes where its class is supported.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::api::node::v1::RuntimeClass;
use skep_admission::Amounts;
use skep_registry::{Object, typed_mut, typed_ref};

use super::{Operation, Request};
use crate::status::ApiError;

const OTHER_OVERHEAD: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
const OWN_OVERHEAD: &str = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";

/// The class that a pod names, if it names one.
fn class(request: &Request<'_>, spec: &PodSpec) -> Result<Option<RuntimeClass>, ApiError> {
    let Some(name) = spec.runtime_class_name.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
    let served = request.writer.admission.runtime_classes.as_ref();
    let found = served.and_then(|served| request.writer.cache.get(served, name));
    let class = found.and_then(|found| serde_json::from_slice(&found.bytes).ok());
    class.map(Some).ok_or_else(|| request.forbidden(&format!("pod rejected: RuntimeClass \"{name}\" not found")))
}

fn overhead(class: &RuntimeClass) -> Option<Amounts> {
    class.overhead.as_ref().map(|overhead| Amounts::from_api(overhead.pod_fixed.as_ref()))
}

pub(super) fn fill(request: &Request<'_>, object: &mut dyn Object) -> Result<(), ApiError> {
    if request.operation != Operation::Create || !request.is_for("", "pods") {
        return Ok(());
    }
    let Some(spec) = typed_mut::<Pod>(object).and_then(|pod| pod.spec.as_mut()) else { return Ok(()) };
    let Some(class) = class(request, spec)? else { return Ok(()) };
    if let Some(cost) = overhead(&class) {
        if spec.overhead.as_ref().is_some_and(|own| !Amounts::from_api(Some(own)).equals(&cost)) {
            return Err(request.forbidden(OTHER_OVERHEAD));
        }
        spec.overhead = class.overhead.and_then(|overhead| overhead.pod_fixed);
    }
    let Some(scheduling) = class.scheduling else { return Ok(()) };
    for (key, value) in scheduling.node_selector.into_iter().flatten() {
        let own = spec.node_selector.get_or_insert_default().entry(key.clone()).or_insert_with(|| value.clone());
        if *own != value {
            return Err(request.forbidden(&format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
            )));
        }
    }
    let mut tolerations = scheduling.tolerations.unwrap_or_default();
    for own in spec.tolerations.take().unwrap_or_default() {
        if !tolerations.contains(&own) {
            tolerations.push(own);
        }
    }
    spec.tolerations = Some(tolerations).filter(|tolerations| !tolerations.is_empty());
    Ok(())
}

pub(super) fn check(request: &Request<'_>, object: Option<&dyn Object>) -> Result<(), ApiError> {
    if request.operation != Operation::Create || !request.is_for("", "pods") {
        return Ok(());
    }
    let spec = object.and_then(|object| typed_ref::<Pod>(object)).and_then(|pod| pod.spec.as_ref());
    let Some(spec) = spec else { return Ok(()) };
    let own = spec.overhead.as_ref().map(|own| Amounts::from_api(Some(own)));
    match (class(request, spec)?.as_ref().and_then(overhead), own) {
        (Some(cost), own) if own.as_ref().is_none_or(|own| !own.equals(&cost)) => {
            Err(request.forbidden(OTHER_OVERHEAD))
        }
        (None, Some(_)) => Err(request.forbidden(OWN_OVERHEAD)),
        _ => Ok(()),
    }
}
