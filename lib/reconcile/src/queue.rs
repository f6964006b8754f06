//! The handle by which keys are added.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::options::Options;
use crate::reconciler::Key;
use crate::state::State;

/// Adds keys to one loop. Clones are the same queue. Adding never blocks and never fails.
pub struct Queue<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Key> Queue<K> {
    /// An empty queue. The loop that runs it takes the same options.
    pub fn new(options: &Options) -> Self {
        let state = Mutex::new(State::new(options.queue_len_max));
        Self { shared: Arc::new(Shared { state, changed: Notify::new() }) }
    }

    /// Wakes a key. `cause` is what did it, e.g. `Pod`.
    pub fn add(&self, key: K, cause: &'static str) {
        self.change(|state| state.add(key, cause));
    }

    /// Wakes a key later; the earlier of two delays counts.
    pub fn add_after(&self, key: K, delay: Duration, cause: &'static str) {
        self.change(|state| state.add_at(key, Instant::now() + delay, cause));
    }

    /// Wakes every key there is.
    pub fn resync(&self) {
        self.change(State::request_resync);
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State<K>) -> T) -> T {
        let result = self.with(change);
        self.shared.changed.notify_one();
        result
    }

    /// Like [`Queue::change`], without waking the dispatcher, which is the one that calls.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut State<K>) -> T) -> T {
        f(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) async fn changed(&self) {
        self.shared.changed.notified().await;
    }
}
