use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use skep_store::{Event, Revision, WatchBatch};
use tokio::sync::watch;

use crate::StoreError;
use crate::state::{State, Tip};

/// Revisions that are read in one go.
const READ_LEN_MAX: usize = 256;

/// Follows a range of keys. It reads what the state machine keeps, at its own pace, and so holds nobody up: if it falls behind
/// what is in memory it reads from the disk, and behind a compaction it ends.
pub(crate) struct Watcher {
    /// Weak, so that a forgotten watch does not keep a store open that was shut down.
    state: Weak<State>,
    tip: watch::Receiver<Tip>,
    start: Bytes,
    end: Option<Bytes>,
    next: Revision,
    ready: VecDeque<WatchBatch>,
}

impl Watcher {
    pub(crate) fn new(state: &Arc<State>, start: Bytes, end: Option<Bytes>, from: Revision) -> Watcher {
        let tip = state.tip();
        let next = if from == 0 { state.revision() + 1 } else { from };
        Watcher { state: Arc::downgrade(state), tip, start, end, next, ready: VecDeque::new() }
    }

    pub(crate) fn stream(self) -> BoxStream<'static, Result<WatchBatch, StoreError>> {
        let items = stream::unfold(Some(self), |watcher| async {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(batch) => Some((Ok(batch), Some(watcher))),
                Err(error) => Some((Err(error), None)),
            }
        });
        items.boxed()
    }

    async fn next(&mut self) -> Result<WatchBatch, StoreError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            let next = self.next;
            let tip = self.tip.wait_for(|tip| tip.revision >= next || tip.failed.is_some()).await;
            let failed = tip.map_err(|_| StoreError::Stopped)?.failed.clone();
            if let Some(failed) = failed {
                return Err(failed);
            }
            let state = self.state.upgrade().ok_or(StoreError::Stopped)?;
            let batches = state.changes(next, READ_LEN_MAX).await?;
            self.take(&batches);
        }
    }

    /// Keeps what concerns this watch, and, where the last revision does not, that it was passed.
    fn take(&mut self, batches: &[Arc<WatchBatch>]) {
        let Some(last) = batches.last() else { return };
        for batch in batches {
            let events: Vec<Event> = batch.events.iter().filter(|event| self.covers(event)).cloned().collect();
            if !events.is_empty() || batch.revision == last.revision {
                self.ready.push_back(WatchBatch { revision: batch.revision, events });
            }
        }
        self.next = last.revision + 1;
    }

    fn covers(&self, event: &Event) -> bool {
        let key = match event {
            Event::Put { kv, .. } => &kv.key,
            Event::Delete { key, .. } => key,
        };
        match &self.end {
            None => *key == self.start,
            Some(end) if end.as_ref() == b"\0" => *key >= self.start,
            Some(end) => *key >= self.start && key < end,
        }
    }
}
