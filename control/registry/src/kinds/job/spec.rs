//! A Job's spec, which CronJobs have as a template.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};

use super::policy;
use crate::field::{Errors, Path, default_text};
use crate::names;
use crate::workload::{self, not_negative};

const BACKOFF_LIMIT: i32 = 6;
const INDEXED_PARALLELISM_MAX: i32 = 100_000;
const MANAGED_BY_BYTES_MAX: usize = 63;

/// Upstream's defaults of a Job.
pub(super) fn default(spec: &mut JobSpec) {
    if spec.completions.is_none() && spec.parallelism.is_none() {
        spec.completions = Some(1);
    }
    spec.parallelism.get_or_insert(1);
    let limit = if spec.backoff_limit_per_index.is_some() { i32::MAX } else { BACKOFF_LIMIT };
    spec.backoff_limit.get_or_insert(limit);
    default_text(&mut spec.completion_mode, "NonIndexed");
    spec.suspend.get_or_insert(false);
    spec.manual_selector.get_or_insert(false);
    let replacement = if spec.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
    default_text(&mut spec.pod_replacement_policy, replacement);
    default_template(spec);
}

/// The part of the defaults that templates of Jobs get too.
pub(crate) fn default_template(spec: &mut JobSpec) {
    for rule in spec.pod_failure_policy.iter_mut().flat_map(|policy| &mut policy.rules) {
        for pattern in rule.on_pod_conditions.iter_mut().flatten() {
            default_text(&mut pattern.status, "True");
        }
    }
    workload::default_template(&mut spec.template);
}

/// A Job's spec but for its selector.
pub(crate) fn validate_spec(errors: &mut Errors, path: &Path<'_>, spec: &JobSpec) {
    for (field, value) in [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
    ] {
        not_negative(errors, &path.child(field), value);
    }
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = spec.managed_by.as_deref() {
        names::validate_domain_path(errors, &path.child("managedBy"), manager);
        if manager.len() > MANAGED_BY_BYTES_MAX {
            errors.too_long(&path.child("managedBy"), MANAGED_BY_BYTES_MAX);
        }
    }
    validate_indexes(errors, path, spec);
    policy::validate(errors, path, spec);
    let at = path.child("template");
    workload::validate_template(errors, &at, &spec.template);
    let at = at.child("spec.restartPolicy");
    match spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or_default() {
        "Never" => {}
        "OnFailure" if spec.pod_failure_policy.is_some() => {
            errors.invalid(&at, "OnFailure", "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" => {}
        "" | "Always" => errors.required(&at, "valid values: \"OnFailure\", \"Never\""),
        other => errors.not_supported(&at, other, &["OnFailure", "Never"]),
    }
}

fn validate_indexes(errors: &mut Errors, path: &Path<'_>, spec: &JobSpec) {
    match spec.completion_mode.as_deref() {
        Some("Indexed") => {
            if spec.completions.is_none() {
                errors.required(&path.child("completions"), "when completion mode is Indexed");
            }
            if let Some(parallelism) = spec.parallelism.filter(|pods| *pods > INDEXED_PARALLELISM_MAX) {
                let detail =
                    format!("must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed");
                errors.invalid(&path.child("parallelism"), parallelism, &detail);
            }
            return;
        }
        Some("NonIndexed") | None => {}
        Some(other) => errors.not_supported(&path.child("completionMode"), other, &["Indexed", "NonIndexed"]),
    }
    for (field, value) in
        [("backoffLimitPerIndex", spec.backoff_limit_per_index), ("maxFailedIndexes", spec.max_failed_indexes)]
    {
        if let Some(value) = value {
            errors.invalid(&path.child(field), value, "requires indexed completion mode");
        }
    }
}

/// What of a Job may change.
pub(super) fn validate_update(errors: &mut Errors, new: &Job, old: &Job) {
    let path = Path::root("spec");
    let (spec, was) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    let indexed = spec.completion_mode.as_deref() == Some("Indexed");
    if spec.completions != was.completions {
        let at = path.child("completions");
        if !indexed {
            errors.immutable(&at, &spec.completions, &was.completions);
        } else if spec.completions != spec.parallelism || was.completions != was.parallelism {
            let detail = "can only be modified in tandem with spec.parallelism";
            errors.invalid(&at, serde_json::to_value(spec.completions).unwrap_or_default(), detail);
        }
    }
    errors.immutable(&path.child("selector"), &spec.selector, &was.selector);
    let template = if may_move(old) { with_placement_of(&spec.template, &was.template) } else { spec.template.clone() };
    errors.immutable(&path.child("template"), &template, &was.template);
    errors.immutable(&path.child("completionMode"), &spec.completion_mode, &was.completion_mode);
    errors.immutable(&path.child("podFailurePolicy"), &spec.pod_failure_policy, &was.pod_failure_policy);
    errors.immutable(&path.child("backoffLimitPerIndex"), &spec.backoff_limit_per_index, &was.backoff_limit_per_index);
    errors.immutable(&path.child("managedBy"), &spec.managed_by, &was.managed_by);
    errors.immutable(&path.child("successPolicy"), &spec.success_policy, &was.success_policy);
}

/// Whether no pod of the Job has run yet, so that it may still be told where to run.
fn may_move(job: &Job) -> bool {
    let suspended = job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true));
    suspended && job.status.as_ref().is_none_or(|status| status.start_time.is_none())
}

/// The template with all that says where its pods run as in another one.
fn with_placement_of(template: &PodTemplateSpec, was: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let (meta, old) = (template.metadata.get_or_insert_default(), was.metadata.clone().unwrap_or_default());
    meta.labels = old.labels;
    meta.annotations = old.annotations;
    if template.metadata.as_ref() == Some(&Default::default()) && was.metadata.is_none() {
        template.metadata = None;
    }
    let old = was.spec.clone().unwrap_or_default();
    let spec = template.spec.get_or_insert_default();
    let PodSpec { node_selector, tolerations, scheduling_gates, .. } = old;
    spec.node_selector = node_selector;
    spec.tolerations = tolerations;
    spec.scheduling_gates = scheduling_gates;
    let near = old.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone());
    match &mut spec.affinity {
        Some(affinity) => affinity.node_affinity = near,
        None => spec.affinity = old.affinity.filter(|a| a.pod_affinity.is_none() && a.pod_anti_affinity.is_none()),
    }
    if spec.affinity == Some(Default::default()) && was.spec.as_ref().is_none_or(|spec| spec.affinity.is_none()) {
        spec.affinity = None;
    }
    template
}
