//! When a Job has failed or succeeded, and when its pods are replaced.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicyRule,
};

use crate::field::{Errors, Path};
use crate::names;
use crate::workload::not_negative;

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const INDEX_BYTES_MAX: usize = 64 * 1024;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

pub(super) fn validate(errors: &mut Errors, path: &Path<'_>, spec: &JobSpec) {
    let indexed = spec.completion_mode.as_deref() == Some("Indexed");
    if let Some(policy) = &spec.pod_failure_policy {
        let at = path.child("podFailurePolicy.rules");
        if policy.rules.len() > RULES_MAX {
            errors.too_many(&at, policy.rules.len(), RULES_MAX);
        }
        let pod = spec.template.spec.as_ref();
        let init = pod.and_then(|pod| pod.init_containers.as_deref()).unwrap_or_default();
        let containers = pod.into_iter().flat_map(|pod| &pod.containers).chain(init);
        let containers: BTreeSet<&str> = containers.map(|container| container.name.as_str()).collect();
        for (i, rule) in policy.rules.iter().enumerate() {
            validate_rule(errors, &at.index(i), rule, spec, &containers);
        }
    }
    if let Some(policy) = &spec.success_policy {
        let at = path.child("successPolicy");
        if indexed {
            validate_success(errors, &at.child("rules"), &policy.rules, spec);
        } else {
            let value = serde_json::to_value(policy).unwrap_or_default();
            errors.invalid(&at, value, "requires indexed completion mode");
        }
    }
    if let Some(policy) = spec.pod_replacement_policy.as_deref() {
        let at = path.child("podReplacementPolicy");
        match (policy, spec.pod_failure_policy.is_some()) {
            ("Failed", _) | ("TerminatingOrFailed", false) => {}
            (other, true) => errors.not_supported(&at, other, &["Failed"]),
            (other, false) => errors.not_supported(&at, other, &["Failed", "TerminatingOrFailed"]),
        }
    }
}

fn validate_rule(
    errors: &mut Errors,
    path: &Path<'_>,
    rule: &PodFailurePolicyRule,
    spec: &JobSpec,
    containers: &BTreeSet<&str>,
) {
    let at = path.child("action");
    match rule.action.as_str() {
        "" => errors.required(&at, "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"),
        "FailIndex" if spec.backoff_limit_per_index.is_none() => {
            errors.invalid(&at, "FailIndex", "requires the backoffLimitPerIndex to be set");
        }
        action if ACTIONS.contains(&action) => {}
        other => errors.not_supported(&at, other, &ACTIONS),
    }
    let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
    match (&rule.on_exit_codes, patterns.is_empty()) {
        (Some(_), false) => {
            errors.invalid(
                path,
                serde_json::Value::Null,
                "specifying both OnExitCodes and OnPodConditions is not supported",
            );
        }
        (None, true) => {
            errors.invalid(
                path,
                serde_json::Value::Null,
                "specifying one of OnExitCodes and OnPodConditions is required",
            );
        }
        _ => {}
    }
    if let Some(codes) = &rule.on_exit_codes {
        validate_exit_codes(errors, &path.child("onExitCodes"), codes, containers);
    }
    let at = path.child("onPodConditions");
    if patterns.len() > PATTERNS_MAX {
        errors.too_many(&at, patterns.len(), PATTERNS_MAX);
    }
    for (i, pattern) in patterns.iter().enumerate() {
        let at = at.index(i);
        errors.invalid_each(&at.child("type"), &pattern.type_, names::qualified_name(&pattern.type_));
        match pattern.status.as_deref().unwrap_or_default() {
            "True" | "False" | "Unknown" => {}
            "" => errors.required(&at.child("status"), "valid values: [\"False\" \"True\" \"Unknown\"]"),
            other => errors.not_supported(&at.child("status"), other, &["False", "True", "Unknown"]),
        }
    }
}

fn validate_exit_codes(
    errors: &mut Errors,
    path: &Path<'_>,
    codes: &PodFailurePolicyOnExitCodesRequirement,
    containers: &BTreeSet<&str>,
) {
    match codes.operator.as_str() {
        "In" | "NotIn" => {}
        "" => errors.required(&path.child("operator"), "valid values: [\"In\" \"NotIn\"]"),
        other => errors.not_supported(&path.child("operator"), other, &["In", "NotIn"]),
    }
    if let Some(name) = codes.container_name.as_deref().filter(|name| !containers.contains(name)) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&path.child("containerName"), name, detail);
    }
    let at = path.child("values");
    if codes.values.is_empty() {
        errors.invalid(&at, codes.values.clone(), "at least one value is required");
    } else if codes.values.len() > EXIT_CODES_MAX {
        errors.too_many(&at, codes.values.len(), EXIT_CODES_MAX);
    }
    let mut seen = BTreeSet::new();
    for (i, value) in codes.values.iter().enumerate() {
        if codes.operator == "In" && *value == 0 {
            errors.invalid(&at.index(i), *value, "must not be 0 for the In operator");
        }
        if !seen.insert(*value) {
            errors.duplicate(&at.index(i), *value);
        }
    }
    if !codes.values.is_sorted() {
        errors.invalid(&at, codes.values.clone(), "must be ordered");
    }
}

fn validate_success(errors: &mut Errors, path: &Path<'_>, rules: &[SuccessPolicyRule], spec: &JobSpec) {
    if rules.is_empty() {
        errors.required(path, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > RULES_MAX {
        errors.too_many(path, rules.len(), RULES_MAX);
    }
    let completions = spec.completions.unwrap_or(0);
    for (i, rule) in rules.iter().enumerate() {
        let path = path.index(i);
        if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
            errors.required(&path, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut total = None;
        if let Some(text) = rule.succeeded_indexes.as_deref() {
            let at = path.child("succeededIndexes");
            if text.len() > INDEX_BYTES_MAX {
                errors.too_long(&at, INDEX_BYTES_MAX);
            } else {
                match count_indexes(text, completions) {
                    Ok(count) => total = Some(count),
                    Err(why) => errors.invalid(&at, text, &format!("error parsing succeededIndexes: {why}")),
                }
            }
        }
        let Some(count) = rule.succeeded_count else { continue };
        let at = path.child("succeededCount");
        not_negative(errors, &at, Some(i64::from(count)));
        if count > completions {
            let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.invalid(&at, count, &detail);
        }
        if let Some(total) = total.filter(|total| i64::from(count) > *total) {
            let detail = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            errors.invalid(&at, count, &detail);
        }
    }
}

/// How many indexes a text such as `1,3-5,7` names.
fn count_indexes(text: &str, completions: i32) -> Result<i64, String> {
    let parse =
        |text: &str| text.parse::<i32>().map_err(|_| format!("cannot convert string to integer for index: {text:?}"));
    let (mut total, mut last) = (0, None);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let limits: Vec<&str> = part.split('-').collect();
        let (low, high) = match limits.as_slice() {
            [one] => (parse(one)?, parse(one)?),
            [low, high] => (parse(low)?, parse(high)?),
            _ => {
                return Err(format!(
                    "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
                ));
            }
        };
        if limits.len() == 2 && low >= high {
            return Err(format!("non-increasing order, previous: {low}, current: {high}"));
        }
        for index in [low, high] {
            if index >= completions {
                return Err(format!("too large index: {index:?}"));
            }
        }
        if let Some(last) = last.filter(|last| low <= *last) {
            return Err(format!("non-increasing order, previous: {last}, current: {low}"));
        }
        last = Some(high);
        total += i64::from(high) - i64::from(low) + 1;
    }
    Ok(total)
}
