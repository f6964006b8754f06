//! What the tasks of a member share: its database, the state machine over it, and how far that has got.

use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};
use skep_store::{Error, Header, Range, RangeResult, Revision, StateMachine, WatchBatch, WatchLogLimits};
use tokio::sync::{Notify, watch};

use crate::StoreError;
use crate::config::{LogId, Membership};
use crate::db::{self, Db, blocking};
use crate::records::Records;

/// How far Raft's log is in the state, written with the state itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub(crate) header: Header,
    pub(crate) log_id: Option<LogId>,
    pub(crate) membership: Membership,
}

/// The newest revision that may be seen, and whether more can come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tip {
    pub(crate) revision: Revision,
    pub(crate) failed: Option<StoreError>,
}

pub(crate) struct State {
    db: Arc<Db>,
    machine: RwLock<StateMachine>,
    tip: watch::Sender<Tip>,
    /// Rung when the log has grown enough for a snapshot.
    pub(crate) snapshot_due: Notify,
}

impl State {
    /// Reads the index from the database. Takes time in proportion to the state.
    pub(crate) fn restore(db: Arc<Db>, limits: WatchLogLimits) -> io::Result<State> {
        let applied = db.meta::<Applied>(db::APPLIED)?.unwrap_or_default();
        let machine = StateMachine::restore(applied.header, limits, &Records(&db))?;
        let tip = watch::Sender::new(Tip { revision: applied.header.revision, failed: None });
        Ok(State { db, machine: RwLock::new(machine), tip, snapshot_due: Notify::new() })
    }

    pub(crate) fn db(&self) -> &Arc<Db> {
        &self.db
    }

    /// A panic under this lock is a bug that Raft reports as fatal; readers still get what was there.
    pub(crate) fn machine(&self) -> RwLockReadGuard<'_, StateMachine> {
        self.machine.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn machine_mut(&self) -> RwLockWriteGuard<'_, StateMachine> {
        self.machine.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tip(&self) -> watch::Receiver<Tip> {
        self.tip.subscribe()
    }

    pub(crate) fn revision(&self) -> Revision {
        self.tip.borrow().revision
    }

    /// Lets readers and watchers see what was applied up to `revision`.
    pub(crate) fn publish(&self, revision: Revision) {
        self.tip.send_if_modified(|tip| std::mem::replace(&mut tip.revision, revision) != revision);
    }

    /// Ends every watch, and every request to come.
    pub(crate) fn fail(&self, reason: &str) {
        self.tip.send_modify(|tip| tip.failed = Some(StoreError::Failed { reason: reason.to_owned() }));
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.tip.borrow().failed.clone().map_or(Ok(()), Err)
    }

    pub(crate) async fn range(self: Arc<Self>, range: Range) -> Result<RangeResult, StoreError> {
        blocking(move || self.machine().range(&range, &Records(&self.db)).map_err(read_error))
            .await
            .map_err(|source| StoreError::Failed { reason: source.to_string() })?
    }

    /// Up to `limit` revisions from `from` on; none if that is yet to come.
    pub(crate) async fn changes(
        self: Arc<Self>,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<Arc<WatchBatch>>, StoreError> {
        // An apply holds the lock while it writes: rather than wait for it here, wait where waiting is allowed.
        if let Some(batches) = self.machine.try_read().ok().and_then(|machine| machine.recent_changes(from, limit)) {
            return Ok(batches);
        }
        blocking(move || self.machine().changes(from, limit, &Records(&self.db)).map_err(read_error))
            .await
            .map_err(|source| StoreError::Failed { reason: source.to_string() })?
    }
}

fn read_error(error: Error<io::Error>) -> StoreError {
    match error {
        Error::Refused(refusal) => refusal.into(),
        Error::Missing(_) => StoreError::Failed { reason: error.to_string() },
        Error::Backend(source) => StoreError::Failed { reason: format!("the state cannot be read: {source}") },
    }
}
