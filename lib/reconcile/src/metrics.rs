//! What is counted, per loop.

use std::sync::LazyLock;

use skep_telemetry::{Counter, Family, Gauge, Histogram, Labels, Registry};

pub(crate) struct Metrics {
    pub(crate) depth: Family<Labels, Gauge>,
    pub(crate) duration: Family<Labels, Histogram>,
    pub(crate) results: Family<Labels, Counter>,
}

pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let registry = Registry::global();
    Metrics {
        depth: registry.gauges("skep_reconcile_queue_depth", "Keys that wait for a worker"),
        duration: registry.durations("skep_reconcile_duration", "Time that one reconcile took"),
        results: registry.counters("skep_reconcile_results", "Reconciles by how they ended"),
    }
});

/// How a reconcile ended, as the `result` label has it.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Done,
    Requeued,
    Retried,
    Failed,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Requeued => "requeued",
            Self::Retried => "retried",
            Self::Failed => "failed",
        }
    }
}

pub(crate) fn count(kind: &'static str, outcome: Outcome) {
    let labels = vec![("kind", kind.to_owned()), ("result", outcome.label().to_owned())];
    METRICS.results.get_or_create(&labels).inc();
}

pub(crate) fn kind_labels(kind: &'static str) -> Labels {
    vec![("kind", kind.to_owned())]
}
