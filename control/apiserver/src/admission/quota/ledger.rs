//! Quotas of one namespace as the writes under way will leave them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use skep_registry::Object;

type Entries = HashMap<Bytes, Entry>;

/// By key in the store. A quota that no write under way is charged for is not here.
#[derive(Default)]
pub(crate) struct Ledger {
    entries: Arc<Mutex<Entries>>,
}

struct Entry {
    /// As the last write will leave it.
    value: Bytes,
    quota: Box<dyn Object>,
    /// Writes that are charged for it and not settled.
    writes: usize,
    /// Which chain of writes it is: one that fails ends its chain.
    chain: Arc<()>,
}

impl Ledger {
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.entries).is_empty()
    }

    /// Opens it for one write; others wait.
    pub(super) fn open(&self) -> Book<'_> {
        Book { entries: lock(&self.entries), ledger: self }
    }
}

fn lock(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An open ledger.
pub(super) struct Book<'a> {
    entries: MutexGuard<'a, Entries>,
    ledger: &'a Ledger,
}

impl Book<'_> {
    /// A quota as the last write will leave it.
    pub(super) fn find(&self, key: &Bytes) -> Option<(Bytes, Box<dyn Object>)> {
        self.entries.get(key).map(|entry| (entry.value.clone(), entry.quota.clone_object()))
    }

    /// Notes how one more write will leave a quota.
    pub(super) fn note(&mut self, key: Bytes, value: Bytes, quota: Box<dyn Object>) -> Share {
        let (writes, chain) = match self.entries.remove(&key) {
            Some(entry) => (entry.writes + 1, entry.chain),
            None => (1, Arc::default()),
        };
        let entry = Entry { value, quota, writes, chain: Arc::clone(&chain) };
        self.entries.insert(key.clone(), entry);
        Share { entries: Arc::clone(&self.ledger.entries), key, chain, settled: false }
    }
}

/// One write's part in what is noted of a quota.
pub(super) struct Share {
    entries: Arc<Mutex<Entries>>,
    key: Bytes,
    chain: Arc<()>,
    settled: bool,
}

impl Share {
    /// It is in the store, and the cache knows.
    pub(super) fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut entries = lock(&self.entries);
        let Some(entry) = entries.get_mut(&self.key).filter(|entry| Arc::ptr_eq(&entry.chain, &self.chain)) else {
            return;
        };
        entry.writes -= 1;
        if entry.writes == 0 || !self.settled {
            entries.remove(&self.key);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use skep_registry::Registry;

    use super::*;

    fn note(ledger: &Ledger, value: &'static str) -> Share {
        let registry = Registry::builtin();
        let quota = registry.get("", "v1", "resourcequotas").unwrap();
        let quota = quota.strategy.decode(serde_json::json!({"metadata": {"name": "q"}})).unwrap().object;
        ledger.open().note(Bytes::from_static(b"q"), Bytes::from_static(value.as_bytes()), quota)
    }

    fn left(ledger: &Ledger) -> Option<Bytes> {
        ledger.open().find(&Bytes::from_static(b"q")).map(|(value, _)| value)
    }

    #[test]
    fn writes_build_on_one_another_until_all_are_settled() {
        let ledger = Ledger::default();
        let (first, second) = (note(&ledger, "1"), note(&ledger, "2"));
        first.settle();
        assert_eq!(left(&ledger).unwrap(), "2");
        second.settle();
        assert!(ledger.is_empty());
    }

    #[test]
    fn nobody_builds_on_a_write_that_failed() {
        let ledger = Ledger::default();
        let (first, second) = (note(&ledger, "1"), note(&ledger, "2"));
        drop(first);
        assert_eq!(left(&ledger), None);
        let third = note(&ledger, "3");
        second.settle();
        assert_eq!(left(&ledger).unwrap(), "3", "that one is of another chain");
        third.settle();
        assert!(ledger.is_empty());
    }
}
