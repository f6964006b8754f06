//! StorageClass.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::TopologySelectorTerm;
use k8s_openapi::api::storage::v1::StorageClass;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::names;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

/// Sorts of storage that claims ask for.
pub(crate) struct StorageClasses;

const PARAMETERS_MAX: usize = 512;
const PARAMETER_BYTES_MAX: usize = 256 * 1024;
const DEFAULT_ANNOTATIONS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

impl Kind for StorageClasses {
    type Object = StorageClass;

    const SINGULAR: &'static str = "storageclass";
    const SHORT_NAMES: &'static [&'static str] = &["sc"];
    const FIELDS: &'static [&'static str] = &["metadata.name"];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Provisioner", "Who makes its volumes."),
        table::text("ReclaimPolicy", "What becomes of a volume that is released."),
        table::text("VolumeBindingMode", "When a claim gets its volume."),
        table::boolean("AllowVolumeExpansion", "Whether claims may grow."),
        table::AGE,
    ];

    fn default(object: &mut StorageClass) {
        object.reclaim_policy.get_or_insert_with(|| "Delete".to_owned());
        object.volume_binding_mode.get_or_insert_with(|| "Immediate".to_owned());
    }

    fn validate(object: &StorageClass) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let path = Path::root("provisioner");
        if object.provisioner.is_empty() {
            errors.required(&path, "");
        } else {
            errors.invalid_each(&path, &object.provisioner, names::qualified_name(&object.provisioner.to_lowercase()));
        }
        validate_parameters(&mut errors, object.parameters.as_ref());
        let path = Path::root("reclaimPolicy");
        if let Some(policy) = object.reclaim_policy.as_deref()
            && !matches!(policy, "Delete" | "Retain")
        {
            errors.not_supported(&path, policy, &["Delete", "Retain"]);
        }
        let path = Path::root("volumeBindingMode");
        match object.volume_binding_mode.as_deref() {
            Some("Immediate" | "WaitForFirstConsumer") => {}
            None => errors.required(&path, ""),
            Some(other) => errors.not_supported(&path, other, &["Immediate", "WaitForFirstConsumer"]),
        }
        validate_topologies(&mut errors, object.allowed_topologies.as_deref().unwrap_or_default());
        errors.into_vec()
    }

    fn validate_update(new: &StorageClass, old: &StorageClass) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        if new.parameters.clone().unwrap_or_default() != old.parameters.clone().unwrap_or_default() {
            errors.forbidden(&Path::root("parameters"), "updates to parameters are forbidden.");
        }
        if new.provisioner != old.provisioner {
            errors.forbidden(&Path::root("provisioner"), "updates to provisioner are forbidden.");
        }
        if new.reclaim_policy != old.reclaim_policy {
            errors.forbidden(&Path::root("reclaimPolicy"), "updates to reclaimPolicy are forbidden.");
        }
        if new.volume_binding_mode != old.volume_binding_mode {
            let now = new.volume_binding_mode.as_deref().unwrap_or_default();
            errors.invalid(&Path::root("volumeBindingMode"), now, "field is immutable");
        }
        errors.into_vec()
    }

    fn row(object: &StorageClass, now: Timestamp) -> Vec<Cell> {
        let annotations = object.metadata.annotations.as_ref();
        let is_default = DEFAULT_ANNOTATIONS
            .iter()
            .any(|key| annotations.and_then(|annotations| annotations.get(*key)).is_some_and(|value| value == "true"));
        let name = object.metadata.name.as_deref().unwrap_or_default();
        vec![
            if is_default { Cell::from(format!("{name} (default)")) } else { Cell::from(name) },
            Cell::from(object.provisioner.as_str()),
            Cell::from(object.reclaim_policy.as_deref().unwrap_or("Delete")),
            Cell::from(object.volume_binding_mode.as_deref().unwrap_or("Immediate")),
            Cell::from(object.allow_volume_expansion.unwrap_or(false)),
            table::age(&object.metadata, now),
        ]
    }
}

fn validate_parameters(errors: &mut Errors, parameters: Option<&BTreeMap<String, String>>) {
    let Some(parameters) = parameters else { return };
    let path = Path::root("parameters");
    if parameters.len() > PARAMETERS_MAX {
        errors.too_long(&path, PARAMETERS_MAX);
    }
    if let Some(key) = parameters.keys().find(|key| key.is_empty()) {
        errors.invalid(&path, key.as_str(), "field can not be empty.");
    }
    if parameters.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > PARAMETER_BYTES_MAX {
        errors.too_long(&path, PARAMETER_BYTES_MAX);
    }
}

fn validate_topologies(errors: &mut Errors, terms: &[TopologySelectorTerm]) {
    let root = Path::root("allowedTopologies");
    let mut seen = BTreeSet::new();
    for (index, term) in terms.iter().enumerate() {
        let path = root.index(index);
        let list = path.child("matchLabelExpressions");
        let mut keys = BTreeMap::new();
        for (index, expression) in term.match_label_expressions.iter().flatten().enumerate() {
            let path = list.index(index);
            let key = expression.key.as_str();
            errors.invalid_each(&path.child("key"), key, names::qualified_name(key));
            let values: BTreeSet<&String> = expression.values.iter().collect();
            if values.is_empty() {
                errors.required(&path.child("values"), "");
            }
            if values.len() < expression.values.len() {
                let mut earlier = BTreeSet::new();
                for (index, value) in expression.values.iter().enumerate().filter(|(_, value)| !earlier.insert(*value))
                {
                    errors.duplicate(&path.child("values").index(index), value.as_str());
                }
            }
            if keys.insert(key, values).is_some() {
                errors.duplicate(&path.child("key"), key);
            }
        }
        if !seen.insert(keys) {
            errors.duplicate(&list, "");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn class(value: Value) -> StorageClass {
        let mut class = crate::decode::decode(value).unwrap().0;
        StorageClasses::default(&mut class);
        class
    }

    fn text(errors: Vec<FieldError>) -> Vec<String> {
        errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
    }

    #[test]
    fn fields_are_checked_and_most_never_change() {
        let good = class(json!({"metadata": {"name": "a"}, "provisioner": "example.com/Disk"}));
        assert!(text(StorageClasses::validate(&good)).is_empty());
        let bad = class(json!({
            "provisioner": "", "reclaimPolicy": "Recycle", "volumeBindingMode": "Later", "parameters": {"": "a"},
            "allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": []}]}],
        }));
        assert_eq!(
            text(StorageClasses::validate(&bad)),
            [
                "provisioner: Required value",
                "parameters: Invalid value: \"\": field can not be empty.",
                "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
                "volumeBindingMode: Unsupported value: \"Later\": supported values: \"Immediate\", \
                 \"WaitForFirstConsumer\"",
                "allowedTopologies[0].matchLabelExpressions[0].values: Required value",
            ]
        );
        let other = class(json!({"provisioner": "b", "parameters": {"a": "b"}, "reclaimPolicy": "Retain"}));
        assert_eq!(
            text(StorageClasses::validate_update(&other, &good)),
            [
                "parameters: Forbidden: updates to parameters are forbidden.",
                "provisioner: Forbidden: updates to provisioner are forbidden.",
                "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
            ]
        );
    }

    #[test]
    fn the_default_class_is_marked() {
        let annotations = json!({"storageclass.kubernetes.io/is-default-class": "true"});
        let class = class(json!({"metadata": {"name": "a", "annotations": annotations}, "provisioner": "b"}));
        assert_eq!(StorageClasses::row(&class, Timestamp::UNIX_EPOCH)[0], Cell::from("a (default)"));
    }
}
