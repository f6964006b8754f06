//! `autoscaling/v1`: a view of the stored `autoscaling/v2`.
//!
//! The older version knows one metric, the processor time. All else stands in annotations, in the form that upstream gives
//! it, so that a client which reads and writes the older version loses nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::{v1, v2};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::HorizontalPodAutoscalers;
use super::default;
use crate::kind::{Kind, View};
use crate::strategy::{Cell, Column, Subresource};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// HorizontalPodAutoscalers of the older version.
pub(crate) struct HorizontalPodAutoscalersV1;

impl Kind for HorizontalPodAutoscalersV1 {
    type Object = v1::HorizontalPodAutoscaler;

    const SINGULAR: &'static str = HorizontalPodAutoscalers::SINGULAR;
    const SHORT_NAMES: &'static [&'static str] = HorizontalPodAutoscalers::SHORT_NAMES;
    const CATEGORIES: &'static [&'static str] = HorizontalPodAutoscalers::CATEGORIES;
    const SUBRESOURCES: &'static [Subresource] = HorizontalPodAutoscalers::SUBRESOURCES;
    const COLUMNS: &'static [Column] = HorizontalPodAutoscalers::COLUMNS;

    fn default(object: &mut v1::HorizontalPodAutoscaler) {
        object.spec.min_replicas.get_or_insert(1);
    }

    fn row(object: &v1::HorizontalPodAutoscaler, now: Timestamp) -> Vec<Cell> {
        HorizontalPodAutoscalers::row(&Self::to_stored(object.clone()), now)
    }
}

impl View for HorizontalPodAutoscalersV1 {
    type Stored = HorizontalPodAutoscalers;

    fn to_stored(view: v1::HorizontalPodAutoscaler) -> v2::HorizontalPodAutoscaler {
        let mut metadata = view.metadata;
        let annotations = metadata.annotations.as_mut();
        let mut taken: BTreeMap<&str, String> = BTreeMap::new();
        if let Some(annotations) = annotations {
            for key in [METRICS, CURRENT_METRICS, BEHAVIOR, CONDITIONS] {
                if let Some(text) = annotations.remove(key) {
                    taken.insert(key, text);
                }
            }
        }
        if metadata.annotations.as_ref().is_some_and(BTreeMap::is_empty) {
            metadata.annotations = None;
        }
        let cpu = view.spec.target_cpu_utilization_percentage;
        let mut metrics: Vec<v2::MetricSpec> = cpu.map(default::cpu).into_iter().collect();
        metrics.extend(metrics_of(taken.get(METRICS)));
        let status = view.status.unwrap_or_default();
        let mut current: Vec<v2::MetricStatus> =
            status.current_cpu_utilization_percentage.map(current_cpu).into_iter().collect();
        current.extend(metrics_of(taken.get(CURRENT_METRICS)));
        let target = view.spec.scale_target_ref;
        v2::HorizontalPodAutoscaler {
            metadata,
            spec: v2::HorizontalPodAutoscalerSpec {
                behavior: read(taken.get(BEHAVIOR)),
                max_replicas: view.spec.max_replicas,
                metrics: (!metrics.is_empty()).then_some(metrics),
                min_replicas: view.spec.min_replicas,
                scale_target_ref: v2::CrossVersionObjectReference {
                    api_version: target.api_version,
                    kind: target.kind,
                    name: target.name,
                },
            },
            status: Some(v2::HorizontalPodAutoscalerStatus {
                conditions: read(taken.get(CONDITIONS)),
                current_metrics: (!current.is_empty()).then_some(current),
                current_replicas: (status.current_replicas != 0).then_some(status.current_replicas),
                desired_replicas: status.desired_replicas,
                last_scale_time: status.last_scale_time,
                observed_generation: status.observed_generation,
            }),
        }
    }

    fn from_stored(stored: v2::HorizontalPodAutoscaler) -> v1::HorizontalPodAutoscaler {
        let mut metadata = stored.metadata;
        let status = stored.status.unwrap_or_default();
        let (cpu, others) = split(stored.spec.metrics.unwrap_or_default(), |metric| {
            let resource = metric.resource.as_ref().filter(|resource| resource.name == "cpu")?;
            resource.target.average_utilization
        });
        let (current_cpu, current) = split(status.current_metrics.unwrap_or_default(), |metric| {
            let resource = metric.resource.as_ref().filter(|resource| resource.name == "cpu")?;
            resource.current.average_value.is_none().then_some(resource.current.average_utilization)?
        });
        let texts = [
            (METRICS, older_list(&others)),
            (CURRENT_METRICS, older_list(&current)),
            (BEHAVIOR, stored.spec.behavior.as_ref().and_then(text)),
            (CONDITIONS, status.conditions.as_ref().filter(|conditions| !conditions.is_empty()).and_then(text)),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                metadata.annotations.get_or_insert_default().insert(key.to_owned(), text);
            }
        }
        let target = stored.spec.scale_target_ref;
        v1::HorizontalPodAutoscaler {
            metadata,
            spec: v1::HorizontalPodAutoscalerSpec {
                max_replicas: stored.spec.max_replicas,
                min_replicas: stored.spec.min_replicas,
                scale_target_ref: v1::CrossVersionObjectReference {
                    api_version: target.api_version,
                    kind: target.kind,
                    name: target.name,
                },
                target_cpu_utilization_percentage: cpu,
            },
            status: Some(v1::HorizontalPodAutoscalerStatus {
                current_cpu_utilization_percentage: current_cpu,
                current_replicas: status.current_replicas.unwrap_or(0),
                desired_replicas: status.desired_replicas,
                last_scale_time: status.last_scale_time,
                observed_generation: status.observed_generation,
            }),
        }
    }
}

