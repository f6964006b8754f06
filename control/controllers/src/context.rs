//! What all controllers are given.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use skep_informer::{EventType, Informers, Recorder};
use skep_reconcile::{CancellationToken, Options, Queue, Reconciler};
use std::sync::Arc;

/// What all controllers are given.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) informers: Informers,
    pub(crate) reconcile: Options,
    pub(crate) stop: CancellationToken,
}

impl Context {
    /// A recorder for events in the name of a controller.
    pub(crate) fn recorder(&self, component: &'static str) -> Recorder {
        Recorder::spawn(self.client.clone(), component, self.stop.clone())
    }

    pub(crate) fn queue<R: Reconciler>(&self) -> Queue<R::Key> {
        Queue::new(&self.reconcile)
    }

    /// Runs a controller once the caches that it uses are filled.
    pub(crate) async fn run<R: Reconciler>(&self, reconciler: R, queue: Queue<R::Key>) {
        self.run_with(reconciler, queue, self.reconcile.clone()).await;
    }

    /// Like [`Context::run`], with other settings than the common ones.
    pub(crate) async fn run_with<R: Reconciler>(&self, reconciler: R, queue: Queue<R::Key>, options: Options) {
        if self.informers.synced().await {
            skep_reconcile::run(Arc::new(reconciler), queue, options, self.stop.clone()).await;
        }
    }
}

/// The time, to the second: the API keeps no more, so that what is written compares equal to what is read.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// A wait of at least a millisecond, for the loop.
pub(crate) fn wait(duration: jiff::SignedDuration) -> Duration {
    Duration::try_from(duration).unwrap_or(Duration::ZERO).max(Duration::from_millis(1))
}

/// Emits an event of type Normal.
pub(crate) fn normal(recorder: &Recorder, regarding: ObjectReference, reason: &'static str, message: String) {
    recorder.event(EventType::Normal, regarding, reason, message);
}

/// Emits an event of type Warning.
pub(crate) fn warning(recorder: &Recorder, regarding: ObjectReference, reason: &'static str, message: String) {
    recorder.event(EventType::Warning, regarding, reason, message);
}
