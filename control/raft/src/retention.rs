use std::collections::VecDeque;
use std::time::{Duration, Instant};

use skep_store::Revision;

use crate::{Store, StoreError};

/// How much history is kept: the newest of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// No revision that is older than so many.
    pub revisions_max: u64,
    /// No revision that was superseded longer ago.
    pub age_max: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { revisions_max: 10_000, age_max: Duration::from_secs(300) }
    }
}

/// Compacts a store as it grows. It does so when it is told to: it has no task of its own.
#[derive(Debug)]
pub struct Compactor {
    retention: Retention,
    /// When which revision was the newest, oldest first.
    seen: VecDeque<(Instant, Revision)>,
    compacted: Revision,
}

impl Compactor {
    /// One that knows of no revision yet.
    #[must_use]
    pub fn new(retention: Retention) -> Compactor {
        Compactor { retention, seen: VecDeque::new(), compacted: 0 }
    }

    /// How often [`Compactor::compact`] should be called.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.retention.age_max / 10
    }

    /// Compacts what the retention does not cover any more, and tells up to where, if there was anything.
    ///
    /// # Errors
    /// As [`Store::compact`], except that somebody else's compaction is none. Call again later.
    pub async fn compact(&mut self, store: &Store) -> Result<Option<Revision>, StoreError> {
        let revision = store.read_index().await?;
        let Some(target) = self.plan(Instant::now(), revision) else { return Ok(None) };
        match store.compact(target).await {
            Ok(()) | Err(StoreError::Compacted { .. }) => {
                self.compacted = target;
                Ok(Some(target))
            }
            Err(error) => Err(error),
        }
    }

    fn plan(&mut self, now: Instant, revision: Revision) -> Option<Revision> {
        let mut target = revision.saturating_sub(self.retention.revisions_max);
        // What was the newest at least `age_max` ago is the last that has to be readable.
        while let Some((_, old)) = self.seen.pop_front_if(|(at, _)| now.duration_since(*at) >= self.retention.age_max) {
            target = target.max(old);
        }
        if self.seen.back().is_none_or(|(_, newest)| *newest < revision) {
            self.seen.push_back((now, revision));
        }
        (target > self.compacted).then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_by_age_and_by_number() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut compactor = Compactor::new(Retention { revisions_max: 100, age_max: Duration::from_secs(300) });
        assert_eq!(compactor.plan(at(0), 10), None);
        assert_eq!(compactor.plan(at(30), 20), None);
        assert_eq!(compactor.plan(at(299), 30), None);
        assert_eq!(compactor.plan(at(300), 30), Some(10));
        compactor.compacted = 10;
        assert_eq!(compactor.plan(at(310), 500), Some(400));
        compactor.compacted = 400;
        assert_eq!(compactor.plan(at(330), 500), None, "revision 20 was compacted by number");
    }
}
