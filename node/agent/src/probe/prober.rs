use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Kind, Verdicts, run};
use crate::context::Shared;

const PERIOD_S: u64 = 10;
const FAILURE_THRESHOLD: i32 = 3;

/// One probe of one running container.
pub(super) struct Prober {
    pub(super) context: Shared,
    pub(super) pod: Pod,
    pub(super) container: Container,
    pub(super) container_id: String,
    pub(super) started: Timestamp,
    pub(super) ip: Option<IpAddr>,
    pub(super) kind: Kind,
    pub(super) probe: Probe,
    pub(super) verdicts: Verdicts,
    pub(super) wake: Arc<Notify>,
}

/// Counts results in a row up to the thresholds.
#[derive(Debug, Default)]
struct Streak {
    last: Option<bool>,
    len: i32,
}

impl Streak {
    /// Notes a result; the verdict if it has been the same often enough.
    fn note(&mut self, ok: bool, probe: &Probe) -> Option<bool> {
        self.len = if self.last == Some(ok) { self.len.saturating_add(1) } else { 1 };
        self.last = Some(ok);
        let threshold = if ok { probe.success_threshold.unwrap_or(1) } else { failure_threshold(probe) };
        (self.len >= threshold.max(1)).then_some(ok)
    }
}

fn failure_threshold(probe: &Probe) -> i32 {
    probe.failure_threshold.filter(|threshold| *threshold > 0).unwrap_or(FAILURE_THRESHOLD)
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default))
}

impl Prober {
    /// Probes until aborted, or until there is nothing more to find out.
    pub(super) async fn run(self) {
        let age = Duration::try_from(Timestamp::now().duration_since(self.started)).unwrap_or(Duration::ZERO);
        let delay = seconds(self.probe.initial_delay_seconds, 0).saturating_sub(age);
        let mut tick = tokio::time::interval_at(Instant::now() + delay, seconds(self.probe.period_seconds, PERIOD_S));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let timeout = seconds(self.probe.timeout_seconds, 1);
        let mut streak = Streak::default();
        loop {
            tick.tick().await;
            let result =
                run::run(&self.context, &self.container, &self.container_id, self.ip, &self.probe, timeout).await;
            if let Err(output) = &result {
                let text = format!("{} probe failed: {output}", self.kind.name());
                self.context.recorder.warning(&self.pod, Some(&self.container.name), "Unhealthy", text);
            }
            let Some(verdict) = streak.note(result.is_ok(), &self.probe) else { continue };
            let before = self
                .verdicts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert((self.container_id.clone(), self.kind), verdict);
            if before != Some(verdict) {
                self.wake.notify_one();
            }
            // The container is given up, or has started: either way this probe's work is done.
            if (self.kind != Kind::Readiness && !verdict) || (self.kind == Kind::Startup && verdict) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_need_their_thresholds_in_a_row() {
        let probe = Probe { failure_threshold: Some(2), success_threshold: Some(2), ..Probe::default() };
        let mut streak = Streak::default();
        let results = [false, true, false, false, true, true, false];
        let verdicts: Vec<_> = results.into_iter().map(|ok| streak.note(ok, &probe)).collect();
        assert_eq!(verdicts, [None, None, None, Some(false), None, Some(true), None]);
    }
}
