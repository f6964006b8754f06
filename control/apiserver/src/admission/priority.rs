//! Priority: a pod gets the number behind its priority class, and one class at most is for all others.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use skep_registry::{Object, typed_mut, typed_ref};

use super::{Operation, Request};
use crate::status::ApiError;

const PREEMPTS: &str = "PreemptLowerPriority";

pub(super) fn fill(request: &Request<'_>, object: &mut dyn Object) -> Result<(), ApiError> {
    if !request.is_for("", "pods") {
        return Ok(());
    }
    let Some(spec) = typed_mut::<Pod>(object).and_then(|pod| pod.spec.as_mut()) else { return Ok(()) };
    if request.operation == Operation::Update {
        // Clients that do not know the fields leave them out.
        let old = request.old.and_then(|old| typed_ref::<Pod>(old)).and_then(|pod| pod.spec.as_ref());
        spec.priority = spec.priority.or_else(|| old?.priority);
        spec.preemption_policy = spec.preemption_policy.take().or_else(|| old?.preemption_policy.clone());
        return Ok(());
    }
    let named = spec.priority_class_name.clone().filter(|name| !name.is_empty());
    let (value, policy) = match named {
        Some(name) => {
            let class = class(request, &name)
                .ok_or_else(|| request.forbidden(&format!("no PriorityClass with name {name} was found")))?;
            (class.value.unwrap_or(0), class.preemption_policy)
        }
        None => match default_class(request) {
            Some(class) => {
                spec.priority_class_name = class.metadata.name;
                (class.value.unwrap_or(0), class.preemption_policy)
            }
            None => (0, Some(PREEMPTS.to_owned())),
        },
    };
    if let Some(given) = spec.priority.filter(|given| *given != value) {
        return Err(request.forbidden(&format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name"
        )));
    }
    spec.priority = Some(value);
    let Some(policy) = policy else { return Ok(()) };
    if let Some(given) = spec.preemption_policy.as_ref().filter(|given| **given != policy) {
        return Err(request.forbidden(&format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        )));
    }
    spec.preemption_policy = Some(policy);
    Ok(())
}

pub(super) fn check(request: &Request<'_>, object: Option<&dyn Object>) -> Result<(), ApiError> {
    let class = object.and_then(|object| typed_ref::<PriorityClass>(object));
    let Some(class) = class.filter(|class| class.global_default == Some(true)) else { return Ok(()) };
    let other = default_class(request).and_then(|class| class.metadata.name).unwrap_or_default();
    let own = class.metadata.name.as_deref().unwrap_or_default();
    if other.is_empty() || (request.operation == Operation::Update && other == own) {
        return Ok(());
    }
    Err(request.forbidden(&format!("PriorityClass {other} is already marked as default. Only one default can exist")))
}

fn class(request: &Request<'_>, name: &str) -> Option<PriorityClass> {
    let served = request.writer.admission.priority_classes.as_ref()?;
    serde_json::from_slice(&request.writer.cache.get(served, name)?.bytes).ok()
}

/// The least of those marked, should there be several after all.
fn default_class(request: &Request<'_>) -> Option<PriorityClass> {
    let writer = request.writer;
    let classes = writer.objects::<PriorityClass>(writer.admission.priority_classes.as_ref(), "");
    classes.into_iter().filter(|class| class.global_default == Some(true)).min_by_key(|class| class.value)
}
