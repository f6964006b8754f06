//! ResourceQuota.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec, ScopeSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::pod_spec::validate_quantity;
use crate::quantity::Quantity;
use crate::resource_name;
use crate::strategy::{Cell, Column, FieldError, Subresource};
use crate::table;

/// How much of what a namespace may have.
pub(crate) struct ResourceQuotas;

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
const CONFLICTS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
/// What is measured of pods, beside their number.
const COMPUTE: [&str; 6] = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

impl Kind for ResourceQuotas {
    type Object = ResourceQuota;

    const SINGULAR: &'static str = "resourcequota";
    const SHORT_NAMES: &'static [&'static str] = &["quota"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Request", "What is used of what may be requested."),
        table::text("Limit", "What is used of what limits may add up to."),
        table::AGE,
    ];

    fn set_status(object: &mut ResourceQuota, from: Option<&ResourceQuota>) {
        object.status = Some(from.and_then(|from| from.status.clone()).unwrap_or_default());
    }

    fn validate(object: &ResourceQuota) -> Vec<FieldError> {
        let mut errors = Errors::new();
        if let Some(spec) = &object.spec {
            validate_amounts(&mut errors, &Path::root("spec.hard"), spec.hard.as_ref());
            validate_scopes(&mut errors, spec);
            validate_selector(&mut errors, spec);
        }
        errors.into_vec()
    }

    fn validate_update(new: &ResourceQuota, old: &ResourceQuota) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        let scopes = |quota: &ResourceQuota| -> BTreeSet<String> {
            quota.spec.iter().flat_map(|spec| spec.scopes.iter().flatten()).cloned().collect()
        };
        if scopes(new) != scopes(old) {
            let now = new.spec.as_ref().and_then(|spec| spec.scopes.clone()).unwrap_or_default();
            errors.invalid(&Path::root("spec.scopes"), now, "field is immutable");
        }
        errors.into_vec()
    }

    fn validate_status_update(new: &ResourceQuota, _: &ResourceQuota) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let status = new.status.as_ref();
        validate_amounts(&mut errors, &Path::root("status.hard"), status.and_then(|status| status.hard.as_ref()));
        validate_amounts(&mut errors, &Path::root("status.used"), status.and_then(|status| status.used.as_ref()));
        errors.into_vec()
    }

    fn row(object: &ResourceQuota, now: Timestamp) -> Vec<Cell> {
        let status = object.status.clone().unwrap_or_default();
        let used = status.used.unwrap_or_default();
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (name, hard) in status.hard.iter().flatten() {
            let used = used.get(name).map_or("0", |amount| amount.0.as_str());
            let column = if name.starts_with("limits.") { &mut limits } else { &mut requests };
            column.push(format!("{name}: {used}/{}", hard.0));
        }
        let cell = |parts: Vec<String>| Cell::from(parts.join(", "));
        vec![table::name(&object.metadata), cell(requests), cell(limits), table::age(&object.metadata, now)]
    }
}

fn validate_amounts(errors: &mut Errors, path: &Path<'_>, amounts: Option<&BTreeMap<String, ApiQuantity>>) {
    for (name, amount) in amounts.into_iter().flatten() {
        let path = path.key(name);
        resource_name::validate_in_quota(errors, &path, name);
        validate_quantity(errors, &path, amount);
        if resource_name::is_counted(name) && Quantity::try_from(amount).is_ok_and(|amount| !amount.is_whole()) {
            errors.invalid(&path, amount.0.as_str(), "must be an integer");
        }
    }
}

/// Whether objects within a scope have this at all.
fn applies(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            resource == "pods" || COMPUTE.contains(&resource)
        }
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn misapplied(spec: &ResourceQuotaSpec, scope: &str) -> usize {
    let hard = spec.hard.iter().flat_map(BTreeMap::keys);
    hard.filter(|name| resource_name::is_standard_in_quota(name) && !applies(scope, name)).count()
}

fn conflict(scopes: &BTreeSet<&str>) -> bool {
    CONFLICTS.iter().any(|pair| pair.iter().all(|scope| scopes.contains(scope)))
}

fn validate_scopes(errors: &mut Errors, spec: &ResourceQuotaSpec) {
    let Some(scopes) = spec.scopes.as_ref().filter(|scopes| !scopes.is_empty()) else { return };
    let path = Path::root("spec.scopes");
    for scope in scopes {
        if !SCOPES.contains(&scope.as_str()) {
            errors.invalid(&path, scopes.clone(), "unsupported scope");
        }
        for _ in 0..misapplied(spec, scope) {
            errors.invalid(&path, scopes.clone(), "unsupported scope applied to resource");
        }
    }
    if conflict(&scopes.iter().map(String::as_str).collect()) {
        errors.invalid(&path, scopes.clone(), "conflicting scopes");
    }
}

