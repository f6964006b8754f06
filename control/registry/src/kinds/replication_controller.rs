//! ReplicationController.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ReplicationController;

use crate::field::{Errors, Path};
use crate::kind::{Kind, with_generations, with_status};
use crate::selector::LabelSelector;
use crate::strategy::{Cell, Column, FieldError, Scale, Subresource};
use crate::table;
use crate::workload::{self, Called, not_negative};

const CALLED: Called = Called { selector: "replicationcontroller", template: "ReplicationController" };

/// ReplicationControllers.
pub(crate) struct ReplicationControllers;

impl Kind for ReplicationControllers {
    type Object = ReplicationController;

    const SINGULAR: &'static str = "replicationcontroller";
    const SHORT_NAMES: &'static [&'static str] = &["rc"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status, Subresource::Scale];
    const COLUMNS: &'static [Column] = super::replica_set::COLUMNS;
    const FIELDS: &'static [&'static str] = &["metadata.name", "metadata.namespace", "status.replicas"];

    with_status!(ReplicationController);
    with_generations!(ReplicationController);

    fn default(object: &mut ReplicationController) {
        let spec = object.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        let Some(template) = &mut spec.template else { return };
        workload::default_template(template);
        let labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
        for empty in [&mut spec.selector, &mut object.metadata.labels] {
            if empty.as_ref().is_none_or(BTreeMap::is_empty) && !labels.is_empty() {
                *empty = Some(labels.clone());
            }
        }
    }

    fn validate(object: &ReplicationController) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (path, spec) = (Path::root("spec"), object.spec.clone().unwrap_or_default());
        not_negative(&mut errors, &path.child("minReadySeconds"), spec.min_ready_seconds.map(i64::from));
        let selector = spec.selector.unwrap_or_default();
        if selector.is_empty() {
            errors.required(&path.child("selector"), "");
        }
        not_negative(&mut errors, &path.child("replicas"), spec.replicas.map(i64::from));
        let path = path.child("template");
        let Some(template) = spec.template else {
            errors.required(&path, "");
            return errors.into_vec();
        };
        workload::validate_selection(&mut errors, &path, Some(&LabelSelector::from_labels(&selector)), &template);
        workload::validate_template(&mut errors, &path, &template);
        workload::validate_runs_for_ever(&mut errors, &path.child("spec"), &template, CALLED);
        errors.into_vec()
    }

    fn validate_status_update(new: &ReplicationController, _old: &ReplicationController) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let status = new.status.clone().unwrap_or_default();
        not_negative(&mut errors, &Path::root("status.observedGeneration"), status.observed_generation);
        let counts = [
            ("replicas", Some(status.replicas)),
            ("fullyLabeledReplicas", status.fully_labeled_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
        ];
        workload::validate_counts(&mut errors, &counts, status.replicas, status.ready_replicas.unwrap_or(0));
        errors.into_vec()
    }

    fn scale(object: &ReplicationController) -> Option<Scale> {
        Some(Scale {
            replicas: object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0),
            status_replicas: object.status.as_ref().map_or(0, |status| status.replicas),
            selector: selector(object).to_string(),
        })
    }

    fn set_replicas(object: &mut ReplicationController, replicas: i32) {
        object.spec.get_or_insert_default().replicas = Some(replicas);
    }

    fn row(object: &ReplicationController, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone().unwrap_or_default());
        let mut cells = vec![
            table::name(&object.metadata),
            Cell::from(spec.replicas.unwrap_or(0)),
            Cell::from(status.replicas),
            Cell::from(status.ready_replicas.unwrap_or(0)),
            table::age(&object.metadata, now),
        ];
        cells.extend(workload::wide_cells(spec.template.as_ref(), table::labels_text(spec.selector.as_ref())));
        cells
    }

    fn fields(object: &ReplicationController) -> Vec<(&'static str, String)> {
        vec![("status.replicas", object.status.as_ref().map_or(0, |status| status.replicas).to_string())]
    }
}

fn selector(object: &ReplicationController) -> LabelSelector {
    let labels = object.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    labels.map(LabelSelector::from_labels).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_selector_is_the_templates_labels() {
        let value = json!({"metadata": {"name": "r"}, "spec": {"template": {"metadata": {"labels": {"app": "r"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        let mut object: ReplicationController = crate::decode::decode(value).unwrap().0;
        ReplicationControllers::default(&mut object);
        assert!(ReplicationControllers::validate(&object).is_empty());
        assert_eq!(ReplicationControllers::scale(&object).unwrap().selector, "app=r");
        assert_eq!(object.metadata.labels.unwrap()["app"], "r");
    }

    #[test]
    fn a_selector_and_a_template_are_required() {
        let object = ReplicationController::default();
        let fields: Vec<String> = ReplicationControllers::validate(&object).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["spec.selector", "spec.template"]);
    }
}
