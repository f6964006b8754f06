//! Deployment.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, DeploymentStrategy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::field::{Errors, Path};
use crate::kind::{Kind, with_status};
use crate::pod_spec;
use crate::strategy::{Cell, Column, FieldError, Scale, Subresource};
use crate::table;
use crate::workload::{self, REPLICAS, not_negative};

/// Deployments.
pub(crate) struct Deployments;

impl Kind for Deployments {
    type Object = Deployment;

    const SINGULAR: &'static str = "deployment";
    const SHORT_NAMES: &'static [&'static str] = &["deploy"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status, Subresource::Scale];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Ready", "Number of the pod with ready state."),
        table::text("Up-to-date", "Pods that have the wanted template."),
        table::text("Available", "Pods that have been ready for long enough."),
        table::AGE,
        workload::CONTAINERS,
        workload::IMAGES,
        workload::SELECTOR,
    ];

    fn default(object: &mut Deployment) {
        let spec = &mut object.spec;
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
        let strategy = spec.strategy.get_or_insert_default();
        let kind = strategy.type_.get_or_insert_default();
        if kind.is_empty() {
            "RollingUpdate".clone_into(kind);
        }
        if kind == "RollingUpdate" {
            let quarter = || IntOrString::String("25%".to_owned());
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert_with(quarter);
            rolling.max_surge.get_or_insert_with(quarter);
        }
        workload::default_template(&mut spec.template);
    }

    with_status!(Deployment);

    fn validate(object: &Deployment) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (path, spec) = (Path::root("spec"), &object.spec);
        not_negative(&mut errors, &path.child("replicas"), spec.replicas.map(i64::from));
        workload::validate_selected_template(&mut errors, &path, &spec.selector, Some(&spec.template), REPLICAS);
        validate_strategy(&mut errors, &path.child("strategy"), &spec.strategy.clone().unwrap_or_default());
        not_negative(&mut errors, &path.child("minReadySeconds"), spec.min_ready_seconds.map(i64::from));
        not_negative(&mut errors, &path.child("revisionHistoryLimit"), spec.revision_history_limit.map(i64::from));
        if let Some(deadline) = spec.progress_deadline_seconds {
            let path = path.child("progressDeadlineSeconds");
            not_negative(&mut errors, &path, Some(i64::from(deadline)));
            if deadline <= spec.min_ready_seconds.unwrap_or(0) {
                errors.invalid(&path, deadline, "must be greater than minReadySeconds");
            }
        }
        errors.into_vec()
    }

    fn warnings(new: &Deployment, old: Option<&Deployment>) -> Vec<String> {
        // Nothing new is said where the spec stays.
        if old.is_some_and(|old| old.spec == new.spec) {
            return Vec::new();
        }
        pod_spec::template_warnings(&Path::root("spec.template"), &new.spec.template)
    }

    fn validate_update(new: &Deployment, old: &Deployment) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        errors.immutable(&Path::root("spec.selector"), &new.spec.selector, &old.spec.selector);
        errors.into_vec()
    }

    fn validate_status_update(new: &Deployment, old: &Deployment) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (status, was) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
        validate_status(&mut errors, &status);
        workload::validate_collisions(&mut errors, status.collision_count, was.collision_count);
        errors.into_vec()
    }

    const GENERATIONS: bool = true;

    fn spec_changed(new: &Deployment, old: &Deployment) -> bool {
        new.spec != old.spec || new.metadata.annotations != old.metadata.annotations
    }

    fn scale(object: &Deployment) -> Option<Scale> {
        Some(Scale {
            replicas: object.spec.replicas.unwrap_or(0),
            status_replicas: object.status.as_ref().and_then(|status| status.replicas).unwrap_or(0),
            selector: workload::selector_text(&object.spec.selector),
        })
    }

    fn set_replicas(object: &mut Deployment, replicas: i32) {
        object.spec.replicas = Some(replicas);
    }

    fn row(object: &Deployment, now: Timestamp) -> Vec<Cell> {
        let status = object.status.clone().unwrap_or_default();
        let (ready, wanted) = (status.ready_replicas.unwrap_or(0), object.spec.replicas.unwrap_or(0));
        let mut cells = vec![
            table::name(&object.metadata),
            Cell::from(format!("{ready}/{wanted}")),
            Cell::from(status.updated_replicas.unwrap_or(0)),
            Cell::from(status.available_replicas.unwrap_or(0)),
            table::age(&object.metadata, now),
        ];
        cells.extend(workload::wide_cells(Some(&object.spec.template), workload::selector_text(&object.spec.selector)));
        cells
    }
}

