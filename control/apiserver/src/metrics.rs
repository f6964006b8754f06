//! What the server counts of its requests, under upstream's names.

use std::sync::LazyLock;
use std::time::Duration;

use http::{Response, StatusCode};
use skep_telemetry::{Counter, Family, Histogram, Labels, Registry};

use crate::path::{ResourcePath, Verb};
use crate::response::{self, Body};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

static REQUESTS: LazyLock<Family<Labels, Counter>> =
    LazyLock::new(|| Registry::global().counters("apiserver_request", "Requests by verb, resource and answer"));
static DURATION: LazyLock<Family<Labels, Histogram>> = LazyLock::new(|| {
    Registry::global().durations("apiserver_request_duration", "Time to the answer, of requests that are not streams")
});

/// Takes note of a request to a resource that is served. Streams have no duration.
pub(crate) fn observe(verb: Verb, path: &ResourcePath, code: StatusCode, took: Option<Duration>) {
    let mut labels: Labels = vec![
        ("verb", verb.name().to_uppercase()),
        ("group", path.group.clone()),
        ("version", path.version.clone()),
        ("resource", path.resource.clone()),
        ("subresource", path.subresource.clone().unwrap_or_default()),
    ];
    if let Some(took) = took {
        DURATION.get_or_create(&labels).observe(took.as_secs_f64());
    }
    labels.push(("code", code.as_u16().to_string()));
    REQUESTS.get_or_create(&labels).inc();
}

/// Everything that this process counts.
pub(crate) fn answer() -> Response<Body> {
    response::with_type(StatusCode::OK, OPEN_METRICS, response::full(Registry::global().encode()))
}
