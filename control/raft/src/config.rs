//! The types that Raft is made over.

use std::io;

use serde::{Deserialize, Serialize};
use skep_store::{Refusal, Revision, Txn, TxnResult};

/// Identity of a member: unique in its cluster, and never used again.
pub type NodeId = u64;

openraft::declare_raft_types!(
    /// Raft over [`Command`]s.
    pub(crate) Config:
        D = Command,
        R = Response,
        NodeId = NodeId,
        Node = openraft::BasicNode,
        SnapshotData = tokio::fs::File,
);

pub(crate) type Raft = openraft::Raft<Config>;
pub(crate) type Entry = openraft::Entry<Config>;
pub(crate) type LogId = openraft::LogId<NodeId>;
pub(crate) type Vote = openraft::Vote<NodeId>;
pub(crate) type Membership = openraft::StoredMembership<NodeId, openraft::BasicNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<NodeId, openraft::BasicNode>;
pub(crate) type Metrics = openraft::RaftMetrics<NodeId, openraft::BasicNode>;
pub(crate) type StorageError = openraft::StorageError<NodeId>;

/// An entry of the replicated log. Its encoding is on disk: new kinds go at the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Transactions that share an entry, and so an fsync; each stands for itself.
    Txns(Vec<Txn>),
    /// Compaction up to a revision.
    Compact(Revision),
}

impl Command {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Command::Txns(txns) => txns.iter().map(Txn::bytes).sum(),
            Command::Compact(_) => size_of::<Revision>(),
        }
    }
}

/// What applying an entry gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    /// The entry was Raft's own.
    None,
    /// One for each transaction.
    Txns(Vec<Result<TxnResult, Refusal>>),
    /// For a compaction.
    Compact(Result<(), Refusal>),
}

/// Raft's configuration. A member alone has nobody to wait for; the times matter once there are peers.
pub(crate) fn raft_config() -> openraft::Config {
    openraft::Config {
        cluster_name: "skep".to_owned(),
        heartbeat_interval: 250,
        election_timeout_min: 1000,
        election_timeout_max: 2000,
        install_snapshot_timeout: 30_000,
        // Snapshots are made by size: see `Machine`.
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 256,
        purge_batch_size: 64,
        ..openraft::Config::default()
    }
}

/// A failure of the disk, as Raft takes it.
pub(crate) fn storage_error(
    subject: openraft::ErrorSubject<NodeId>,
    verb: openraft::ErrorVerb,
    source: io::Error,
) -> StorageError {
    StorageError::from_io_error(subject, verb, source)
}