fn validate_strategy(errors: &mut Errors, path: &Path<'_>, strategy: &DeploymentStrategy) {
    let at = path.child("rollingUpdate");
    match (strategy.type_.as_deref().unwrap_or_default(), &strategy.rolling_update) {
        ("Recreate", None) => {}
        ("Recreate", Some(_)) => errors.forbidden(&at, "may not be specified when strategy `type` is 'Recreate'"),
        ("RollingUpdate", None) => errors.required(&at, "this should be defaulted and never be nil"),
        ("RollingUpdate", Some(rolling)) => {
            let (unavailable, surge) = (rolling.max_unavailable.as_ref(), rolling.max_surge.as_ref());
            for (field, share) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
                if let Some(share) = share {
                    workload::validate_share(errors, &at.child(field), share);
                }
            }
            let path = at.child("maxUnavailable");
            if workload::is_zero(unavailable) && workload::is_zero(surge) {
                errors.invalid(&path, workload::share_value(unavailable), "may not be 0 when `maxSurge` is 0");
            }
            workload::validate_share_of_whole(errors, &path, unavailable);
        }
        _ => {
            let value = serde_json::to_value(strategy).unwrap_or_default();
            errors.not_supported(path, value, &["Recreate", "RollingUpdate"]);
        }
    }
}

fn validate_status(errors: &mut Errors, status: &DeploymentStatus) {
    not_negative(errors, &Path::root("status.observedGeneration"), status.observed_generation);
    let counts = [
        ("replicas", status.replicas),
        ("updatedReplicas", status.updated_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
        ("unavailableReplicas", status.unavailable_replicas),
        ("terminatingReplicas", status.terminating_replicas),
    ];
    let (replicas, ready) = (status.replicas.unwrap_or(0), status.ready_replicas.unwrap_or(0));
    workload::validate_counts(errors, &counts, replicas, ready);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployment(change: impl FnOnce(&mut Value)) -> Deployment {
        let mut value = json!({"metadata": {"name": "web", "namespace": "a"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        change(&mut value);
        let mut object = crate::decode::decode(value).unwrap().0;
        Deployments::default(&mut object);
        object
    }

    fn text(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let errors = Deployments::validate(&deployment(change));
        errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
    }

    #[test]
    fn defaults_are_upstreams() {
        let value = serde_json::to_value(deployment(|_| {}).spec).unwrap();
        assert_eq!(value["replicas"], 1);
        assert_eq!(
            value["strategy"],
            json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        );
        assert_eq!(value["revisionHistoryLimit"], 10);
        assert_eq!(value["progressDeadlineSeconds"], 600);
        assert_eq!(
            value["template"]["spec"],
            json!({
            "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30})
        );
        assert!(text(|_| {}).is_empty(), "{:?}", text(|_| {}));
    }

    #[test]
    fn faults_are_named_as_upstream_names_them() {
        assert_eq!(
            text(|v| v["spec"]["selector"] = json!({"matchLabels": {"app": "other"}})),
            [
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`"
            ]
        );
        assert_eq!(
            text(|v| v["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}})),
            ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"]
        );
        assert_eq!(
            text(|v| v["spec"]["strategy"] = json!({"type": "Recreate", "rollingUpdate": {}})),
            ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]
        );
        assert_eq!(
            text(|v| v["spec"]["replicas"] = json!(-1)),
            ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]
        );
        assert_eq!(
            text(|v| v["spec"]["template"]["spec"]["restartPolicy"] = json!("Never")),
            ["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""]
        );
        assert_eq!(
            text(|v| v["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": "x"}})),
            ["spec.strategy.rollingUpdate.maxSurge: Invalid value: \"x\": a valid percent string must be a numeric \
              string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"]
        );
        assert_eq!(
            text(|v| v["spec"]["strategy"] = json!({"type": "x"})),
            ["spec.strategy: Unsupported value: {\"type\":\"x\"}: supported values: \"Recreate\", \"RollingUpdate\""]
        );
    }

    #[test]
    fn the_selector_stays() {
        let old = deployment(|_| {});
        let new = deployment(|v| {
            v["spec"]["selector"] = json!({"matchLabels": {"b": "c"}});
            v["spec"]["template"]["metadata"]["labels"] = json!({"b": "c"});
        });
        let errors = Deployments::validate_update(&new, &old);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].message, "Invalid value: {\"matchLabels\":{\"b\":\"c\"}}: field is immutable");
        assert!(Deployments::spec_changed(&new, &old));
        assert!(!Deployments::spec_changed(&old.clone(), &old));
    }

    #[test]
    fn the_row_is_kubectls() {
        let mut object = deployment(|_| {});
        object.status =
            Some(DeploymentStatus { ready_replicas: Some(1), updated_replicas: Some(2), ..Default::default() });
        let row = Deployments::row(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(row), json!(["web", "1/1", 2, 0, "<unknown>", "c", "i", "app=web"]));
    }
}
