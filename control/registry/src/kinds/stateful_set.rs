//! StatefulSet.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume};

use crate::field::{self, Errors, Path};
use crate::kind::{Kind, with_generations, with_status};
use crate::pod_spec;
use crate::selector::LabelSelector;
use crate::strategy::{Cell, Column, FieldError, Scale, Subresource};
use crate::table;
use crate::volume_claim;
use crate::workload::{self, Called, not_negative};

const CALLED: Called = Called { selector: "statefulset", template: "StatefulSet" };
const UPDATABLE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
    'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

/// StatefulSets.
pub(crate) struct StatefulSets;

impl Kind for StatefulSets {
    type Object = StatefulSet;

    const SINGULAR: &'static str = "statefulset";
    const SHORT_NAMES: &'static [&'static str] = &["sts"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status, Subresource::Scale];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Ready", "Number of the pod with ready state."),
        table::AGE,
        workload::CONTAINERS,
        workload::IMAGES,
    ];

    with_status!(StatefulSet);
    with_generations!(StatefulSet);

    fn default(object: &mut StatefulSet) {
        let spec = &mut object.spec;
        field::default_text(&mut spec.pod_management_policy, "OrderedReady");
        let strategy = spec.update_strategy.get_or_insert_default();
        if strategy.type_.as_deref().unwrap_or_default().is_empty() {
            strategy.type_ = Some("RollingUpdate".to_owned());
            strategy.rolling_update.get_or_insert_default();
        }
        if let Some(rolling) = strategy.rolling_update.as_mut() {
            rolling.partition.get_or_insert(0);
        }
        let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
        field::default_text(&mut retention.when_deleted, "Retain");
        field::default_text(&mut retention.when_scaled, "Retain");
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        spec.volume_claim_templates.iter_mut().flatten().for_each(volume_claim::default_claim);
        workload::default_template(&mut spec.template);
    }

    fn validate(object: &StatefulSet) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate_spec(&mut errors, &Path::root("spec"), &object.spec);
        errors.into_vec()
    }

    fn warnings(new: &StatefulSet, old: Option<&StatefulSet>) -> Vec<String> {
        // Nothing new is said where the spec stays.
        if old.is_some_and(|old| old.spec == new.spec) {
            return Vec::new();
        }
        pod_spec::template_warnings(&Path::root("spec.template"), &new.spec.template)
    }

    fn validate_update(new: &StatefulSet, old: &StatefulSet) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        let (spec, was) = (new.spec.clone(), &old.spec);
        let kept = StatefulSetSpec {
            replicas: was.replicas,
            ordinals: was.ordinals.clone(),
            template: was.template.clone(),
            update_strategy: was.update_strategy.clone(),
            revision_history_limit: was.revision_history_limit,
            persistent_volume_claim_retention_policy: was.persistent_volume_claim_retention_policy.clone(),
            min_ready_seconds: was.min_ready_seconds,
            ..spec
        };
        if kept != *was {
            errors.forbidden(&Path::root("spec"), UPDATABLE);
        }
        errors.into_vec()
    }

    fn validate_status_update(new: &StatefulSet, old: &StatefulSet) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (status, was) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
        let counts = [
            ("replicas", Some(status.replicas)),
            ("readyReplicas", status.ready_replicas),
            ("currentReplicas", status.current_replicas),
            ("updatedReplicas", status.updated_replicas),
            ("availableReplicas", status.available_replicas),
        ];
        workload::validate_counts(&mut errors, &counts, status.replicas, status.ready_replicas.unwrap_or(0));
        not_negative(&mut errors, &Path::root("status.observedGeneration"), status.observed_generation);
        workload::validate_collisions(&mut errors, status.collision_count, was.collision_count);
        errors.into_vec()
    }

    fn scale(object: &StatefulSet) -> Option<Scale> {
        Some(Scale {
            replicas: object.spec.replicas.unwrap_or(0),
            status_replicas: object.status.as_ref().map_or(0, |status| status.replicas),
            selector: workload::selector_text(&object.spec.selector),
        })
    }

    fn set_replicas(object: &mut StatefulSet, replicas: i32) {
        object.spec.replicas = Some(replicas);
    }

    fn row(object: &StatefulSet, now: Timestamp) -> Vec<Cell> {
        let ready = object.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
        let wanted = object.spec.replicas.unwrap_or(0);
        let [containers, images, _] = workload::wide_cells(Some(&object.spec.template), String::new());
        vec![
            table::name(&object.metadata),
            Cell::from(format!("{ready}/{wanted}")),
            table::age(&object.metadata, now),
            containers,
            images,
        ]
    }
}