const EXISTS_ONLY: &str = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
     ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
     ResourceQuotaScopeCrossNamespacePodAffinity";

fn validate_selector(errors: &mut Errors, spec: &ResourceQuotaSpec) {
    let Some(selector) = &spec.scope_selector else { return };
    let path = Path::root("spec.scopeSelector.matchExpressions");
    let shown = |selector: &ScopeSelector| serde_json::to_value(selector).unwrap_or(Value::Null);
    let mut scopes = BTreeSet::new();
    for term in selector.match_expressions.iter().flatten() {
        let scope = term.scope_name.as_str();
        if !SCOPES.contains(&scope) {
            errors.invalid(&path.child("scopeName"), scope, "unsupported scope");
        }
        for _ in 0..misapplied(spec, scope) {
            errors.invalid(&path, shown(selector), "unsupported scope applied to resource");
        }
        let named = matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if SCOPES.contains(&scope) && !named && term.operator != "Exists" {
            errors.invalid(&path.child("operator"), term.operator.as_str(), EXISTS_ONLY);
        }
        let values = term.values.clone().unwrap_or_default();
        match term.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => errors.required(
                &path.child("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.invalid(
                &path.child("values"),
                values,
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        scopes.insert(scope);
    }
    if conflict(&scopes) {
        errors.invalid(&path, spec.scopes.clone().unwrap_or_default(), "conflicting scopes");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn quota(spec: Value) -> ResourceQuota {
        crate::decode::decode(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap().0
    }

    fn text(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
    }

    #[test]
    fn names_and_amounts_are_checked() {
        let faults = |hard: Value| text(&ResourceQuotas::validate(&quota(json!({"hard": hard}))));
        let fine = json!({
            "cpu": "100m", "pods": "3", "count/widgets.example.com": "2", "requests.example.com/gpu": "1",
            "gold.storageclass.storage.k8s.io/requests.storage": "1Gi", "requests.hugepages-2Mi": "4Mi",
        });
        assert_eq!(faults(fine), Vec::<String>::new());
        assert_eq!(
            faults(json!({"pods": "1500m", "memory": "-1"})),
            [
                "spec.hard[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
                "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
            ]
        );
        assert_eq!(
            faults(json!({"widgets": "1"})),
            [
                "spec.hard[widgets]: Invalid value: \"widgets\": must be a standard resource type or fully qualified",
                "spec.hard[widgets]: Invalid value: \"widgets\": must be a standard resource for quota",
            ]
        );
    }

    #[test]
    fn scopes_must_fit_each_other_and_the_resources() {
        let faults = |spec: Value| text(&ResourceQuotas::validate(&quota(spec)));
        assert!(faults(json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "Terminating"]})).is_empty());
        assert_eq!(
            faults(json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]})),
            ["spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource"]
        );
        assert_eq!(
            faults(json!({"scopes": ["Terminating", "NotTerminating"]})),
            ["spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\"]: conflicting scopes"]
        );
        let selector = |term: Value| json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [term]}});
        let high = json!({"scopeName": "PriorityClass", "operator": "In", "values": ["high"]});
        assert!(faults(selector(high)).is_empty());
        assert_eq!(
            faults(selector(json!({"scopeName": "PriorityClass", "operator": "In"}))),
            [
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is \
              'In' or 'NotIn' for scope selector"
            ]
        );
        let new = quota(json!({"scopes": ["BestEffort"]}));
        assert_eq!(
            text(&ResourceQuotas::validate_update(&new, &quota(json!({})))),
            ["spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable"]
        );
    }

    #[test]
    fn the_table_shows_what_is_used() {
        let mut quota = quota(json!({}));
        quota.status = serde_json::from_value(
            json!({"hard": {"pods": "3", "limits.cpu": "2"}, "used": {"pods": "1", "limits.cpu": "500m"}}),
        )
        .unwrap();
        let row = ResourceQuotas::row(&quota, Timestamp::UNIX_EPOCH);
        assert_eq!(row[1..3], [Cell::from("pods: 1/3"), Cell::from("limits.cpu: 500m/2")]);
    }
}
