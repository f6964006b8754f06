//! DaemonSet.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetUpdateStrategy, RollingUpdateDaemonSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::field::{Errors, Path};
use crate::kind::{Kind, with_generations, with_status};
use crate::pod_spec;
use crate::strategy::{Cell, Column, FieldError, Subresource};
use crate::table;
use crate::workload::{self, Called, not_negative};

/// Where `apps/v1` keeps the generation of the template, which older versions had as a field.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const CALLED: Called = Called { selector: "daemonset", template: "DaemonSet" };

/// DaemonSets.
pub(crate) struct DaemonSets;

impl Kind for DaemonSets {
    type Object = DaemonSet;

    const SINGULAR: &'static str = "daemonset";
    const SHORT_NAMES: &'static [&'static str] = &["ds"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::number("Desired", "How many nodes should run its pod."),
        table::number("Current", "How many nodes run its pod and should."),
        table::number("Ready", "How many nodes have a ready pod."),
        table::number("Up-to-date", "How many nodes run a pod of the current template."),
        table::number("Available", "How many nodes have a pod that has been ready for long enough."),
        table::text("Node Selector", "The nodes that it is for."),
        table::AGE,
        workload::CONTAINERS,
        workload::IMAGES,
        workload::SELECTOR,
    ];

    with_status!(DaemonSet);
    with_generations!(DaemonSet);

    fn default(object: &mut DaemonSet) {
        let spec = &mut object.spec;
        spec.revision_history_limit.get_or_insert(10);
        let strategy = spec.update_strategy.get_or_insert_default();
        let kind = strategy.type_.get_or_insert_default();
        if kind.is_empty() {
            "RollingUpdate".clone_into(kind);
        }
        if kind == "RollingUpdate" {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
            rolling.max_surge.get_or_insert(IntOrString::Int(0));
        }
        workload::default_template(&mut spec.template);
    }

    fn prepare_for_create(object: &mut DaemonSet) {
        Self::set_status(object, None);
        set_template_generation(object, 1);
    }

    fn prepare_for_update(new: &mut DaemonSet, old: &DaemonSet) {
        Self::set_status(new, Some(old));
        let changed = new.spec.template != old.spec.template;
        set_template_generation(new, template_generation(old).saturating_add(i64::from(changed)));
    }

    fn validate(object: &DaemonSet) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (path, spec) = (Path::root("spec"), &object.spec);
        workload::validate_selected_template(&mut errors, &path, &spec.selector, Some(&spec.template), CALLED);
        not_negative(&mut errors, &path.child("minReadySeconds"), spec.min_ready_seconds.map(i64::from));
        let strategy = spec.update_strategy.clone().unwrap_or_default();
        validate_strategy(&mut errors, &path.child("updateStrategy"), &strategy);
        not_negative(&mut errors, &path.child("revisionHistoryLimit"), spec.revision_history_limit.map(i64::from));
        errors.into_vec()
    }

    fn warnings(new: &DaemonSet, old: Option<&DaemonSet>) -> Vec<String> {
        // Nothing new is said where the spec stays.
        if old.is_some_and(|old| old.spec == new.spec) {
            return Vec::new();
        }
        pod_spec::template_warnings(&Path::root("spec.template"), &new.spec.template)
    }

    fn validate_update(new: &DaemonSet, old: &DaemonSet) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        errors.immutable(&Path::root("spec.selector"), &new.spec.selector, &old.spec.selector);
        errors.into_vec()
    }

    fn validate_status_update(new: &DaemonSet, old: &DaemonSet) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (status, was) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
        let path = Path::root("status");
        for (field, count) in [
            ("currentNumberScheduled", Some(status.current_number_scheduled)),
            ("numberMisscheduled", Some(status.number_misscheduled)),
            ("desiredNumberScheduled", Some(status.desired_number_scheduled)),
            ("numberReady", Some(status.number_ready)),
            ("updatedNumberScheduled", status.updated_number_scheduled),
            ("numberAvailable", status.number_available),
            ("numberUnavailable", status.number_unavailable),
        ] {
            not_negative(&mut errors, &path.child(field), count.map(i64::from));
        }
        not_negative(&mut errors, &path.child("observedGeneration"), status.observed_generation);
        workload::validate_collisions(&mut errors, status.collision_count, was.collision_count);
        errors.into_vec()
    }

    fn row(object: &DaemonSet, now: Timestamp) -> Vec<Cell> {
        let status = object.status.clone().unwrap_or_default();
        let nodes = object.spec.template.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
        let mut cells = vec![
            table::name(&object.metadata),
            Cell::from(status.desired_number_scheduled),
            Cell::from(status.current_number_scheduled),
            Cell::from(status.number_ready),
            Cell::from(status.updated_number_scheduled.unwrap_or(0)),
            Cell::from(status.number_available.unwrap_or(0)),
            table::labels(nodes),
            table::age(&object.metadata, now),
        ];
        let selector = workload::selector_text(&object.spec.selector);
        cells.extend(workload::wide_cells(Some(&object.spec.template), selector));
        cells
    }
}

