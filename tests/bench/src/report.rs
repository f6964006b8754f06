//! Figures as JSON lines.

use std::time::Duration;

use serde_json::json;

/// Prints one figure over its samples.
pub(crate) fn row(subject: &str, metric: &str, unit: &str, samples: &[f64]) {
    println!("{}", json!({"subject": subject, "metric": metric, "unit": unit, "samples": samples}));
}

/// What many requests took.
pub(crate) struct Took {
    /// Of each request.
    pub each: Vec<Duration>,
    /// From the first to the last.
    pub all: Duration,
    /// Of the server's processors.
    pub cpu: Duration,
}

impl Took {
    /// Requests in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.each.len() as f64 / self.all.as_secs_f64()
    }

    /// Prints rate, percentiles and what the server spent on each.
    pub(crate) fn report(mut self, subject: &str, what: &str) {
        row(subject, &format!("{what}_rate"), "1/s", &[self.rate()]);
        let count = self.each.len().max(1) as f64;
        row(subject, &format!("{what}_cpu"), "us", &[self.cpu.as_secs_f64() * 1e6 / count]);
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            row(subject, &format!("{what}_{name}"), "ms", &[percentile_ms(&mut self.each, share)]);
        }
    }
}

/// The time that a share of all stays below.
pub(crate) fn percentile_ms(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = (times.len() as f64 * share) as usize;
    times.get(at.min(times.len().saturating_sub(1))).map_or(0.0, Duration::as_secs_f64) * 1e3
}
