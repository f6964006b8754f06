//! PodSecurity: refuses pods that violate their namespace's level, and warns of workloads whose pods would.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Pod, PodSpec, PodTemplate, PodTemplateSpec, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use skep_admission::podsecurity::{self, Level, LevelVersion, Policy};
use skep_registry::{Object, typed_ref};

use super::{Operation, Request};
use crate::status::ApiError;

/// Pods of a namespace that are looked at when its level changes.
const PODS_MAX: usize = 3_000;

/// Subresources of a pod through which its spec does not change.
const UNCHANGING: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

pub(super) fn check(request: &Request<'_>, object: Option<&dyn Object>) -> Result<(), ApiError> {
    let Some(object) = object else { return Ok(()) };
    let served = &request.target.served;
    match (&*served.group, &*served.plural) {
        ("", "namespaces") => check_namespace(request, object),
        ("", "pods") => match typed_ref::<Pod>(object) {
            Some(pod) if !UNCHANGING.contains(&request.asked.subresource) => check_pod(request, pod),
            _ => Ok(()),
        },
        _ => {
            if request.asked.subresource.is_empty()
                && let Some((meta, spec)) = template(object)
            {
                check_template(request, meta, spec);
            }
            Ok(())
        }
    }
}

/// What the labels of the request's namespace ask for.
fn policy(request: &Request<'_>) -> Policy {
    let admission = &request.writer.admission;
    let namespace = request.target.namespace.as_deref().unwrap_or_default();
    let found = admission.namespaces.as_ref().and_then(|served| request.writer.cache.get(served, namespace));
    let labels = found.iter().flat_map(|namespace| namespace.facts.labels.iter());
    Policy::of_labels(&labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()).0
}

fn check_pod(request: &Request<'_>, pod: &Pod) -> Result<(), ApiError> {
    let policy = policy(request);
    let old = request.old.and_then(|old| typed_ref::<Pod>(old));
    if policy.is_privileged() || old.is_some_and(|old| !podsecurity::is_significant(pod, old)) {
        return Ok(());
    }
    let Some(spec) = &pod.spec else { return Ok(()) };
    let violations = evaluate(policy.enforce, Some(&pod.metadata), spec);
    if !violations.is_empty() {
        let details = podsecurity::details(&violations);
        return Err(request.forbidden(&format!("violates PodSecurity \"{}\": {details}", policy.enforce)));
    }
    warn(request, policy.warn, Some(&pod.metadata), spec);
    Ok(())
}

fn check_template(request: &Request<'_>, meta: Option<&ObjectMeta>, spec: &PodSpec) {
    warn(request, policy(request).warn, meta, spec);
}

fn warn(request: &Request<'_>, level: LevelVersion, meta: Option<&ObjectMeta>, spec: &PodSpec) {
    let violations = evaluate(level, meta, spec);
    if !violations.is_empty() {
        let details = podsecurity::details(&violations);
        request.asked.warnings.add(format!("would violate PodSecurity \"{level}\": {details}"));
    }
}

fn evaluate(level: LevelVersion, meta: Option<&ObjectMeta>, spec: &PodSpec) -> Vec<podsecurity::Violation> {
    let annotations = meta.and_then(|meta| meta.annotations.as_ref());
    podsecurity::evaluate(level, annotations.unwrap_or(&BTreeMap::new()), spec)
}

/// The pod that a workload makes.
fn template(object: &dyn Object) -> Option<(Option<&ObjectMeta>, &PodSpec)> {
    let template: &PodTemplateSpec = if let Some(workload) = typed_ref::<Deployment>(object) {
        &workload.spec.template
    } else if let Some(workload) = typed_ref::<ReplicaSet>(object) {
        workload.spec.template.as_ref()?
    } else if let Some(workload) = typed_ref::<StatefulSet>(object) {
        &workload.spec.template
    } else if let Some(workload) = typed_ref::<DaemonSet>(object) {
        &workload.spec.template
    } else if let Some(workload) = typed_ref::<Job>(object) {
        &workload.spec.as_ref()?.template
    } else if let Some(workload) = typed_ref::<CronJob>(object) {
        &workload.spec.job_template.spec.as_ref()?.template
    } else if let Some(workload) = typed_ref::<ReplicationController>(object) {
        workload.spec.as_ref()?.template.as_ref()?
    } else {
        typed_ref::<PodTemplate>(object)?.template.as_ref()?
    };
    Some((template.metadata.as_ref(), template.spec.as_ref()?))
}

/// Labels must be readable, and whoever raises the level learns which pods it would have refused.
fn check_namespace(request: &Request<'_>, object: &dyn Object) -> Result<(), ApiError> {
    let Some(namespace) = typed_ref::<Namespace>(object).filter(|_| request.asked.subresource.is_empty()) else {
        return Ok(());
    };
    let none = BTreeMap::new();
    let (policy, errors) = Policy::of_labels(namespace.metadata.labels.as_ref().unwrap_or(&none));
    let invalid = || ApiError::invalid("Namespace", "", &request.target.name, &errors);
    let old = request.old.and_then(|old| typed_ref::<Namespace>(old));
    let Some(old) = old.filter(|_| request.operation == Operation::Update) else {
        return if errors.is_empty() { Ok(()) } else { Err(invalid()) };
    };
    let (was, faults) = Policy::of_labels(old.metadata.labels.as_ref().unwrap_or(&none));
    if !errors.is_empty() && errors != faults {
        return Err(invalid());
    }
    let (new, old) = (policy.enforce, was.enforce);
    let relaxed = new.version == old.version && new.level <= old.level;
    if new.level != Level::Privileged && !relaxed {
        warn_of_pods(request, new);
    }
    Ok(())
}

fn warn_of_pods(request: &Request<'_>, level: LevelVersion) {
    let Some(served) = &request.writer.admission.pods else { return };
    let namespace = &request.target.name;
    let pods = request.writer.cache.list(served, &format!("{namespace}/")).items;
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX).filter_map(|pod| serde_json::from_slice::<Pod>(&pod.bytes).ok()) {
        let Some(spec) = &pod.spec else { continue };
        let reasons = podsecurity::reasons(&evaluate(level, Some(&pod.metadata), spec));
        if !reasons.is_empty() {
            // Pods come in the order of their names.
            let name = pod.metadata.name.clone().unwrap_or_default();
            found.entry(reasons).or_insert((name, 0)).1 += 1;
        }
    }
    let warnings = &request.asked.warnings;
    if pods.len() > PODS_MAX {
        let all = pods.len();
        warnings.add(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {all} existing pods"
        ));
    }
    if found.is_empty() {
        return;
    }
    warnings.add(format!(
        "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{level}\""
    ));
    let mut texts: Vec<String> = found
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            _ => format!("{name} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    texts.sort();
    warnings.extend(texts);
}
