//! Validation.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingRules, HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec,
    MetricTarget,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use crate::field::{Errors, Path};
use crate::metadata::validate_label_selector;
use crate::names;
use crate::quantity::Quantity;

const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
const STABILIZATION_SECONDS_MAX: i32 = 3600;
const PERIOD_SECONDS_MAX: i32 = 1800;

pub(super) fn spec(errors: &mut Errors, path: &Path<'_>, spec: &HorizontalPodAutoscalerSpec) {
    if let Some(least) = spec.min_replicas.filter(|least| *least < 1) {
        errors.invalid(&path.child("minReplicas"), least, "must be greater than or equal to 1");
    }
    let at = path.child("maxReplicas");
    if spec.max_replicas < 1 {
        errors.invalid(&at, spec.max_replicas, "must be greater than 0");
    }
    if spec.min_replicas.is_some_and(|least| spec.max_replicas < least) {
        errors.invalid(&at, spec.max_replicas, "must be greater than or equal to `minReplicas`");
    }
    validate_reference(errors, &path.child("scaleTargetRef"), &spec.scale_target_ref);
    let at = path.child("metrics");
    for (i, metric) in spec.metrics.iter().flatten().enumerate() {
        validate_metric(errors, &at.index(i), metric);
    }
    let behavior = spec.behavior.clone().unwrap_or_default();
    for (field, rules) in [("behavior.scaleUp", behavior.scale_up), ("behavior.scaleDown", behavior.scale_down)] {
        if let Some(rules) = rules {
            validate_rules(errors, &path.child(field), &rules);
        }
    }
}

fn validate_reference(errors: &mut Errors, path: &Path<'_>, reference: &CrossVersionObjectReference) {
    for (field, value) in [("kind", &reference.kind), ("name", &reference.name)] {
        if value.is_empty() {
            errors.required(&path.child(field), "");
        } else {
            errors.invalid_each(&path.child(field), value, names::path_segment(value));
        }
    }
    let version = reference.api_version.as_deref().unwrap_or_default();
    if version.matches('/').count() > 1 {
        errors.invalid(&path.child("apiVersion"), version, &format!("unexpected GroupVersion string: {version}"));
    }
}

fn validate_metric(errors: &mut Errors, path: &Path<'_>, metric: &MetricSpec) {
    let sources = [
        ("ContainerResource", "containerResource", metric.container_resource.is_some()),
        ("External", "external", metric.external.is_some()),
        ("Object", "object", metric.object.is_some()),
        ("Pods", "pods", metric.pods.is_some()),
        ("Resource", "resource", metric.resource.is_some()),
    ];
    match sources.iter().find(|(kind, _, _)| *kind == metric.type_) {
        None if metric.type_.is_empty() => {
            errors.required(&path.child("type"), "must specify a metric source type");
            return;
        }
        None => {
            errors.not_supported(&path.child("type"), metric.type_.as_str(), &TYPES);
            return;
        }
        Some((_, field, false)) => {
            errors.required(&path.child(field), "must populate information for the given metric source");
        }
        Some(_) => {}
    }
    for (kind, field, is_set) in sources {
        if is_set && kind != metric.type_ {
            errors.forbidden(&path.child(field), "must populate the given metric source only");
        }
    }
    if let Some(source) = &metric.object {
        let path = path.child("object");
        validate_reference(errors, &path.child("describedObject"), &source.described_object);
        validate_name(errors, &path.child("metric"), &source.metric);
        validate_raw(errors, &path.child("target"), &source.target, true);
    }
    if let Some(source) = &metric.external {
        let path = path.child("external");
        validate_name(errors, &path.child("metric"), &source.metric);
        validate_raw(errors, &path.child("target"), &source.target, true);
    }
    if let Some(source) = &metric.pods {
        let path = path.child("pods");
        validate_name(errors, &path.child("metric"), &source.metric);
        validate_raw(errors, &path.child("target"), &source.target, false);
    }
    if let Some(source) = &metric.resource {
        validate_resource(errors, &path.child("resource"), &source.name, &source.target);
    }
    if let Some(source) = &metric.container_resource {
        let path = path.child("containerResource");
        if source.container.is_empty() {
            errors.required(&path.child("container"), "must specify a container");
        }
        validate_resource(errors, &path, &source.name, &source.target);
    }
}

