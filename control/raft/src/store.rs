//! The handle.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use openraft::error::{CheckIsLeaderError, RaftError};
use skep_store::{Range, RangeResult, Revision, Txn, TxnResult, WatchBatch, WatchLogLimits};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::config::{Command, Raft, Response};
use crate::propose::{self, Proposal};
use crate::space::{Space, Use};
use crate::state::State;
use crate::watch::Watcher;
use crate::{NodeId, OpenError, StoreError, open};

/// Most bytes of keys and values in a transaction.
pub(crate) const TXN_BYTES_MAX: usize = 3 << 20;
/// How long [`Store::shutdown`] waits for reads under way before it gives up on closing the database.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a store needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its directory, made if it is not there. The store is alone in it.
    pub dir: PathBuf,
    /// This member's identity; the same at every start.
    pub node_id: NodeId,
    /// Bytes that have to stay free on the disk; below it, writes are refused.
    pub reserve_bytes: u64,
    /// How much of the recent past is in memory for watchers.
    pub watch_log: WatchLogLimits,
}

impl Options {
    /// Defaults for all but these two.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, node_id: NodeId) -> Options {
        Options { dir: dir.into(), node_id, reserve_bytes: 48 << 20, watch_log: WatchLogLimits::default() }
    }
}

/// A handle on the replicated store. Clones share one store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    /// Gone once the store is shut down.
    running: std::sync::RwLock<Option<Running>>,
    /// Taken by whoever shuts it down; others wait for that.
    closing: Mutex<Option<Closing>>,
}

#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) node_id: NodeId,
    pub(crate) raft: Raft,
    pub(crate) state: Arc<State>,
    pub(crate) space: Arc<Space>,
    pub(crate) proposals: mpsc::Sender<Proposal>,
}

pub(crate) struct Closing {
    pub(crate) task: JoinHandle<()>,
    pub(crate) closed: oneshot::Receiver<()>,
}

impl Store {
    /// Opens the store in a directory. One that is new starts as the only member of its cluster.
    ///
    /// # Errors
    /// Each names the directory, and what to do about it.
    pub async fn open(options: Options) -> Result<Store, OpenError> {
        let (running, closing) = open::open(&options).await?;
        let inner = Inner { running: std::sync::RwLock::new(Some(running)), closing: Mutex::new(Some(closing)) };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// Applies a transaction. When this returns, it is on the disk of a majority, and every read and watch sees it. Dropping the
    /// future does not take the transaction back.
    ///
    /// # Errors
    /// [`StoreError::InvalidTxn`], [`StoreError::TooLarge`], [`StoreError::DiskFull`], [`StoreError::Compacted`] and
    /// [`StoreError::FutureRevision`] leave everything as it was.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        txn.check()?;
        let bytes = txn.bytes();
        if bytes > TXN_BYTES_MAX {
            return Err(StoreError::TooLarge { bytes, bytes_max: TXN_BYTES_MAX });
        }
        let running = self.running()?;
        let (reply, result) = oneshot::channel();
        let sent = running.proposals.send(Proposal { txn, reply }).await;
        match sent {
            Ok(()) => result.await.unwrap_or_else(|_| Err(running.ended())),
            Err(_) => Err(running.ended()),
        }
    }

    /// Reads a range, no older than any write that was acknowledged before.
    ///
    /// # Errors
    /// [`StoreError::Compacted`], [`StoreError::FutureRevision`], [`StoreError::NotLeader`].
    pub async fn range(&self, range: Range) -> Result<RangeResult, StoreError> {
        let running = self.running()?;
        running.linearize().await?;
        running.state.range(range).await
    }

    /// The revision that a read must have seen to be linearizable: one from a cache, say, that has come at least so far.
    ///
    /// # Errors
    /// [`StoreError::NotLeader`].
    pub async fn read_index(&self) -> Result<Revision, StoreError> {
        let running = self.running()?;
        running.linearize().await?;
        Ok(running.state.revision())
    }

    /// Follows the keys from `start` up to `end` (as in [`Range`]) from a revision on; 0 is the one after the newest.
    ///
    /// Every revision that touches the range comes as one batch, in order, none twice and none left out. A batch without events
    /// tells that nothing in the range changed up to its revision. The stream ends after its first error:
    /// [`StoreError::Compacted`] if `from`, or what a slow reader has come to, is compacted.
    #[must_use]
    pub fn watch(
        &self,
        start: Bytes,
        end: Option<Bytes>,
        from: Revision,
    ) -> BoxStream<'static, Result<WatchBatch, StoreError>> {
        match self.running() {
            Ok(running) => Watcher::new(&running.state, start, end, from).stream(),
            Err(error) => Box::pin(futures::stream::once(async { Err(error) })),
        }
    }

    /// Forgets what was superseded at or before a revision, which itself can still be read.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if that was done already, [`StoreError::FutureRevision`].
    pub async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let running = self.running()?;
        running.space.check(Use::Free)?;
        match propose::client_write(&running.raft, Command::Compact(revision)).await? {
            Response::Compact(result) => Ok(result?),
            Response::None | Response::Txns(_) => Err(propose::unexpected("a compaction")),
        }
    }

    /// Finishes the writes that wait, closes the database and ends every watch. Further calls wait for that, and do nothing.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the database could not be closed in time.
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        drop(self.inner.running.write().unwrap_or_else(std::sync::PoisonError::into_inner).take());
        let mut closing = self.inner.closing.lock().await;
        let Some(Closing { task, closed }) = closing.take() else { return Ok(()) };
        let failed = |reason: String| StoreError::Failed { reason };
        task.await.map_err(|source| failed(source.to_string()))?;
        // The sender is dropped with the database, never used.
        match tokio::time::timeout(CLOSE_TIMEOUT, closed).await {
            Ok(_) => Ok(()),
            Err(_) => Err(failed("the database is still in use".to_owned())),
        }
    }

    fn running(&self) -> Result<Running, StoreError> {
        let running = self.inner.running.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let running = running.ok_or(StoreError::Stopped)?;
        running.state.check()?;
        Ok(running)
    }
}

impl Running {
    /// Waits until the state here holds all that was acknowledged anywhere.
    async fn linearize(&self) -> Result<(), StoreError> {
        if self.is_alone() {
            // Nobody else acknowledges writes, and this member does so after it has applied them.
            return Ok(());
        }
        match self.raft.ensure_linearizable().await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to))) => {
                Err(StoreError::NotLeader { leader: to.leader_id })
            }
            Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                Err(StoreError::NotLeader { leader: None })
            }
            Err(RaftError::Fatal(fatal)) => Err(StoreError::Failed { reason: fatal.to_string() }),
        }
    }

    fn is_alone(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.state.is_leader() && metrics.membership_config.voter_ids().eq([self.node_id])
    }

    /// Why nothing came of a proposal.
    fn ended(&self) -> StoreError {
        self.state.check().err().unwrap_or(StoreError::Stopped)
    }
}
