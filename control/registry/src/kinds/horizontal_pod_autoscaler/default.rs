//! Upstream's defaults.

use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget, ResourceMetricSource,
};

use crate::field::default_text;

/// The share of the requested processor time that is aimed at where nothing else is.
const CPU_PERCENT: i32 = 80;
const PERIOD_SECONDS: i32 = 15;

pub(super) fn spec(spec: &mut HorizontalPodAutoscalerSpec) {
    spec.min_replicas.get_or_insert(1);
    let metrics = spec.metrics.get_or_insert_default();
    if metrics.is_empty() {
        metrics.push(cpu(CPU_PERCENT));
    }
    let Some(behavior) = &mut spec.behavior else { return };
    let all = |kind: &str, value| HPAScalingPolicy { type_: kind.to_owned(), value, period_seconds: PERIOD_SECONDS };
    let up = behavior.scale_up.get_or_insert_default();
    up.stabilization_window_seconds.get_or_insert(0);
    rules(up, || vec![all("Pods", 4), all("Percent", 100)]);
    rules(behavior.scale_down.get_or_insert_default(), || vec![all("Percent", 100)]);
}

fn rules(rules: &mut HPAScalingRules, policies: impl FnOnce() -> Vec<HPAScalingPolicy>) {
    default_text(&mut rules.select_policy, "Max");
    rules.policies.get_or_insert_with(policies);
}

/// A share of the requested processor time as the metric.
pub(super) fn cpu(percent: i32) -> MetricSpec {
    let target =
        MetricTarget { type_: "Utilization".to_owned(), average_utilization: Some(percent), ..Default::default() };
    let resource = ResourceMetricSource { name: "cpu".to_owned(), target };
    MetricSpec { type_: "Resource".to_owned(), resource: Some(resource), ..Default::default() }
}