fn validate_spec(errors: &mut Errors, path: &Path<'_>, spec: &StatefulSetSpec) {
    let at = path.child("podManagementPolicy");
    match spec.pod_management_policy.as_deref().unwrap_or_default() {
        "" => errors.required(&at, ""),
        "OrderedReady" | "Parallel" => {}
        other => errors.invalid(&at, other, "must be 'OrderedReady' or 'Parallel'"),
    }
    validate_strategy(errors, &path.child("updateStrategy"), &spec.update_strategy.clone().unwrap_or_default());
    let retention = spec.persistent_volume_claim_retention_policy.clone().unwrap_or_default();
    for (field, policy) in [("whenDeleted", retention.when_deleted), ("whenScaled", retention.when_scaled)] {
        let policy = policy.unwrap_or_default();
        if !matches!(policy.as_str(), "Retain" | "Delete") {
            let at = path.child("persistentVolumeClaimRetentionPolicy");
            errors.not_supported(&at.child(field), policy, &["Delete", "Retain"]);
        }
    }
    not_negative(errors, &path.child("replicas"), spec.replicas.map(i64::from));
    not_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds.map(i64::from));
    let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start);
    not_negative(errors, &path.child("ordinals.start"), start.map(i64::from));
    not_negative(errors, &path.child("revisionHistoryLimit"), spec.revision_history_limit.map(i64::from));
    let service = spec.service_name.as_deref().unwrap_or_default();
    if !service.is_empty() {
        errors.invalid_each(&path.child("serviceName"), service, super::Services::validate_name(service, false));
    }
    workload::validate_selector(errors, &path.child("selector"), &spec.selector, CALLED);
    let at = path.child("template");
    workload::validate_selection(errors, &at, LabelSelector::from_api(&spec.selector).ok().as_ref(), &spec.template);
    workload::validate_template(errors, &at, &with_claims(spec));
    workload::validate_runs_for_ever(errors, &at.child("spec"), &spec.template, CALLED);
}

/// The template with the volumes that its pods get from the claims' templates.
fn with_claims(spec: &StatefulSetSpec) -> PodTemplateSpec {
    let mut template = spec.template.clone();
    let volumes = template.spec.get_or_insert_default().volumes.get_or_insert_default();
    for claim in spec.volume_claim_templates.iter().flatten() {
        let name = claim.metadata.name.clone().unwrap_or_default();
        volumes.retain(|volume| volume.name != name);
        let source = PersistentVolumeClaimVolumeSource { claim_name: name.clone(), ..Default::default() };
        volumes.push(Volume { name, persistent_volume_claim: Some(source), ..Default::default() });
    }
    template
}

fn validate_strategy(errors: &mut Errors, path: &Path<'_>, strategy: &StatefulSetUpdateStrategy) {
    let at = path.child("rollingUpdate");
    match (strategy.type_.as_deref().unwrap_or_default(), &strategy.rolling_update) {
        ("", _) => errors.required(path, ""),
        ("OnDelete", Some(rolling)) => {
            let value = serde_json::to_value(rolling).unwrap_or_default();
            errors.invalid(&at, value, "only allowed for updateStrategy 'RollingUpdate'");
        }
        ("RollingUpdate", Some(rolling)) => {
            not_negative(errors, &at.child("partition"), rolling.partition.map(i64::from));
            if let Some(share) = &rolling.max_unavailable {
                let at = at.child("maxUnavailable");
                workload::validate_share(errors, &at, share);
                if workload::is_zero(Some(share)) {
                    errors.invalid(&at, workload::share_value(Some(share)), "cannot be 0");
                }
                workload::validate_share_of_whole(errors, &at, Some(share));
            }
        }
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => {
            let value = serde_json::to_value(strategy).unwrap_or_default();
            errors.invalid(path, value, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stateful_set(change: impl FnOnce(&mut Value)) -> StatefulSet {
        let mut value = json!({"metadata": {"name": "s"}, "spec": {
            "selector": {"matchLabels": {"app": "s"}}, "serviceName": "s",
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}}}],
            "template": {"metadata": {"labels": {"app": "s"}}, "spec": {"containers": [{"name": "c", "image": "i",
                "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}}}});
        change(&mut value);
        let mut object = crate::decode::decode(value).unwrap().0;
        StatefulSets::default(&mut object);
        object
    }

    fn text(errors: Vec<FieldError>) -> Vec<String> {
        errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn claims_are_volumes_and_defaults_are_upstreams() {
        let object = stateful_set(|_| {});
        assert_eq!(text(StatefulSets::validate(&object)), Vec::<String>::new());
        let spec = serde_json::to_value(&object.spec).unwrap();
        assert_eq!(spec["updateStrategy"], json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
        assert_eq!(
            spec["persistentVolumeClaimRetentionPolicy"],
            json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
        );
        assert_eq!(spec["volumeClaimTemplates"][0]["spec"]["volumeMode"], "Filesystem");
        assert_eq!(spec["volumeClaimTemplates"][0]["status"]["phase"], "Pending");
    }

    #[test]
    fn little_may_change() {
        let old = stateful_set(|_| {});
        let new = stateful_set(|v| v["spec"]["replicas"] = json!(3));
        assert_eq!(text(StatefulSets::validate_update(&new, &old)), Vec::<String>::new());
        let new = stateful_set(|v| v["spec"]["serviceName"] = json!("t"));
        assert_eq!(text(StatefulSets::validate_update(&new, &old)), [format!("spec: Forbidden: {UPDATABLE}")]);
        let new = stateful_set(|v| v["spec"]["updateStrategy"] = json!({"type": "OnDelete", "rollingUpdate": {}}));
        assert_eq!(
            text(StatefulSets::validate(&new)),
            ["spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":0}: only allowed for updateStrategy \
              'RollingUpdate'"]
        );
    }
}
