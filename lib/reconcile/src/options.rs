//! Settings of one loop.

use std::time::Duration;

use tokio::sync::watch;

/// Settings of one loop. The defaults are those of upstream's controllers.
#[derive(Clone, Debug)]
pub struct Options {
    /// Reconciles in flight at most.
    pub workers: usize,
    /// Keys that may wait. More mean a resync.
    pub queue_len_max: usize,
    /// Delay after a key's first failure; doubles with each further one.
    pub backoff_min: Duration,
    /// The longest delay.
    pub backoff_max: Duration,
    /// How often all keys are looked at without being asked; zero is never.
    pub resync: Duration,
    /// A reconcile that takes longer is ended and counts as failed.
    pub deadline: Duration,
    /// How long those in flight may go on after a stop.
    pub grace: Duration,
    /// Work is only done while this is true, e.g. while leading. `None` is always.
    pub gate: Option<watch::Receiver<bool>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 5,
            queue_len_max: 16 * 1024,
            backoff_min: Duration::from_millis(5),
            backoff_max: Duration::from_secs(1000),
            resync: Duration::ZERO,
            deadline: Duration::from_secs(120),
            grace: Duration::from_secs(5),
            gate: None,
        }
    }
}

impl Options {
    /// The delay after so many failures in a row.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let doubled =
            1u32.checked_shl(failures.saturating_sub(1)).and_then(|factor| self.backoff_min.checked_mul(factor));
        doubled.map_or(self.backoff_max, |delay| delay.min(self.backoff_max))
    }

    /// Whether work may be done now.
    pub(crate) fn is_open(&self) -> bool {
        self.gate.as_ref().is_none_or(|gate| *gate.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_bound() {
        let options = Options::default();
        assert_eq!(options.backoff(1), Duration::from_millis(5));
        assert_eq!(options.backoff(2), Duration::from_millis(10));
        assert_eq!(options.backoff(11), Duration::from_millis(5120));
        assert_eq!(options.backoff(18), Duration::from_millis(655_360));
        for failures in 19..70 {
            assert_eq!(options.backoff(failures), Duration::from_secs(1000));
        }
    }
}
