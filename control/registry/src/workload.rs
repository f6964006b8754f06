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

/// Cells for [`CONTAINERS`], [`IMAGES`] and [`SELECTOR`].
pub(crate) fn wide_cells(template: Option<&PodTemplateSpec>, selector: &ApiSelector) -> [Cell; 3] {
    let containers = template.and_then(|template| template.spec.as_ref()).map(|spec| spec.containers.as_slice());
    let join = |parts: Vec<&str>| Cell::from(parts.join(","));
    let containers = containers.unwrap_or_default();
    [
        join(containers.iter().map(|container| container.name.as_str()).collect()),
        join(containers.iter().map(|container| container.image.as_deref().unwrap_or_default()).collect()),
        Cell::from(selector_text(selector)),
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
) {
    let json = |value: &ApiSelector| serde_json::to_value(value).unwrap_or_default();
    let at = path.child("selector");
    validate_label_selector(errors, &at, selector);
    let empty = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if empty {
        errors.invalid(&at, json(selector), "empty selector is invalid for deployment");
    }
    let path = path.child("template");
    let Some(template) = template else {
        errors.required(&path, "");
        return;
    };
    match LabelSelector::from_api(selector) {
        Err(_) => errors.invalid(&at, json(selector), "invalid label selector"),
        Ok(selector) => {
            let labels = template.metadata.as_ref().and_then(|meta| meta.labels.as_ref());
            if !selector.is_everything() && !selector.matches(labels) {
                let value = serde_json::to_value(labels).unwrap_or_default();
                errors.invalid(&path.child("metadata.labels"), value, "`selector` does not match template `labels`");
            }
        }
    }
    validate_template(errors, &path, template);
    let spec = path.child("spec");
    let policy = template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or_default();
    if matches!(policy, "OnFailure" | "Never") {
        errors.not_supported(&spec.child("restartPolicy"), policy, &["Always"]);
    }
    if template.spec.as_ref().is_some_and(|spec| spec.active_deadline_seconds.is_some()) {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.forbidden(&spec.child("activeDeadlineSeconds"), detail);
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
