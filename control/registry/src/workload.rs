//! What kinds with a pod template and a number of replicas share.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as ApiSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::metadata::{validate_label_selector, validate_shared};
use crate::names;
use crate::pod_spec;
use crate::selector::LabelSelector;
use crate::strategy::{Cell, Column};
use crate::table;

pub(crate) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// Names of a template's containers.
pub(crate) const CONTAINERS: Column = table::wide("Containers", "Names of each container in the template.");
/// Images of a template's containers.
pub(crate) const IMAGES: Column = table::wide("Images", "Images referenced by each container in the template.");
/// The selector.
pub(crate) const SELECTOR: Column = table::wide("Selector", "Which pods belong to it.");

/// What upstream's messages call a kind.
#[derive(Clone, Copy)]
pub(crate) struct Called {
    /// Where its selector is empty.
    pub(crate) selector: &'static str,
    /// Where its template has a deadline.
    pub(crate) template: &'static str,
}

/// Deployments and ReplicaSets.
pub(crate) const REPLICAS: Called = Called { selector: "deployment", template: "ReplicaSet" };

/// Fills in the defaults of a pod template.
pub(crate) fn default_template(template: &mut PodTemplateSpec) {
    pod_spec::default_spec(template.spec.get_or_insert_default());
}

/// Cells for [`CONTAINERS`], [`IMAGES`] and [`SELECTOR`].
pub(crate) fn wide_cells(template: Option<&PodTemplateSpec>, selector: String) -> [Cell; 3] {
    let containers = template.and_then(|template| template.spec.as_ref()).map(|spec| spec.containers.as_slice());
    let join = |parts: Vec<&str>| Cell::from(parts.join(","));
    let containers = containers.unwrap_or_default();
    [
        join(containers.iter().map(|container| container.name.as_str()).collect()),
        join(containers.iter().map(|container| container.image.as_deref().unwrap_or_default()).collect()),
        Cell::from(selector),
    ]
}

/// A selector's string form.
pub(crate) fn selector_text(selector: &ApiSelector) -> String {
    match LabelSelector::from_api(selector) {
        Ok(selector) if selector.is_everything() => "<none>".to_owned(),
        Ok(selector) => selector.to_string(),
        Err(_) => "<error>".to_owned(),
    }
}

/// A number that may not be negative.
pub(crate) fn not_negative(errors: &mut Errors, path: &Path<'_>, value: Option<i64>) {
    if let Some(value) = value.filter(|value| *value < 0) {
        errors.invalid(path, value, NOT_NEGATIVE);
    }
}

/// A selector of pods, and the template of the pods that it must select.
pub(crate) fn validate_selected_template(
    errors: &mut Errors,
    path: &Path<'_>,
    selector: &ApiSelector,
    template: Option<&PodTemplateSpec>,
    called: Called,
) {
    validate_selector(errors, &path.child("selector"), selector, called);
    let path = path.child("template");
    let Some(template) = template else {
        errors.required(&path, "");
        return;
    };
    validate_selection(errors, &path, LabelSelector::from_api(selector).ok().as_ref(), template);
    validate_template(errors, &path, template);
    validate_runs_for_ever(errors, &path.child("spec"), template, called);
}

/// A selector of pods, which must say something.
pub(crate) fn validate_selector(errors: &mut Errors, path: &Path<'_>, selector: &ApiSelector, called: Called) {
    let json = |value: &ApiSelector| serde_json::to_value(value).unwrap_or_default();
    validate_label_selector(errors, path, selector);
    let empty = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if empty {
        errors.invalid(path, json(selector), &format!("empty selector is invalid for {}", called.selector));
    }
    if LabelSelector::from_api(selector).is_err() {
        errors.invalid(path, json(selector), "invalid label selector");
    }
}

