//! What the server counts of its requests, under upstream's names.

use std::sync::LazyLock;
use std::time::Duration;

use http::{Response, StatusCode};
use skep_registry::Resource;
use skep_telemetry::{Counter, Family, Gauge, Histogram, Labels, Registry};

use crate::path::{ResourcePath, Verb};
use crate::response::{self, Body};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

static REQUESTS: LazyLock<Family<Labels, Counter>> =
    LazyLock::new(|| Registry::global().counters("apiserver_request", "Requests by verb, resource and answer"));
static DURATION: LazyLock<Family<Labels, Histogram>> = LazyLock::new(|| {
    Registry::global().durations("apiserver_request_duration", "Time to the answer, of requests that are not streams")
});
static OPEN: LazyLock<Family<Labels, Gauge>> =
    LazyLock::new(|| Registry::global().gauges("apiserver_longrunning_requests", "Watches that are open"));
static INFLIGHT: LazyLock<Family<Labels, Gauge>> =
    LazyLock::new(|| Registry::global().gauges("apiserver_current_inflight_requests", "Requests that have their turn"));
static EVENTS: LazyLock<Family<Labels, Counter>> =
    LazyLock::new(|| Registry::global().counters("apiserver_watch_events", "Events sent to watches"));
static STORED: LazyLock<Family<Labels, Histogram>> =
    LazyLock::new(|| Registry::global().durations("etcd_request_duration", "Time that the store takes for a write"));

/// A request to a resource that is served, as it is counted.
pub(crate) struct Asked {
    labels: Labels,
}

impl Asked {
    /// `apply` and `dry_run` as the request says.
    pub(crate) fn new(verb: Verb, path: &ResourcePath, apply: bool, dry_run: bool) -> Self {
        let method = match verb {
            Verb::Create => "POST",
            Verb::Update => "PUT",
            Verb::Patch if apply => "APPLY",
            Verb::Patch => "PATCH",
            Verb::Get => "GET",
            Verb::List => "LIST",
            Verb::Watch => "WATCH",
            Verb::Delete => "DELETE",
            Verb::DeleteCollection => "DELETECOLLECTION",
            Verb::Options => "OPTIONS",
        };
        let scope = match (&path.name, &path.namespace) {
            (Some(_), _) => "resource",
            (None, _) if verb == Verb::Create => "resource",
            (None, Some(_)) => "namespace",
            (None, None) => "cluster",
        };
        let labels = vec![
            ("verb", method.to_owned()),
            ("dry_run", if dry_run { "All" } else { "" }.to_owned()),
            ("group", path.group.clone()),
            ("version", path.version.clone()),
            ("resource", path.resource.clone()),
            ("subresource", path.subresource.clone().unwrap_or_default()),
            ("scope", scope.to_owned()),
            ("component", "apiserver".to_owned()),
        ];
        Self { labels }
    }

    /// Takes note of the answer. Streams have no duration.
    pub(crate) fn answered(mut self, code: StatusCode, took: Option<Duration>) {
        if let Some(took) = took {
            DURATION.get_or_create(&self.labels).observe(took.as_secs_f64());
        }
        self.labels.push(("code", code.as_u16().to_string()));
        REQUESTS.get_or_create(&self.labels).inc();
    }
}

/// Counts one more of something, as long as it lives.
pub(crate) struct Running(Gauge);

impl Running {
    /// A request that has its turn.
    pub(crate) fn turn(verb: Verb) -> Self {
        let kind = if verb.is_read() { "readOnly" } else { "mutating" };
        Self::one(&INFLIGHT, &vec![("request_kind", kind.to_owned())])
    }

    fn one(of: &Family<Labels, Gauge>, labels: &Labels) -> Self {
        let gauge = of.get_or_create(labels).clone();
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A watch, and the events that it sends.
pub(crate) struct Watch {
    events: Counter,
    _open: Running,
}

impl Watch {
    pub(crate) fn begin(resource: &Resource) -> Self {
        let named = |name: &'static str, value: &str| (name, value.to_owned());
        let what = vec![
            named("group", &resource.group),
            named("version", &resource.version),
            named("resource", &resource.plural),
        ];
        let events = EVENTS.get_or_create(&what).clone();
        let labels = [vec![named("verb", "WATCH")], what, vec![named("component", "apiserver")]].concat();
        Self { events, _open: Running::one(&OPEN, &labels) }
    }

    pub(crate) fn sent(&self) {
        self.events.inc();
    }
}

/// Takes note of what the store took for a write.
pub(crate) fn stored(operation: &str, resource: &Resource, took: Duration) {
    let labels = vec![
        ("operation", operation.to_owned()),
        ("group", resource.group.to_string()),
        ("resource", resource.plural.to_string()),
    ];
    STORED.get_or_create(&labels).observe(took.as_secs_f64());
}

/// Everything that this process counts.
pub(crate) fn answer() -> Response<Body> {
    response::with_type(StatusCode::OK, OPEN_METRICS, response::full(Registry::global().encode()))
}
