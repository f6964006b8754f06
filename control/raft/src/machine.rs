//! Raft's view of the state machine: applies committed entries, makes and takes snapshots.

use std::io;
use std::sync::Arc;

use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, ErrorSubject, ErrorVerb, OptionalSend};
use skep_store::{Error, Refusal, StateMachine, WatchLogLimits};

use crate::config::{Command, Config, Entry, LogId, Membership, Response, SnapshotMeta, StorageError, storage_error};
use crate::db::{self, Db, blocking};
use crate::records::{Changes, Records};
use crate::snapshot::Snapshots;
use crate::state::{Applied, State};

/// A snapshot is made when the log since the last one has grown by as many bytes as that one had, and by this at least: so
/// snapshots cost no more than the log itself. A restart needs none, since the state is on the disk.
const LOG_BYTES_MIN: u64 = 8 << 20;
/// The log's entries, however small, are not to pile up either.
const LOG_ENTRIES_MAX: u64 = 20_000;

/// The state machine, as Raft drives it.
pub(crate) struct Machine {
    state: Arc<State>,
    snapshots: Arc<Snapshots>,
    limits: WatchLogLimits,
    applied: Applied,
    bytes_since_snapshot: u64,
    entries_since_snapshot: u64,
}

impl Machine {
    pub(crate) fn new(state: Arc<State>, snapshots: Arc<Snapshots>, limits: WatchLogLimits) -> io::Result<Machine> {
        let applied: Applied = state.db().meta(db::APPLIED)?.unwrap_or_default();
        let snapshot = snapshots.current().and_then(|(meta, _)| meta.last_log_id).map_or(0, |id| id.index);
        let entries = applied.log_id.map_or(0, |id| id.index).saturating_sub(snapshot);
        Ok(Machine { state, snapshots, limits, applied, bytes_since_snapshot: 0, entries_since_snapshot: entries })
    }

    fn count(&mut self, entries: &[Entry]) {
        self.entries_since_snapshot += entries.len() as u64;
        for entry in entries {
            if let EntryPayload::Normal(command) = &entry.payload {
                self.bytes_since_snapshot += command.bytes() as u64;
            }
        }
        let enough = self.snapshots.bytes().max(LOG_BYTES_MIN);
        if self.bytes_since_snapshot >= enough || self.entries_since_snapshot >= LOG_ENTRIES_MAX {
            (self.bytes_since_snapshot, self.entries_since_snapshot) = (0, 0);
            self.state.snapshot_due.notify_one();
        }
    }
}

impl RaftStateMachine<Config> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        Ok((self.applied.log_id, self.applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Response>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.count(&entries);
        let (state, mut applied) = (self.state.clone(), self.applied.clone());
        let work = move || apply(&state, &mut applied, entries).map(|responses| (applied, responses));
        let (applied, responses) = blocking(work)
            .await
            .flatten()
            .map_err(|source| storage_error(ErrorSubject::StateMachine, ErrorVerb::Write, source))?;
        self.applied = applied;
        self.state.publish(self.applied.header.revision);
        Ok(responses)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { db: self.state.db().clone(), snapshots: self.snapshots.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<tokio::fs::File>, StorageError> {
        let file = self.snapshots.receive().await;
        file.map(Box::new).map_err(|source| snapshot_error(ErrorVerb::Write, source))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, file: Box<tokio::fs::File>) -> Result<(), StorageError> {
        let (state, snapshots, limits, meta) = (self.state.clone(), self.snapshots.clone(), self.limits, meta.clone());
        let work = async move {
            file.sync_all().await?;
            drop(file);
            blocking(move || install(&state, &snapshots, limits, &meta)).await.flatten()
        };
        self.applied = work.await.map_err(|source| snapshot_error(ErrorVerb::Write, source))?;
        (self.bytes_since_snapshot, self.entries_since_snapshot) = (0, 0);
        self.state.publish(self.applied.header.revision);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Config>>, StorageError> {
        let snapshots = self.snapshots.clone();
        let current =
            blocking(move || snapshots.current()).await.map_err(|source| snapshot_error(ErrorVerb::Read, source))?;
        Ok(current.map(|(meta, file)| Snapshot { meta, snapshot: Box::new(tokio::fs::File::from_std(file)) }))
    }
}

/// Applies entries in order, and writes what they changed, with how far they go, at once. This write is not synced: what a power
/// failure takes of it is in the log, which is.
fn apply(state: &State, applied: &mut Applied, entries: Vec<Entry>) -> io::Result<Vec<Response>> {
    let mut machine = state.machine_mut();
    let mut changes = Changes::new(state.db());
    let mut responses = Vec::with_capacity(entries.len());
    for entry in entries {
        applied.log_id = Some(entry.log_id);
        responses.push(match entry.payload {
            EntryPayload::Blank => Response::None,
            EntryPayload::Membership(membership) => {
                applied.membership = Membership::new(Some(entry.log_id), membership);
                Response::None
            }
            EntryPayload::Normal(Command::Txns(txns)) => {
                let results = txns.iter().map(|txn| refused(machine.apply(txn, &mut changes)));
                let results = results.map(|result| result.map(|answer| answer.map(|(result, _)| result)));
                Response::Txns(results.collect::<io::Result<_>>()?)
            }
            EntryPayload::Normal(Command::Compact(revision)) => {
                Response::Compact(machine.compact(revision, &mut changes))
            }
        });
    }
    applied.header = machine.header();
    let mut batch = changes.into_batch();
    state.db().put_meta(&mut batch, db::APPLIED, applied);
    state.db().write(batch, false)?;
    Ok(responses)
}

/// Parts what is the request's fault, which is an answer, from what is the disk's, which ends this member.
fn refused<T>(result: Result<T, Error<io::Error>>) -> io::Result<Result<T, Refusal>> {
    match result {
        Ok(answer) => Ok(Ok(answer)),
        Err(Error::Refused(refusal)) => Ok(Err(refusal)),
        Err(Error::Backend(source)) => Err(source),
        Err(error @ Error::Missing(_)) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

fn install(state: &State, snapshots: &Snapshots, limits: WatchLogLimits, meta: &SnapshotMeta) -> io::Result<Applied> {
    snapshots.accept(meta)?;
    let mut machine = state.machine_mut();
    let applied = snapshots.load(state.db())?;
    *machine = StateMachine::restore(applied.header, limits, &Records(state.db()))?;
    Ok(applied)
}

/// Makes a snapshot of the state as it is, beside the writes that go on.
pub(crate) struct Builder {
    db: Arc<Db>,
    snapshots: Arc<Snapshots>,
}

impl RaftSnapshotBuilder<Config> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Config>, StorageError> {
        let (db, snapshots) = (self.db.clone(), self.snapshots.clone());
        let (meta, file) = blocking(move || snapshots.build(&db))
            .await
            .flatten()
            .map_err(|source| snapshot_error(ErrorVerb::Write, source))?;
        Ok(Snapshot { meta, snapshot: Box::new(tokio::fs::File::from_std(file)) })
    }
}

fn snapshot_error(verb: ErrorVerb, source: io::Error) -> StorageError {
    storage_error(ErrorSubject::Snapshot(None), verb, source)
}