fn validate_name(errors: &mut Errors, path: &Path<'_>, metric: &MetricIdentifier) {
    if metric.name.is_empty() {
        errors.required(&path.child("name"), "must specify a metric name");
    } else {
        errors.invalid_each(&path.child("name"), &metric.name, names::path_segment(&metric.name));
    }
    if let Some(selector) = &metric.selector {
        validate_label_selector(errors, &path.child("selector"), selector);
    }
}

/// A target that is an amount: one for all pods, or an average of them.
fn validate_raw(errors: &mut Errors, path: &Path<'_>, target: &MetricTarget, whole: bool) {
    validate_target(errors, path, target);
    match (&target.value, &target.average_value) {
        (None, None) if whole => {
            errors
                .required(&path.child("averageValue"), "must set either a target value for metric or a per-pod target");
        }
        (_, None) if !whole => {
            errors.required(&path.child("averageValue"), "must specify a positive target averageValue");
        }
        (Some(_), Some(_)) if whole => {
            errors.forbidden(&path.child("value"), "may not set both a target value for metric and a per-pod target");
        }
        _ => {}
    }
}

fn validate_resource(errors: &mut Errors, path: &Path<'_>, name: &str, target: &MetricTarget) {
    if name.is_empty() {
        errors.required(&path.child("name"), "must specify a resource name");
    }
    let path = path.child("target");
    validate_target(errors, &path, target);
    match (target.average_utilization, &target.average_value) {
        (None, None) => {
            let detail = "must set either a target raw value or a target utilization";
            errors.required(&path.child("averageUtilization"), detail);
        }
        (Some(_), Some(_)) => {
            let detail = "may not set both a target raw value and a target utilization";
            errors.forbidden(&path.child("averageValue"), detail);
        }
        _ => {}
    }
}

fn validate_target(errors: &mut Errors, path: &Path<'_>, target: &MetricTarget) {
    match target.type_.as_str() {
        "" => errors.required(&path.child("type"), "must specify a metric target type"),
        "Utilization" | "Value" | "AverageValue" => {}
        other => {
            errors.invalid(&path.child("type"), other, "must be either Utilization, Value, or AverageValue");
        }
    }
    for (field, value) in [("value", &target.value), ("averageValue", &target.average_value)] {
        if let Some(value) = value {
            validate_positive(errors, &path.child(field), value);
        }
    }
    if let Some(percent) = target.average_utilization.filter(|percent| *percent < 1) {
        errors.invalid(&path.child("averageUtilization"), percent, "must be greater than 0");
    }
}

fn validate_positive(errors: &mut Errors, path: &Path<'_>, value: &ApiQuantity) {
    match Quantity::try_from(value) {
        Ok(amount) if amount > Quantity::ZERO => {}
        Ok(_) => errors.invalid(path, value.0.as_str(), "must be positive"),
        Err(error) => errors.invalid(path, value.0.as_str(), &error.to_string()),
    }
}

fn validate_rules(errors: &mut Errors, path: &Path<'_>, rules: &HPAScalingRules) {
    let at = path.child("stabilizationWindowSeconds");
    match rules.stabilization_window_seconds {
        Some(seconds) if seconds < 0 => errors.invalid(&at, seconds, "must be greater than or equal to zero"),
        Some(seconds) if seconds > STABILIZATION_SECONDS_MAX => {
            errors.invalid(&at, seconds, &format!("must be less than or equal to {STABILIZATION_SECONDS_MAX}"));
        }
        _ => {}
    }
    let selections = ["Disabled", "Max", "Min"];
    if let Some(policy) = rules.select_policy.as_deref().filter(|policy| !selections.contains(policy)) {
        errors.not_supported(&path.child("selectPolicy"), policy, &selections);
    }
    let at = path.child("policies");
    let policies = rules.policies.as_deref().unwrap_or_default();
    if policies.is_empty() {
        errors.required(&at, "must specify at least one Policy");
    }
    for (i, policy) in policies.iter().enumerate() {
        let at = at.index(i);
        if !matches!(policy.type_.as_str(), "Percent" | "Pods") {
            errors.not_supported(&at.child("type"), policy.type_.as_str(), &["Percent", "Pods"]);
        }
        if policy.value <= 0 {
            errors.invalid(&at.child("value"), policy.value, "must be greater than zero");
        }
        let at = at.child("periodSeconds");
        if policy.period_seconds <= 0 {
            errors.invalid(&at, policy.period_seconds, "must be greater than zero");
        }
        if policy.period_seconds > PERIOD_SECONDS_MAX {
            errors.invalid(&at, policy.period_seconds, &format!("must be less than or equal to {PERIOD_SECONDS_MAX}"));
        }
    }
}
