use std::io;
use std::path::PathBuf;

use skep_store::{Refusal, Revision};
use thiserror::Error;

use crate::NodeId;

/// Why a store could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory cannot be made or used.
    #[error("store directory {} cannot be used: make it a directory that this user may write", dir.display())]
    Directory {
        /// The store's directory.
        dir: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("store directory {} is in use by another process: stop that one, or name another directory", dir.display())]
    Locked {
        /// The store's directory.
        dir: PathBuf,
    },
    /// No space left.
    #[error("no space left for the store in {}: free some and start again", dir.display())]
    DiskFull {
        /// The store's directory.
        dir: PathBuf,
    },
    /// It holds something that no store wrote.
    #[error("the store in {} is damaged ({reason}): restore it from a snapshot, or remove it to start empty", dir.display())]
    Corrupt {
        /// The store's directory.
        dir: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It belongs to another member, or was written by a newer version.
    #[error("the store in {} is not this member's: {reason}", dir.display())]
    Mismatch {
        /// The store's directory.
        dir: PathBuf,
        /// What differs.
        reason: String,
    },
    /// It cannot be read or written.
    #[error("the store in {} failed to open: {reason}", dir.display())]
    Io {
        /// The store's directory.
        dir: PathBuf,
        /// What failed.
        reason: String,
    },
    /// Raft did not start.
    #[error("the store in {} did not become ready: {reason}", dir.display())]
    NotReady {
        /// The store's directory.
        dir: PathBuf,
        /// What it was waiting for.
        reason: String,
    },
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The revision's history is gone: read anew, and watch from there.
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
    /// A transaction that no store takes.
    #[error("invalid transaction")]
    InvalidTxn(#[source] Refusal),
    /// A transaction with too many bytes of keys and values.
    #[error("request is too large: {bytes} bytes, of at most {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest that is taken.
        bytes_max: usize,
    },
    /// Writes are refused until space is made; reads, deletes and compactions go on.
    #[error("no space: {} has {bytes_free} bytes free and the store needs {bytes_needed} to write safely", dir.display())]
    DiskFull {
        /// The store's directory.
        dir: PathBuf,
        /// What is free there.
        bytes_free: u64,
        /// What has to be.
        bytes_needed: u64,
    },
    /// Another member leads, or none does.
    #[error("not the leader")]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<NodeId>,
    },
    /// The store was shut down.
    #[error("the store is shut down")]
    Stopped,
    /// The store's disk failed; nothing is written until the process is started again. A write in flight may or may not have
    /// been made.
    #[error("the store failed: {reason}")]
    Failed {
        /// What failed.
        reason: String,
    },
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Compacted { compact_revision } => StoreError::Compacted { compact_revision },
            Refusal::FutureRevision { revision, current } => StoreError::FutureRevision { revision, current },
            refusal @ (Refusal::DuplicateKey { .. } | Refusal::EmptyKey) => StoreError::InvalidTxn(refusal),
        }
    }
}
