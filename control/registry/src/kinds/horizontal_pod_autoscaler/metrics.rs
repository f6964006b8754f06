//! How metrics are printed.

use k8s_openapi::api::autoscaling::v2::{MetricSpec, MetricStatus, MetricTarget, MetricValueStatus};

const SHOWN_MAX: usize = 2;

/// `cpu: 10%/80%`, `<unknown>` standing for what is not measured yet.
pub(super) fn text(specs: &[MetricSpec], statuses: &[MetricStatus]) -> String {
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let all: Vec<String> =
        specs.iter().zip((0..).map(|i| statuses.get(i))).map(|(spec, status)| one(spec, status)).collect();
    let shown = all.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn one(spec: &MetricSpec, status: Option<&MetricStatus>) -> String {
    if let Some(source) = &spec.external {
        let current = status.and_then(|status| status.external.as_ref()).map(|status| &status.current);
        return by_target(&source.target, current);
    }
    if let Some(source) = &spec.pods {
        let current = status.and_then(|status| status.pods.as_ref()).map(|status| &status.current);
        return format!("{}/{}", average(current), wanted(source.target.average_value.as_ref()));
    }
    if let Some(source) = &spec.object {
        let current = status.and_then(|status| status.object.as_ref()).map(|status| &status.current);
        return by_target(&source.target, current);
    }
    if let Some(source) = &spec.resource {
        let current = status.and_then(|status| status.resource.as_ref()).map(|status| &status.current);
        return format!("{}: {}", source.name, of_resource(&source.target, current));
    }
    if let Some(source) = &spec.container_resource {
        let current = status.and_then(|status| status.container_resource.as_ref()).map(|status| &status.current);
        return format!("{}: {}", source.name, of_resource(&source.target, current));
    }
    "<unknown type>".to_owned()
}

fn by_target(target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    match &target.average_value {
        Some(value) => format!("{}/{} (avg)", average(current), value.0),
        None => {
            let now = current.and_then(|current| current.value.as_ref());
            format!("{}/{}", now.map_or("<unknown>", |now| now.0.as_str()), wanted(target.value.as_ref()))
        }
    }
}

fn of_resource(target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    if let Some(value) = &target.average_value {
        return format!("{}/{}", average(current), value.0);
    }
    let percent = |value: Option<i32>, none: &str| value.map_or_else(|| none.to_owned(), |value| format!("{value}%"));
    let now = percent(current.and_then(|current| current.average_utilization), "<unknown>");
    format!("{now}/{}", percent(target.average_utilization, "<auto>"))
}

fn average(current: Option<&MetricValueStatus>) -> &str {
    current.and_then(|current| current.average_value.as_ref()).map_or("<unknown>", |value| value.0.as_str())
}

fn wanted(value: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>) -> &str {
    value.map_or("<nil>", |value| value.0.as_str())
}
