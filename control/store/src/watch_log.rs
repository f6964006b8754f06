use std::collections::VecDeque;
use std::sync::Arc;

use crate::{Event, Revision};

/// All changes of one revision, in the order in which the transaction made them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// The revision.
    pub revision: Revision,
    /// The changes.
    pub events: Vec<Event>,
}

impl WatchBatch {
    fn bytes(&self) -> usize {
        self.events.iter().map(event_bytes).sum()
    }
}

fn event_bytes(event: &Event) -> usize {
    let size = |kv: &crate::KeyValue| kv.key.len() + kv.value.len() + size_of::<Event>();
    match event {
        Event::Put { kv, prev } => size(kv) + prev.as_ref().map_or(0, size),
        Event::Delete { key, prev, .. } => key.len() + prev.as_ref().map_or(0, size),
    }
}

/// How much of the recent past is kept in memory for watchers. Older changes are read from the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchLogLimits {
    /// Revisions.
    pub revisions_max: usize,
    /// Bytes of keys and values.
    pub bytes_max: usize,
}

impl Default for WatchLogLimits {
    fn default() -> Self {
        WatchLogLimits { revisions_max: 4096, bytes_max: 4 << 20 }
    }
}

/// The newest revisions without a gap, within limits.
#[derive(Debug, Default)]
pub(crate) struct WatchLog {
    limits: WatchLogLimits,
    batches: VecDeque<Arc<WatchBatch>>,
    bytes: usize,
}

impl WatchLog {
    pub(crate) fn new(limits: WatchLogLimits) -> WatchLog {
        WatchLog { limits, batches: VecDeque::new(), bytes: 0 }
    }

    pub(crate) fn push(&mut self, batch: Arc<WatchBatch>) {
        debug_assert!(self.batches.back().is_none_or(|last| last.revision + 1 == batch.revision));
        self.bytes += batch.bytes();
        self.batches.push_back(batch);
        while self.batches.len() > self.limits.revisions_max || self.bytes > self.limits.bytes_max {
            self.pop();
        }
    }

    /// Up to `limit` revisions from `from` on; `None` if it does not reach back so far.
    pub(crate) fn read(&self, from: Revision, limit: usize) -> Option<Vec<Arc<WatchBatch>>> {
        let first = self.batches.front()?.revision;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        Some(self.batches.iter().skip(skip).take(limit).cloned().collect())
    }

    pub(crate) fn compact(&mut self, revision: Revision) {
        while self.batches.front().is_some_and(|batch| batch.revision <= revision) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.bytes -= batch.bytes();
        }
    }
}
