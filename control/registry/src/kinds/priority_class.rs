//! PriorityClass.

use jiff::Timestamp;
use k8s_openapi::api::scheduling::v1::PriorityClass;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

/// Names for pods' priorities.
pub(crate) struct PriorityClasses;

/// What users may give at most; above it are the cluster's own pods.
const USER_VALUE_MAX: i32 = 1_000_000_000;
const SYSTEM: &str = "system-";
/// The cluster's own classes and their values.
const KNOWN: [(&str, i32); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

impl Kind for PriorityClasses {
    type Object = PriorityClass;

    const SINGULAR: &'static str = "priorityclass";
    const SHORT_NAMES: &'static [&'static str] = &["pc"];
    const FIELDS: &'static [&'static str] = &["metadata.name"];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::number("Value", "The priority of its pods."),
        table::boolean("Global-Default", "Whether it is for pods that name no class."),
        table::AGE,
        table::text("PreemptionPolicy", "Whether its pods may take the place of others."),
    ];

    fn default(object: &mut PriorityClass) {
        object.value.get_or_insert(0);
        object.preemption_policy.get_or_insert_with(|| "PreemptLowerPriority".to_owned());
    }

    fn prepare_for_create(object: &mut PriorityClass) {
        object.metadata.generation = Some(1);
    }

    fn validate(object: &PriorityClass) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if name.starts_with(SYSTEM) {
            if let Err(why) = known(name, object) {
                let why = format!(
                    "priority class names with '{SYSTEM}' prefix are reserved for system use only. error: {why}"
                );
                errors.forbidden(&Path::root("metadata.name"), &why);
            }
        } else if object.value.unwrap_or(0) > USER_VALUE_MAX {
            let why = format!("maximum allowed value of a user defined priority is {USER_VALUE_MAX}");
            errors.forbidden(&Path::root("value"), &why);
        }
        let path = Path::root("preemptionPolicy");
        match object.preemption_policy.as_deref() {
            None | Some("PreemptLowerPriority" | "Never") => {}
            Some("") => errors.required(&path, ""),
            Some(other) => errors.not_supported(&path, other, &["PreemptLowerPriority", "Never"]),
        }
        errors.into_vec()
    }

    fn validate_update(new: &PriorityClass, old: &PriorityClass) -> Vec<FieldError> {
        let mut errors = Errors::new();
        if new.value != old.value {
            errors.forbidden(&Path::root("value"), "may not be changed in an update.");
        }
        if new.preemption_policy != old.preemption_policy {
            let now = new.preemption_policy.as_deref().unwrap_or_default();
            errors.invalid(&Path::root("preemptionPolicy"), now, "field is immutable");
        }
        errors.into_vec()
    }

    fn row(object: &PriorityClass, now: Timestamp) -> Vec<Cell> {
        vec![
            table::name(&object.metadata),
            Cell::from(object.value.unwrap_or(0)),
            Cell::from(object.global_default.unwrap_or(false)),
            table::age(&object.metadata, now),
            Cell::from(object.preemption_policy.as_deref().unwrap_or_default()),
        ]
    }
}

fn known(name: &str, class: &PriorityClass) -> Result<(), String> {
    let Some((_, value)) = KNOWN.iter().find(|(known, _)| *known == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if class.value != Some(*value) {
        return Err(format!("value of {name} PriorityClass must be {value}"));
    }
    if class.global_default == Some(true) {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn class(name: &str, value: i32, more: Value) -> PriorityClass {
        let mut class = json!({"metadata": {"name": name}, "value": value});
        for (key, value) in more.as_object().unwrap() {
            class[key] = value.clone();
        }
        crate::decode::decode(class).unwrap().0
    }

    #[test]
    fn high_values_and_system_names_are_the_clusters_own() {
        let faults = |class: &PriorityClass| -> Vec<String> {
            PriorityClasses::validate(class).iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
        };
        assert!(faults(&class("a", 1_000_000_000, json!({}))).is_empty());
        assert!(faults(&class("system-node-critical", 2_000_001_000, json!({}))).is_empty());
        assert_eq!(
            faults(&class("a", 1_000_000_001, json!({"preemptionPolicy": "Always"}))),
            [
                "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
                "preemptionPolicy: Unsupported value: \"Always\": supported values: \"PreemptLowerPriority\", \"Never\"",
            ]
        );
        assert_eq!(
            faults(&class("system-a", 1, json!({}))),
            ["metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. \
              error: system-a is not a known system priority class"]
        );
        let errors = PriorityClasses::validate_update(&class("a", 2, json!({})), &class("a", 1, json!({})));
        assert_eq!(errors[0].message, "Forbidden: may not be changed in an update.");
    }
}