/// The first percentage of processor time, and all other metrics.
fn split<T>(metrics: Vec<T>, percent: impl Fn(&T) -> Option<i32>) -> (Option<i32>, Vec<T>) {
    let (mut cpu, mut others) = (None, Vec::new());
    for metric in metrics {
        match percent(&metric) {
            Some(value) if cpu.is_none() => cpu = Some(value),
            _ => others.push(metric),
        }
    }
    (cpu, others)
}

fn current_cpu(percent: i32) -> v2::MetricStatus {
    let current = v2::MetricValueStatus { average_utilization: Some(percent), ..Default::default() };
    let resource = v2::ResourceMetricStatus { name: "cpu".to_owned(), current };
    v2::MetricStatus { type_: "Resource".to_owned(), resource: Some(resource), ..Default::default() }
}

fn text(value: &impl Serialize) -> Option<String> {
    serde_json::to_string(value).ok()
}

/// What cannot be read stands for nothing, as upstream has it.
fn read<T: DeserializeOwned>(text: Option<&String>) -> Option<T> {
    serde_json::from_str(text?).ok()
}

/// Metrics in the form of the older version, as text; `None` where there are none.
fn older_list(metrics: &[impl Serialize]) -> Option<String> {
    let older: Vec<Value> = metrics.iter().filter_map(|metric| serde_json::to_value(metric).ok()).map(older).collect();
    (!older.is_empty()).then(|| Value::from(older).to_string())
}

fn metrics_of<T: DeserializeOwned>(text: Option<&String>) -> Vec<T> {
    let older: Vec<Value> = read(text).unwrap_or_default();
    older.into_iter().filter_map(|metric| serde_json::from_value(newer(metric)).ok()).collect()
}

/// Where a value stands in a metric's source or status: older name, and newer path below `target` or `current`.
const VALUES: [(&str, &str, &str); 3] = [
    ("Value", "value", "Value"),
    ("AverageValue", "averageValue", "AverageValue"),
    ("AverageUtilization", "averageUtilization", "Utilization"),
];

fn source_of(metric: &mut Value) -> Option<(String, Map<String, Value>)> {
    let fields = metric.as_object_mut()?;
    let field = fields.iter().find(|(_, value)| value.is_object()).map(|(field, _)| field.clone())?;
    match fields.shift_remove(&field) {
        Some(Value::Object(source)) => Some((field, source)),
        _ => None,
    }
}

/// The older form: values beside the metric's name, with `target` or `current` in front of their names.
fn older(mut metric: Value) -> Value {
    let Some((kind, mut source)) = source_of(&mut metric) else { return metric };
    let side = if source.contains_key("current") { "current" } else { "target" };
    let values = source.shift_remove(side).unwrap_or_default();
    for (suffix, field, _) in VALUES {
        let Some(value) = values.get(field) else { continue };
        source.insert(older_name(&kind, side, suffix), value.clone());
    }
    if let Some(Value::Object(identifier)) = source.shift_remove("metric") {
        for (field, value) in identifier {
            let name = match (field.as_str(), kind.as_str()) {
                ("name", _) => "metricName",
                ("selector", "external") => "metricSelector",
                _ => "selector",
            };
            source.insert(name.to_owned(), value);
        }
    }
    if let Some(described) = source.shift_remove("describedObject") {
        source.insert("target".to_owned(), described);
    }
    metric[kind] = Value::Object(source);
    metric
}

/// The only value that an object or an external metric's pods have by another name.
fn older_name(kind: &str, side: &str, suffix: &str) -> String {
    match (kind, side, suffix) {
        ("object", _, "AverageValue") => "averageValue".to_owned(),
        _ => format!("{side}{suffix}"),
    }
}

fn newer(mut metric: Value) -> Value {
    let Some((kind, mut source)) = source_of(&mut metric) else { return metric };
    let described = source.shift_remove("target");
    let is_status = source.keys().any(|field| field.starts_with("current"));
    let side = if is_status { "current" } else { "target" };
    let mut values = Map::new();
    for (suffix, field, target) in VALUES {
        let Some(value) = source.shift_remove(&older_name(&kind, side, suffix)) else { continue };
        values.insert(field.to_owned(), value);
        if !is_status {
            values.insert("type".to_owned(), target.into());
        }
    }
    let mut identifier = Map::new();
    for (older, newer) in [("metricName", "name"), ("metricSelector", "selector"), ("selector", "selector")] {
        if let Some(value) = source.shift_remove(older) {
            identifier.insert(newer.to_owned(), value);
        }
    }
    if !identifier.is_empty() {
        source.insert("metric".to_owned(), Value::Object(identifier));
    }
    if let Some(described) = described {
        source.insert("describedObject".to_owned(), described);
    }
    source.insert(side.to_owned(), json!(values));
    metric[kind] = Value::Object(source);
    metric
}
