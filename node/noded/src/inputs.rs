//! What the loops that write the kernel's tables begin with: watches in one stream, taken in batches, and a pause after a refusal.

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{BoxStream, ReadyChunks, SelectAll, select_all};
use futures::{StreamExt as _, future};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_resource};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The label selector that takes everything.
pub(crate) const ALL: &str = "";
/// As many events as are there are written at once, up to this many.
const BATCH_MAX: usize = 512;
/// After a refusal by the tables, until everything is offered again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Events of several watches.
pub(crate) struct Inputs<I> {
    events: ReadyChunks<SelectAll<BoxStream<'static, I>>>,
    retry_at: Option<Instant>,
}

impl<I> Inputs<I> {
    pub(crate) fn new(watches: impl IntoIterator<Item = BoxStream<'static, I>>) -> Self {
        Self { events: select_all(watches).ready_chunks(BATCH_MAX), retry_at: None }
    }

    /// The events that are there; none when it is time to offer everything again. Nothing more comes after `stop`.
    pub(crate) async fn next(&mut self, stop: &CancellationToken) -> Option<Vec<I>> {
        let retry_at = self.retry_at;
        tokio::select! {
            () = stop.cancelled() => None,
            () = async { if let Some(retry_at) = retry_at { tokio::time::sleep_until(retry_at).await } }, if retry_at.is_some() => {
                self.retry_at = None;
                Some(Vec::new())
            }
            batch = self.events.next() => batch,
        }
    }

    /// The tables refused: until it is time again, events are only taken in.
    pub(crate) fn refused(&mut self) {
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
    }

    /// Whether they refused, and it is not time yet.
    pub(crate) fn waits(&self) -> bool {
        self.retry_at.is_some()
    }
}

/// All objects of a type that a label selector takes. Watch errors are logged and tried again with a growing delay, by the stream itself.
pub(crate) fn watch<K, I>(client: &Client, labels: &str, into: fn(Event<K>) -> I) -> BoxStream<'static, I>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    I: Send + 'static,
{
    let all = watcher::Config::default();
    let config = if labels == ALL { all } else { all.labels(labels) };
    let events = watch_resource(Api::<K>::all(client.clone()), config).default_backoff();
    let known = |event: watcher::Result<Event<K>>| {
        let event = event.inspect_err(|error| {
            tracing::warn!(kind = %K::kind(&()), error = error as &dyn std::error::Error, "watch begins anew");
        });
        event.ok()
    };
    events.filter_map(move |event| future::ready(known(event).map(into))).boxed()
}

/// A list in the making.
pub(crate) struct Listing<T> {
    fresh: Vec<T>,
    complete: bool,
}

impl<T> Listing<T> {
    pub(crate) fn new() -> Self {
        Self { fresh: Vec::new(), complete: false }
    }

    pub(crate) fn begin(&mut self) {
        self.fresh.clear();
    }

    pub(crate) fn add(&mut self, object: T) {
        self.fresh.push(object);
    }

    /// All objects of the list.
    pub(crate) fn end(&mut self) -> Vec<T> {
        self.complete = true;
        std::mem::take(&mut self.fresh)
    }

    /// Whether there has been a whole list.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }
}
