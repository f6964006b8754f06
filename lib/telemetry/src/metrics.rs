//! Metric families by name, and their text exposition.

use std::sync::{LazyLock, Mutex, PoisonError};

pub use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::registry::Unit;

/// A label set: names are fixed, values are not.
pub type Labels = Vec<(&'static str, String)>;
/// Counts up. `_total` is appended to its name.
pub type Counter = prometheus_client::metrics::counter::Counter;
/// Goes up and down.
pub type Gauge = prometheus_client::metrics::gauge::Gauge;
/// Durations in seconds.
pub type Histogram = prometheus_client::metrics::histogram::Histogram;

/// Metric families and how they are exposed.
#[derive(Debug, Default)]
pub struct Registry {
    inner: Mutex<prometheus_client::registry::Registry>,
}

impl Registry {
    /// The process's own registry.
    pub fn global() -> &'static Self {
        static GLOBAL: LazyLock<Registry> = LazyLock::new(Registry::default);
        &GLOBAL
    }

    /// Registers counters, e.g. `skep_reconcile_retries` (exposed as `skep_reconcile_retries_total`).
    pub fn counters(&self, name: &str, help: &str) -> Family<Labels, Counter> {
        let family = Family::<Labels, Counter>::default();
        self.with(|registry| registry.register(name, help, family.clone()));
        family
    }

    /// Registers gauges. A gauge with a unit carries it in its name, e.g. `skep_store_size_bytes`.
    pub fn gauges(&self, name: &str, help: &str) -> Family<Labels, Gauge> {
        let family = Family::<Labels, Gauge>::default();
        self.with(|registry| registry.register(name, help, family.clone()));
        family
    }

    /// Registers histograms of seconds from 0.1 ms to 26 s by factors of two; `_seconds` is appended to the name.
    pub fn durations(&self, name: &str, help: &str) -> Family<Labels, Histogram> {
        let family = Family::<Labels, Histogram>::new_with_constructor(duration_histogram);
        self.with(|registry| registry.register_with_unit(name, help, Unit::Seconds, family.clone()));
        family
    }

    /// The OpenMetrics text of all families.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        self.with(|registry| prometheus_client::encoding::text::encode(&mut text, registry))
            .expect("writing to a String does not fail");
        text
    }

    fn with<T>(&self, f: impl FnOnce(&mut prometheus_client::registry::Registry) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn duration_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 19))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_exposed_with_labels_and_units() {
        let registry = Registry::default();
        let retries = registry.counters("skep_retries", "Retries");
        let depth = registry.gauges("skep_depth", "Depth");
        let took = registry.durations("skep_took", "Time");
        retries.get_or_create(&vec![("kind", "Pod".to_owned())]).inc();
        depth.get_or_create(&vec![("kind", "Pod".to_owned())]).set(3);
        took.get_or_create(&vec![("kind", "Pod".to_owned())]).observe(0.2);
        let text = registry.encode();
        assert!(text.contains("skep_retries_total{kind=\"Pod\"} 1\n"), "{text}");
        assert!(text.contains("skep_depth{kind=\"Pod\"} 3\n"), "{text}");
        assert!(text.contains("skep_took_seconds_count{kind=\"Pod\"} 1\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
