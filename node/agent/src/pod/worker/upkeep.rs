//! What a worker looks after besides its plan: what failures show, deadlines, volumes, and telling of back-offs.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::runtime::Runtime;
use super::super::{containers, plan, sandbox};
use super::{RESYNC, VOLUMES, Worker, settle, terminal, until};

/// How long a failed pull shows its error before it shows that it backs off.
const PULL_ERROR_SHOWN: SignedDuration = SignedDuration::from_secs(2);

impl Worker {
    /// A pull that failed shows `ErrImagePull` first and then that it backs off. Returns when to look again.
    pub(super) fn age_failures(&mut self, now: Timestamp) -> Duration {
        let mut wait = RESYNC;
        for (name, failure) in &mut self.failures {
            if failure.reason != "ErrImagePull" {
                continue;
            }
            let shown_until = failure.since + PULL_ERROR_SHOWN;
            if now < shown_until {
                wait = wait.min(until(shown_until, now));
                continue;
            }
            let image = crate::pod::container(&self.pod, name);
            let image = image.and_then(|container| container.image).unwrap_or_default();
            let text = format!("Back-off pulling image \"{image}\"");
            let recorder = &self.context.recorder;
            recorder.normal(&self.pod, Some(name), "BackOff", text.clone());
            recorder.warning(&self.pod, Some(name), "Failed", "Error: ImagePullBackOff");
            failure.message = format!("{text}: ErrImagePull: {}", failure.message);
            failure.reason = "ImagePullBackOff".to_owned();
        }
        wait
    }

    /// Fails a pod that has been active for longer than its spec allows.
    pub(super) fn check_deadline(&mut self, now: Timestamp) -> Duration {
        let limit_s = self.pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
        let start = self.pod.status.as_ref().and_then(|status| status.start_time.clone());
        let (Some(limit_s), Some(start), false) = (limit_s, start, terminal(&self.pod)) else { return RESYNC };
        let end = start.0 + SignedDuration::from_secs(limit_s);
        if now < end {
            return until(end, now);
        }
        if self.failed.is_none() {
            let text = "Pod was active on the node longer than the specified deadline";
            self.context.recorder.normal(&self.pod, None, "DeadlineExceeded", text);
            self.failed = Some(("DeadlineExceeded".to_owned(), text.to_owned()));
        }
        RESYNC
    }

    pub(super) fn refresh_volumes(&mut self, runtime: &Runtime, stop: bool, now: Timestamp) {
        let due = now.duration_since(self.volumes_at) >= SignedDuration::from_secs(RESYNC.as_secs().cast_signed());
        if stop || !due || runtime.ready_sandbox().is_none() || self.busy.contains_key(VOLUMES) {
            return;
        }
        self.volumes_at = now;
        let work = sandbox::ensure_volumes(self.context.clone(), self.pod.clone(), self.key.clone());
        let key = self.key.clone();
        self.spawn(VOLUMES, async move { settle(&key, work.await).await });
    }

    pub(super) fn tell_backoffs(&mut self, runtime: &Runtime, stop: bool, now: Timestamp) {
        if stop {
            return;
        }
        for container in containers(&self.pod).filter(|container| !self.busy.contains_key(&container.name)) {
            let Some(held) = runtime.latest(&container.name) else { continue };
            let Some(exit) = held.exit() else { continue };
            let waits = self.backoffs.waiting(&plan::backoff_key(container), exit.finished, now).is_some();
            if waits && self.told.insert(held.id.clone()) {
                let name = &container.name;
                let pod = format!("{}_{}({})", self.key.name, self.key.namespace, self.key.uid);
                let text = format!("Back-off restarting failed container {name} in pod {pod}");
                self.context.recorder.warning(&self.pod, Some(name), "BackOff", text);
            }
        }
        self.told.retain(|id| runtime.containers.iter().any(|held| held.id == *id));
    }
}
