//! The loop: takes keys off the queue, runs them, and settles how they ended.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info_span, warn};

use crate::metrics::{METRICS, Outcome, count, kind_labels};
use crate::options::Options;
use crate::queue::Queue;
use crate::reconciler::{Fault as _, Next, Reconciler};

/// Runs a controller until `stop` is cancelled. Begins with a resync, so that caches must be filled before.
pub async fn run<R: Reconciler>(reconciler: Arc<R>, queue: Queue<R::Key>, options: Options, stop: CancellationToken) {
    queue.resync();
    let mut dispatcher = Dispatcher { reconciler, queue, options, tasks: JoinSet::new(), running: HashMap::new() };
    dispatcher.run(&stop).await;
    dispatcher.finish().await;
}

struct Dispatcher<R: Reconciler> {
    reconciler: Arc<R>,
    queue: Queue<R::Key>,
    options: Options,
    tasks: JoinSet<Result<Next, ()>>,
    running: HashMap<Id, R::Key>,
}

impl<R: Reconciler> Dispatcher<R> {
    async fn run(&mut self, stop: &CancellationToken) {
        let resyncs = !self.options.resync.is_zero();
        let period = if resyncs { self.options.resync } else { std::time::Duration::from_secs(3600) };
        let mut resync = tokio::time::interval_at(Instant::now() + period, period);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut gate = self.options.gate.clone();
        loop {
            self.dispatch();
            let due = self.queue.with(|state| state.next_due());
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.settle(ended),
                () = self.queue.changed() => {}
                () = sleep_until(due) => {}
                () = gate_changed(&mut gate) => {}
                _ = resync.tick(), if resyncs => self.queue.resync(),
            }
        }
    }

    fn dispatch(&mut self) {
        if self.options.is_open() {
            if self.queue.with(|state| state.take_resync()) {
                let keys = self.reconciler.keys();
                self.queue.with(|state| state.fill(keys));
            }
            while self.tasks.len() < self.options.workers.max(1) {
                let Some((key, cause)) = self.queue.with(|state| state.next(Instant::now())) else { break };
                self.spawn(key, cause);
            }
        }
        let depth = self.queue.with(|state| state.depth());
        let labels = kind_labels(self.reconciler.kind());
        METRICS.depth.get_or_create(&labels).set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    fn spawn(&mut self, key: R::Key, cause: &'static str) {
        let kind = self.reconciler.kind();
        let span = info_span!("reconcile", kind, key = %key, cause, generation = tracing::field::Empty);
        let reconciler = Arc::clone(&self.reconciler);
        let task_key = key.clone();
        let deadline = self.options.deadline;
        let task = async move {
            let began = Instant::now();
            let result = tokio::time::timeout(deadline, reconcile(&*reconciler, &task_key)).await;
            METRICS.duration.get_or_create(&kind_labels(kind)).observe(began.elapsed().as_secs_f64());
            match result {
                Ok(Ok(next)) => Ok(next),
                Ok(Err(error)) if error.is_transient() => {
                    debug!(error = %chain(&error), "reconcile will be tried again");
                    Ok(Next::Retry("transient error"))
                }
                Ok(Err(error)) => {
                    warn!(error = %chain(&error), "reconcile failed");
                    Err(())
                }
                Err(_) => {
                    warn!(deadline_s = deadline.as_secs(), "reconcile took too long");
                    Err(())
                }
            }
        };
        let handle = self.tasks.spawn(task.instrument(span));
        self.running.insert(handle.id(), key);
    }

    fn settle(&mut self, ended: Result<(Id, Result<Next, ()>), JoinError>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(join) => {
                error!(kind = self.reconciler.kind(), error = %join, "reconcile panicked");
                (join.id(), Err(()))
            }
        };
        let Some(key) = self.running.remove(&id) else { return };
        let outcome = match result {
            Ok(Next::Done) => Outcome::Done,
            Ok(Next::After(_)) => Outcome::Requeued,
            Ok(Next::Retry(reason)) => {
                debug!(kind = self.reconciler.kind(), key = %key, reason, "reconcile will be tried again");
                Outcome::Retried
            }
            Err(()) => Outcome::Failed,
        };
        count(self.reconciler.kind(), outcome);
        let options = &self.options;
        self.queue.with(|state| {
            state.end(&key);
            match result {
                Ok(Next::Done) => state.succeed(&key),
                Ok(Next::After(delay)) => {
                    state.succeed(&key);
                    state.add_at(key, Instant::now() + delay, "requeue");
                }
                Ok(Next::Retry(_)) | Err(()) => {
                    let delay = options.backoff(state.fail(&key));
                    state.add_at(key, Instant::now() + delay, "retry");
                }
            }
        });
    }

    /// Waits for those in flight, and aborts what outlasts the grace.
    async fn finish(&mut self) {
        let tasks = &mut self.tasks;
        let drained =
            tokio::time::timeout(self.options.grace, async { while tasks.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            warn!(kind = self.reconciler.kind(), in_flight = self.tasks.len(), "aborting reconciles at stop");
            self.tasks.shutdown().await;
        }
    }
}

async fn reconcile<R: Reconciler>(reconciler: &R, key: &R::Key) -> Result<Next, R::Error> {
    let Some(observed) = reconciler.observe(key).await? else { return Ok(Next::Done) };
    let plan = R::plan(&observed);
    let applied = reconciler.apply(key, &observed, &plan).await;
    let reported = reconciler.report(key, &observed, &plan, &applied).await;
    applied.and(reported)
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn gate_changed(gate: &mut Option<watch::Receiver<bool>>) {
    match gate {
        Some(receiver) => {
            if receiver.changed().await.is_err() {
                // Its owner is gone: the last value stands.
                *gate = None;
            }
        }
        None => std::future::pending().await,
    }
}

/// An error and its sources, joined.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
