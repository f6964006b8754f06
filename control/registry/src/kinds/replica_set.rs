//! ReplicaSet.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;

use crate::field::{Errors, Path};
use crate::kind::{Kind, with_generations, with_status};
use crate::pod_spec;
use crate::strategy::{Cell, Column, FieldError, Scale, Subresource};
use crate::table;
use crate::workload::{self, REPLICAS, not_negative};

/// Columns of kinds that keep a number of pods.
pub(super) const COLUMNS: &[Column] = &[
    table::NAME,
    table::number("Desired", "How many pods are wanted."),
    table::number("Current", "How many pods there are."),
    table::number("Ready", "How many pods are ready."),
    table::AGE,
    workload::CONTAINERS,
    workload::IMAGES,
    workload::SELECTOR,
];

/// ReplicaSets.
pub(crate) struct ReplicaSets;

impl Kind for ReplicaSets {
    type Object = ReplicaSet;

    const SINGULAR: &'static str = "replicaset";
    const SHORT_NAMES: &'static [&'static str] = &["rs"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status, Subresource::Scale];
    const COLUMNS: &'static [Column] = COLUMNS;
    const FIELDS: &'static [&'static str] = &["metadata.name", "metadata.namespace", "status.replicas"];

    fn default(object: &mut ReplicaSet) {
        object.spec.replicas.get_or_insert(1);
        object.spec.template.as_mut().map(workload::default_template);
    }

    with_status!(ReplicaSet);
    with_generations!(ReplicaSet);

    fn validate(object: &ReplicaSet) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (path, spec) = (Path::root("spec"), &object.spec);
        not_negative(&mut errors, &path.child("replicas"), spec.replicas.map(i64::from));
        not_negative(&mut errors, &path.child("minReadySeconds"), spec.min_ready_seconds.map(i64::from));
        workload::validate_selected_template(&mut errors, &path, &spec.selector, spec.template.as_ref(), REPLICAS);
        errors.into_vec()
    }

    fn warnings(new: &ReplicaSet, old: Option<&ReplicaSet>) -> Vec<String> {
        // Nothing new is said where the spec stays.
        if old.is_some_and(|old| old.spec == new.spec) {
            return Vec::new();
        }
        let template = new.spec.template.iter();
        template.flat_map(|template| pod_spec::template_warnings(&Path::root("spec.template"), template)).collect()
    }

    fn validate_update(new: &ReplicaSet, old: &ReplicaSet) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        errors.immutable(&Path::root("spec.selector"), &new.spec.selector, &old.spec.selector);
        errors.into_vec()
    }

    fn validate_status_update(new: &ReplicaSet, _old: &ReplicaSet) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let status = new.status.clone().unwrap_or_default();
        not_negative(&mut errors, &Path::root("status.observedGeneration"), status.observed_generation);
        let counts = [
            ("replicas", Some(status.replicas)),
            ("fullyLabeledReplicas", status.fully_labeled_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
            ("terminatingReplicas", status.terminating_replicas),
        ];
        workload::validate_counts(&mut errors, &counts, status.replicas, status.ready_replicas.unwrap_or(0));
        errors.into_vec()
    }

    fn scale(object: &ReplicaSet) -> Option<Scale> {
        Some(Scale {
            replicas: object.spec.replicas.unwrap_or(0),
            status_replicas: object.status.as_ref().map_or(0, |status| status.replicas),
            selector: workload::selector_text(&object.spec.selector),
        })
    }

    fn set_replicas(object: &mut ReplicaSet, replicas: i32) {
        object.spec.replicas = Some(replicas);
    }

    fn row(object: &ReplicaSet, now: Timestamp) -> Vec<Cell> {
        let status = object.status.clone().unwrap_or_default();
        let mut cells = vec![
            table::name(&object.metadata),
            Cell::from(object.spec.replicas.unwrap_or(0)),
            Cell::from(status.replicas),
            Cell::from(status.ready_replicas.unwrap_or(0)),
            table::age(&object.metadata, now),
        ];
        cells.extend(workload::wide_cells(
            object.spec.template.as_ref(),
            workload::selector_text(&object.spec.selector),
        ));
        cells
    }

    fn fields(object: &ReplicaSet) -> Vec<(&'static str, String)> {
        vec![("status.replicas", object.status.as_ref().map_or(0, |status| status.replicas).to_string())]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_required_and_counts_must_add_up() {
        let mut object: ReplicaSet = crate::decode::decode(json!({"spec": {"selector": {}}})).unwrap().0;
        ReplicaSets::default(&mut object);
        let errors: Vec<String> = ReplicaSets::validate(&object).iter().map(|e| e.field.clone()).collect();
        assert_eq!(errors, ["spec.selector", "spec.template"]);
        assert_eq!(ReplicaSets::scale(&object).unwrap().replicas, 1);

        object.status = crate::decode::decode(json!({"replicas": 1, "readyReplicas": 2})).unwrap().0;
        let errors = ReplicaSets::validate_status_update(&object, &object);
        assert_eq!(errors[0].message, "Invalid value: 2: cannot be greater than status.replicas");
    }
}
