//! One resource: its watch, its cache, its handlers.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_resource};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::cache::{Cache, Change};
use crate::index::Index;

/// An object type that can be watched.
pub trait Watched: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static {}

impl<K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static> Watched for K {}

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// A resource's cache. Clones are the same cache.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    cache: RwLock<Cache<K>>,
    handlers: Mutex<Arc<Vec<Handler<K>>>>,
    synced: watch::Sender<bool>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Watched> Default for Informer<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Watched> Informer<K> {
    /// An empty cache that nothing feeds yet.
    pub fn new() -> Self {
        let handlers = Mutex::new(Arc::new(Vec::new()));
        let (synced, _) = watch::channel(false);
        Self { shared: Arc::new(Shared { cache: RwLock::new(Cache::default()), handlers, synced }) }
    }

    /// The object of that name; the namespace is empty for cluster-scoped ones.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.read(|cache| cache.get(namespace, name))
    }

    /// A namespace's objects, by name.
    pub fn list(&self, namespace: &str) -> Vec<Arc<K>> {
        self.read(|cache| cache.list(namespace))
    }

    /// All objects, in no order.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read(Cache::all)
    }

    /// The objects by the keys that `keys_of` says, pure and the same at all times. Who asks for the same name again gets
    /// the same index.
    pub fn index(&self, name: &'static str, keys_of: fn(&K) -> Vec<String>) -> Index<K> {
        let number = self.write(|cache| cache.index(name, keys_of));
        Index { informer: self.clone(), number }
    }

    /// Calls `handler` for each change from now on. It must not block. What came before is had by
    /// [`Informer::synced`] and [`Informer::all`].
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static)
    where
        Handler<K>: 'static,
    {
        let mut handlers = self.shared.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        match Arc::get_mut(&mut handlers) {
            Some(list) => list.push(Box::new(handler)),
            None => {
                let earlier = Arc::clone(&handlers);
                let both: Handler<K> = Box::new(move |change| {
                    earlier.iter().for_each(|handler| handler(change));
                    handler(change);
                });
                *handlers = Arc::new(vec![both]);
            }
        }
    }

    /// Waits until the first list is in.
    pub async fn synced(&self) {
        // The sender lives as long as `self`, so that this only ends when the value is there.
        let _ = self.shared.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Takes in the answer to an own write, ahead of the watch.
    pub fn record(&self, written: K) {
        let change = self.write(|cache| cache.record(slim(written)));
        self.tell(change);
    }

    /// Drops an object that the API says is gone.
    pub fn forget(&self, gone: &K) {
        let change = self.write(|cache| cache.remove(gone.meta()));
        self.tell(change);
    }

    /// Feeds the cache until `stop`. Survives an API that is not there yet, goes away, or has forgotten the version.
    pub async fn run(&self, api: Api<K>, config: watcher::Config, stop: CancellationToken) {
        let resource = api.resource_url().to_owned();
        self.follow(&resource, watch_resource(api, config), stop).await;
    }

    /// Like [`Informer::run`], from a stream of watch events, e.g. of metadata alone.
    pub async fn follow(
        &self,
        resource: &str,
        events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
        stop: CancellationToken,
    ) {
        let mut events = pin!(events.backoff(Retry::default()));
        let mut failing = false;
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(event)) => {
                    if failing {
                        debug!(resource, "watch works again");
                    }
                    failing = false;
                    self.take(event);
                }
                Some(Err(error)) if failing => debug!(resource, error = %error, "watch still fails"),
                Some(Err(error)) => {
                    failing = true;
                    warn!(resource, error = %error, "watch failed; it is tried again");
                }
                None => return,
            }
        }
    }

    /// Takes in one event of a watch.
    pub fn take(&self, event: Event<K>) {
        match event {
            Event::Init => self.write(Cache::begin_list),
            Event::InitApply(object) => self.write(|cache| cache.list_item(slim(object))),
            Event::InitDone => {
                let changes = self.write(Cache::end_list);
                self.shared.synced.send_replace(true);
                self.tell(changes);
            }
            Event::Apply(object) => {
                let change = self.write(|cache| cache.apply(slim(object)));
                self.tell(change);
            }
            Event::Delete(object) => {
                let change = self.write(|cache| cache.delete(&object));
                self.tell(change);
            }
        }
    }

    fn tell(&self, changes: impl IntoIterator<Item = Change<K>>) {
        let handlers = Arc::clone(&self.shared.handlers.lock().unwrap_or_else(PoisonError::into_inner));
        for change in changes {
            handlers.iter().for_each(|handler| handler(&change));
        }
    }

    pub(crate) fn read<T>(&self, f: impl FnOnce(&Cache<K>) -> T) -> T {
        f(&self.shared.cache.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut Cache<K>) -> T) -> T {
        f(&mut self.shared.cache.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Drops what no loop reads and what takes a third of an object.
fn slim<K: Watched>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// 100 ms, doubling up to 5 s: an API of the same process is there soon, and one that is away is not flooded.
#[derive(Default)]
struct Retry {
    failures: u32,
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = Duration::from_millis(100 << self.failures.min(6)).min(Duration::from_secs(5));
        self.failures = self.failures.saturating_add(1);
        Some(delay)
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.failures = 0;
    }
}