fn template_generation(object: &DaemonSet) -> i64 {
    let annotations = object.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(TEMPLATE_GENERATION)).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn set_template_generation(object: &mut DaemonSet, generation: i64) {
    let annotations = object.metadata.annotations.get_or_insert_default();
    annotations.insert(TEMPLATE_GENERATION.to_owned(), generation.to_string());
}

fn validate_strategy(errors: &mut Errors, path: &Path<'_>, strategy: &DaemonSetUpdateStrategy) {
    let at = path.child("rollingUpdate");
    match (strategy.type_.as_deref().unwrap_or_default(), &strategy.rolling_update) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.required(&at, ""),
        ("RollingUpdate", Some(rolling)) => validate_rolling(errors, &at, rolling),
        _ => {
            let value = serde_json::to_value(strategy).unwrap_or_default();
            errors.not_supported(path, value, &["RollingUpdate", "OnDelete"]);
        }
    }
}

fn validate_rolling(errors: &mut Errors, path: &Path<'_>, rolling: &RollingUpdateDaemonSet) {
    let (unavailable, surge) = (rolling.max_unavailable.as_ref(), rolling.max_surge.as_ref());
    for (field, share) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        let path = path.child(field);
        if let Some(share) = share {
            workload::validate_share(errors, &path, share);
        }
        workload::validate_share_of_whole(errors, &path, share);
    }
    match (workload::is_zero(unavailable), workload::is_zero(surge)) {
        (false, false) => {
            let value = workload::share_value(surge);
            errors.invalid(&path.child("maxSurge"), value, "may not be set when maxUnavailable is non-zero");
        }
        (true, true) => errors.required(&path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn daemon_set(strategy: Value) -> DaemonSet {
        let mut object = crate::decode::decode(json!({"metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": {"app": "d"}}, "updateStrategy": strategy,
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}))
        .unwrap()
        .0;
        DaemonSets::default(&mut object);
        object
    }

    fn faults(strategy: Value) -> Vec<String> {
        let errors = DaemonSets::validate(&daemon_set(strategy));
        errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn strategies_are_upstreams() {
        let spec = daemon_set(Value::Null).spec;
        let expected = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
        assert_eq!(serde_json::to_value(spec.update_strategy).unwrap(), expected);
        assert_eq!(faults(json!({"type": "OnDelete"})), Vec::<String>::new());
        assert_eq!(
            faults(json!({"rollingUpdate": {"maxSurge": 1}})),
            ["spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is \
              non-zero"]
        );
        assert_eq!(
            faults(json!({"rollingUpdate": {"maxUnavailable": "0%"}})),
            ["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"]
        );
    }

    #[test]
    fn the_templates_generation_rises_with_the_template() {
        let mut old = daemon_set(Value::Null);
        DaemonSets::prepare_for_create(&mut old);
        assert_eq!(template_generation(&old), 1);
        let mut new = old.clone();
        new.metadata.annotations = None;
        DaemonSets::prepare_for_update(&mut new, &old);
        assert_eq!(template_generation(&new), 1);
        new.spec.template.metadata.as_mut().unwrap().labels.as_mut().unwrap().insert("a".into(), "b".into());
        DaemonSets::prepare_for_update(&mut new, &old);
        assert_eq!(template_generation(&new), 2);
    }
}
