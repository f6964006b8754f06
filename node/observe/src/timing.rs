//! How long things took lately, in exact quantiles: a histogram's buckets are too coarse for a person.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::v1;

const KEPT: usize = 1024;

/// The last 1,024 durations of one kind.
#[derive(Debug, Default)]
pub struct Timing {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    recent: VecDeque<Duration>,
}

impl Timing {
    /// Adds one.
    pub fn observe(&self, duration: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.count += 1;
        if state.recent.len() == KEPT {
            state.recent.pop_front();
        }
        state.recent.push_back(duration);
    }

    /// The summary that people are shown.
    #[must_use]
    pub fn summary(&self) -> v1::Timing {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<Duration> = state.recent.iter().copied().collect();
        sorted.sort_unstable();
        // The nearest rank.
        let quantile = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
            milliseconds(sorted.get(rank))
        };
        v1::Timing {
            count: state.count,
            last_ms: milliseconds(state.recent.back()),
            p50_ms: quantile(50),
            p99_ms: quantile(99),
            max_ms: milliseconds(sorted.last()),
        }
    }
}

fn milliseconds(duration: Option<&Duration>) -> f64 {
    duration.map_or(0.0, |duration| (duration.as_secs_f64() * 1e6).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_the_latest() {
        let timing = Timing::default();
        assert_eq!(timing.summary(), v1::Timing::default());
        for ms in 0..2000 {
            timing.observe(Duration::from_millis(ms));
        }
        let summary = timing.summary();
        assert_eq!((summary.count, summary.last_ms, summary.max_ms), (2000, 1999.0, 1999.0));
        assert_eq!((summary.p50_ms, summary.p99_ms), (1487.0, 1989.0));
    }
}