/// Whether a selector selects the pods of a template.
pub(crate) fn validate_selection(
    errors: &mut Errors,
    path: &Path<'_>,
    selector: Option<&LabelSelector>,
    template: &PodTemplateSpec,
) {
    let labels = template.metadata.as_ref().and_then(|meta| meta.labels.as_ref());
    if selector.is_some_and(|selector| !selector.is_everything() && !selector.matches(labels)) {
        let value = serde_json::to_value(labels).unwrap_or_default();
        errors.invalid(&path.child("metadata.labels"), value, "`selector` does not match template `labels`");
    }
}

/// A template whose pods are started anew whatever happens.
pub(crate) fn validate_runs_for_ever(errors: &mut Errors, path: &Path<'_>, template: &PodTemplateSpec, called: Called) {
    let policy = template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or_default();
    if matches!(policy, "OnFailure" | "Never") {
        errors.not_supported(&path.child("restartPolicy"), policy, &["Always"]);
    }
    if template.spec.as_ref().is_some_and(|spec| spec.active_deadline_seconds.is_some()) {
        let detail = format!("activeDeadlineSeconds in {} is not Supported", called.template);
        errors.forbidden(&path.child("activeDeadlineSeconds"), &detail);
    }
}

/// A pod template.
pub(crate) fn validate_template(errors: &mut Errors, path: &Path<'_>, template: &PodTemplateSpec) {
    if let Some(meta) = &template.metadata {
        validate_shared(errors, &path.child("metadata"), meta);
    }
    pod_spec::validate_spec(errors, &path.child("spec"), &template.spec.clone().unwrap_or_default());
    if template.spec.as_ref().is_some_and(|s| s.ephemeral_containers.as_ref().is_some_and(|c| !c.is_empty())) {
        errors.forbidden(&path.child("spec.ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// A number of pods, or a share of them in percent.
pub(crate) fn validate_share(errors: &mut Errors, path: &Path<'_>, share: &IntOrString) {
    match share {
        IntOrString::Int(number) => not_negative(errors, path, Some(i64::from(*number))),
        IntOrString::String(text) => {
            if names::percent(text).is_none() {
                errors.invalid(path, text.as_str(), &names::percent_rule());
            }
        }
    }
}

/// A share of at most all.
pub(crate) fn validate_share_of_whole(errors: &mut Errors, path: &Path<'_>, share: Option<&IntOrString>) {
    if let Some(IntOrString::String(text)) = share
        && names::percent(text).is_some_and(|percent| percent > 100)
    {
        errors.invalid(path, text.as_str(), "must not be greater than 100%");
    }
}

/// Whether a number or share is none.
pub(crate) fn is_zero(share: Option<&IntOrString>) -> bool {
    match share {
        None => true,
        Some(IntOrString::Int(number)) => *number == 0,
        Some(IntOrString::String(text)) => names::percent(text) == Some(0),
    }
}

/// A number or share, as JSON.
pub(crate) fn share_value(share: Option<&IntOrString>) -> Value {
    serde_json::to_value(share).unwrap_or_default()
}

/// Counts in a status, which may be neither negative nor, where told so, above another.
pub(crate) fn validate_counts(errors: &mut Errors, counts: &[(&str, Option<i32>)], replicas: i32, ready: i32) {
    let status = Path::root("status");
    for (name, count) in counts {
        let (path, count) = (status.child(name), count.unwrap_or(0));
        not_negative(errors, &path, Some(i64::from(count)));
        if !matches!(*name, "replicas" | "unavailableReplicas" | "terminatingReplicas") && count > replicas {
            errors.invalid(&path, count, "cannot be greater than status.replicas");
        }
        if *name == "availableReplicas" && count > ready {
            errors.invalid(&path, count, "cannot be greater than readyReplicas");
        }
    }
}

/// The count of names that were taken, which only rises.
pub(crate) fn validate_collisions(errors: &mut Errors, now: Option<i32>, before: Option<i32>) {
    let path = Path::root("status.collisionCount");
    not_negative(errors, &path, now.map(i64::from));
    if before.is_some_and(|before| now.is_none_or(|now| now < before)) {
        errors.invalid(&path, now.unwrap_or(0), "cannot be decremented");
    }
}
