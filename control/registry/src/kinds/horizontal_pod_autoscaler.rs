//! HorizontalPodAutoscaler, as `autoscaling/v2` and as `autoscaling/v1`, which is a view of the former.

mod default;
mod metrics;
mod v1;
mod validate;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use crate::field::{Errors, Path};
use crate::kind::{Kind, with_generations, with_status};
use crate::strategy::{Cell, Column, FieldError, Subresource};
use crate::table;
use crate::workload::not_negative;

pub(crate) use v1::HorizontalPodAutoscalersV1;

/// HorizontalPodAutoscalers.
pub(crate) struct HorizontalPodAutoscalers;

impl Kind for HorizontalPodAutoscalers {
    type Object = HorizontalPodAutoscaler;

    const SINGULAR: &'static str = "horizontalpodautoscaler";
    const SHORT_NAMES: &'static [&'static str] = &["hpa"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Reference", "What is scaled."),
        table::text("Targets", "What is measured, and what it shall be."),
        table::text("MinPods", "The least number of pods."),
        table::text("MaxPods", "The greatest number of pods."),
        table::text("Replicas", "How many pods there are."),
        table::AGE,
    ];

    with_status!(HorizontalPodAutoscaler);
    with_generations!(HorizontalPodAutoscaler);

    fn default(object: &mut HorizontalPodAutoscaler) {
        default::spec(&mut object.spec);
    }

    fn validate(object: &HorizontalPodAutoscaler) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate::spec(&mut errors, &Path::root("spec"), &object.spec);
        errors.into_vec()
    }

    fn validate_status_update(new: &HorizontalPodAutoscaler, _old: &HorizontalPodAutoscaler) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let status = new.status.clone().unwrap_or_default();
        let path = Path::root("status");
        not_negative(&mut errors, &path.child("currentReplicas"), status.current_replicas.map(i64::from));
        not_negative(&mut errors, &path.child("desiredReplicas"), Some(i64::from(status.desired_replicas)));
        errors.into_vec()
    }

    fn row(object: &HorizontalPodAutoscaler, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (&object.spec, object.status.clone().unwrap_or_default());
        let reference = format!("{}/{}", spec.scale_target_ref.kind, spec.scale_target_ref.name);
        let targets = metrics::text(
            spec.metrics.as_deref().unwrap_or_default(),
            status.current_metrics.as_deref().unwrap_or_default(),
        );
        vec![
            table::name(&object.metadata),
            Cell::from(reference),
            Cell::from(targets),
            Cell::from(spec.min_replicas.map_or_else(|| "<unset>".to_owned(), |least| least.to_string())),
            Cell::from(spec.max_replicas),
            Cell::from(status.current_replicas.unwrap_or(0)),
            table::age(&object.metadata, now),
        ]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
