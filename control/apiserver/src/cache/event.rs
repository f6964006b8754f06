//! A change as watchers are told of it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::Change;

/// What a watcher is told that an object was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// Forms of which all watchers get the same bytes.
const SHARED_FORMS: usize = 2;

/// A change on its way to all its watchers, which share its encoded forms. They go when the last one has sent them.
#[derive(Debug)]
pub(crate) struct Event {
    pub change: Arc<Change>,
    lines: [[OnceLock<Bytes>; 3]; SHARED_FORMS],
}

impl Event {
    pub(super) fn of(change: Arc<Change>) -> Self {
        Self { change, lines: Default::default() }
    }

    /// The changed object's line of a kind in a form; made by whoever is first to need it.
    pub(crate) fn line(&self, form: usize, kind: EventKind, make: impl FnOnce() -> Bytes) -> Bytes {
        match self.lines.get(form) {
            Some(lines) => lines[kind as usize].get_or_init(make).clone(),
            None => make(),
        }
    }
}
