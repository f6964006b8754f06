//! What writes of this server know of the objects that they store, so that the task that follows the store need not decode what was
//! just encoded.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::object::Facts;

/// By key in the store: one entry for each write under way, until its event is applied.
#[derive(Default)]
pub(crate) struct Fresh(Mutex<HashMap<Bytes, Known>>);

struct Known {
    /// Of the version of the resource whose facts these are.
    slot: usize,
    value: Bytes,
    facts: Facts,
}

impl Fresh {
    /// Notes what a write is about to store. Unless it is [kept](Note::keep), the note goes with its guard.
    pub(crate) fn note(&self, key: Bytes, value: Bytes, slot: usize, facts: Facts) -> Note<'_> {
        self.lock().insert(key.clone(), Known { slot, value: value.clone(), facts });
        Note { fresh: self, key, value, kept: false }
    }

    /// What is known of a value that was stored, and in which version of its resource. Whatever is known of the key is forgotten.
    pub(super) fn take(&self, key: &[u8], value: &[u8]) -> Option<(usize, Facts)> {
        self.lock().remove(key).filter(|known| known.value == value).map(|known| (known.slot, known.facts))
    }

    /// Forgets everything: events may have been passed over.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A note of a write whose outcome is not known yet.
pub(crate) struct Note<'a> {
    fresh: &'a Fresh,
    key: Bytes,
    value: Bytes,
    kept: bool,
}

impl Note<'_> {
    /// The value was stored: its event will take the note.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Note<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let mut known = self.fresh.lock();
        // Another write of the same object may have put its own there.
        if known.get(&self.key).is_some_and(|known| known.value.as_ptr() == self.value.as_ptr()) {
            known.remove(&self.key);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn facts(value: &str) -> Facts {
        Facts { labels: [("a", value)].into_iter().collect(), fields: [].into_iter().collect() }
    }

    #[test]
    fn a_note_is_taken_once_and_by_its_value_alone() {
        let (fresh, key) = (Fresh::default(), Bytes::from_static(b"k"));
        let note =
            |value: &'static str| fresh.note(key.clone(), Bytes::from(value.as_bytes().to_vec()), 7, facts(value));
        note("1").keep();
        let (slot, known) = fresh.take(b"k", b"1").unwrap();
        assert_eq!((slot, known.labels.get("a")), (7, Some("1")));
        assert!(fresh.take(b"k", b"1").is_none());
        note("2").keep();
        assert!(fresh.take(b"k", b"another").is_none());
        assert!(fresh.take(b"k", b"2").is_none());
    }

    #[test]
    fn a_write_that_failed_leaves_the_note_of_another() {
        let (fresh, key) = (Fresh::default(), Bytes::from_static(b"k"));
        let note =
            |value: &'static str| fresh.note(key.clone(), Bytes::from(value.as_bytes().to_vec()), 7, facts(value));
        let (first, second) = (note("1"), note("2"));
        drop(first);
        second.keep();
        assert!(fresh.take(b"k", b"2").is_some());
        drop(note("3"));
        assert!(fresh.take(b"k", b"3").is_none());
        assert!(fresh.lock().is_empty());
    }
}
