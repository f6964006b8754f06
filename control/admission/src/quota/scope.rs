//! Scopes: which pods and claims a quota is about.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, Pod, PodAffinityTerm, PodSpec, ResourceQuota, ScopedResourceSelectorRequirement,
};
use skep_registry::{Object, qos_class, typed_ref};

/// Without scopes a quota is about everything; objects that know no scopes are in none.
pub(super) fn matches(quota: &ResourceQuota, object: &dyn Object) -> bool {
    let Some(spec) = &quota.spec else { return true };
    let named = spec.scopes.iter().flatten().map(|scope| ScopedResourceSelectorRequirement {
        scope_name: scope.clone(),
        operator: "Exists".to_owned(),
        values: None,
    });
    let selected = spec.scope_selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten());
    named.chain(selected.cloned()).all(|term| {
        match (typed_ref::<Pod>(object), typed_ref::<PersistentVolumeClaim>(object)) {
            (Some(pod), _) => has_pod(&term, pod),
            (_, Some(claim)) => has_claim(&term, claim),
            _ => false,
        }
    })
}

fn has_pod(term: &ScopedResourceSelectorRequirement, pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let ends = spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0);
    match term.scope_name.as_str() {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => qos_class(spec) == "BestEffort",
        "NotBestEffort" => qos_class(spec) != "BestEffort",
        "PriorityClass" => has_value(term, spec.priority_class_name.as_deref().filter(|name| !name.is_empty())),
        "CrossNamespacePodAffinity" => looks_beyond(spec),
        _ => false,
    }
}

/// The operators of label selectors, over one label.
fn has_value(term: &ScopedResourceSelectorRequirement, value: Option<&str>) -> bool {
    let listed = value.is_some_and(|value| term.values.iter().flatten().any(|listed| listed == value));
    match term.operator.as_str() {
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

fn looks_beyond(spec: &PodSpec) -> bool {
    let beyond = |term: &PodAffinityTerm| {
        term.namespaces.as_ref().is_some_and(|list| !list.is_empty()) || term.namespace_selector.is_some()
    };
    let Some(affinity) = &spec.affinity else { return false };
    let near = affinity.pod_affinity.iter().flat_map(|affinity| {
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        let required = affinity.required_during_scheduling_ignored_during_execution.iter().flatten();
        required.chain(preferred.map(|term| &term.pod_affinity_term))
    });
    let far = affinity.pod_anti_affinity.iter().flat_map(|affinity| {
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        let required = affinity.required_during_scheduling_ignored_during_execution.iter().flatten();
        required.chain(preferred.map(|term| &term.pod_affinity_term))
    });
    near.chain(far).any(beyond)
}

fn has_claim(term: &ScopedResourceSelectorRequirement, claim: &PersistentVolumeClaim) -> bool {
    if term.scope_name != "VolumeAttributesClass" {
        return false;
    }
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let status = claim.status.as_ref();
    let current = status.and_then(|status| status.current_volume_attributes_class_name.as_deref());
    let changing = status
        .and_then(|status| status.modify_volume_status.as_ref())
        .and_then(|change| change.target_volume_attributes_class_name.as_deref());
    let mut names = [wanted, current, changing].into_iter().flatten().filter(|name| !name.is_empty()).peekable();
    if names.peek().is_none() {
        return has_value(term, None);
    }
    names.any(|name| has_value(term, Some(name)))
}
