use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Position, Revision};

/// A request that the state machine turns down, the same on every member. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Refusal {
    /// The revision's history is gone.
    #[error("required revision has been compacted: the oldest that can be read is {compact_revision}")]
    Compacted {
        /// The revision of the last compaction: it can be read, and watched from the one after it.
        compact_revision: Revision,
    },
    /// The revision is yet to come.
    #[error("required revision {revision} is a future revision: the newest is {current}")]
    FutureRevision {
        /// The revision asked for.
        revision: Revision,
        /// The store's revision.
        current: Revision,
    },
    /// A transaction would change a key twice.
    #[error("duplicate key {:?} given in txn request", String::from_utf8_lossy(key))]
    DuplicateKey {
        /// The key.
        key: Bytes,
    },
    /// A put or a delete of one key names none.
    #[error("key is not provided")]
    EmptyKey,
}

/// Why a request had no answer.
#[derive(Debug, Error)]
pub enum Error<E: std::error::Error + 'static> {
    /// The request's own fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The index names a record that the backend lacks: the state is damaged.
    #[error("record {0} is missing from the state")]
    Missing(Position),
    /// The backend failed. After a failed change the state machine is not to be used again.
    #[error("the state cannot be read")]
    Backend(#[source] E),
}
