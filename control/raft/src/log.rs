//! Raft's log and vote.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{LogFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{ErrorSubject, ErrorVerb, OptionalSend};
use rocksdb::{Direction, IteratorMode, WriteBatch};

use crate::config::{Config, Entry, LogId, StorageError, Vote, storage_error};
use crate::db::{self, Db, LOG, blocking, decode, encode, io_error};

/// Most bytes of entries that are read in one go for a member that catches up.
const READ_BYTES_MAX: usize = 4 << 20;

/// The log over a [`Db`]. What it acknowledges is on the disk.
#[derive(Clone)]
pub(crate) struct Log {
    db: Arc<Db>,
}

impl Log {
    pub(crate) fn new(db: Arc<Db>) -> Log {
        Log { db }
    }

    async fn run<T: Send + 'static>(
        &self,
        subject: ErrorSubject<u64>,
        verb: ErrorVerb,
        work: impl FnOnce(&Db) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let db = self.db.clone();
        blocking(move || work(&db)).await.flatten().map_err(|source| storage_error(subject, verb, source))
    }
}

impl RaftLogReader<Config> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let (start, end) = half_open(&range);
        self.run(ErrorSubject::Logs, ErrorVerb::Read, move |db| read(db, start, end, usize::MAX)).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.run(ErrorSubject::Logs, ErrorVerb::Read, move |db| read(db, start, end, READ_BYTES_MAX)).await
    }
}

impl RaftLogStorage<Config> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<Config>, StorageError> {
        self.run(ErrorSubject::Logs, ErrorVerb::Read, |db| {
            let last_purged_log_id: Option<LogId> = db.meta(db::PURGED)?;
            let last = match db.rocks().iterator_cf(db.family(LOG), IteratorMode::End).next() {
                Some(row) => Some(decode::<Entry>(&row.map_err(io_error)?.1)?.log_id),
                None => None,
            };
            Ok(LogState { last_purged_log_id, last_log_id: last.or(last_purged_log_id) })
        })
        .await
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        self.run(ErrorSubject::Vote, ErrorVerb::Write, move |db| {
            let mut batch = WriteBatch::default();
            db.put_meta(&mut batch, db::VOTE, &vote);
            db.write(batch, true)
        })
        .await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.run(ErrorSubject::Vote, ErrorVerb::Read, |db| db.meta(db::VOTE)).await
    }

    /// Raft has one append under way at a time, so this may as well wait for the disk; what shares an fsync is gathered before,
    /// by the proposer.
    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Config>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = WriteBatch::default();
        for entry in entries {
            batch.put_cf(self.db.family(LOG), entry.log_id.index.to_be_bytes(), encode(&entry));
        }
        self.run(ErrorSubject::Logs, ErrorVerb::Write, move |db| db.write(batch, true)).await?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.run(ErrorSubject::Log(log_id), ErrorVerb::Delete, move |db| {
            let mut batch = WriteBatch::default();
            batch.delete_range_cf(db.family(LOG), log_id.index.to_be_bytes(), u64::MAX.to_be_bytes());
            db.write(batch, true)
        })
        .await
    }

    /// Needs no fsync: in the one write-ahead log it stands after the state that these entries led to.
    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.run(ErrorSubject::Log(log_id), ErrorVerb::Delete, move |db| {
            let mut batch = WriteBatch::default();
            db.put_meta(&mut batch, db::PURGED, &log_id);
            batch.delete_range_cf(db.family(LOG), 0u64.to_be_bytes(), (log_id.index + 1).to_be_bytes());
            db.write(batch, false)
        })
        .await
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

/// Entries from `start` up to `end`, at least one if there is one, and then no more than `bytes_max`.
fn read(db: &Db, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
    let from = start.to_be_bytes();
    let mut entries = Vec::new();
    let mut bytes = 0;
    for row in db.rocks().iterator_cf(db.family(LOG), IteratorMode::From(&from, Direction::Forward)) {
        let (key, value) = row.map_err(io_error)?;
        bytes += value.len();
        if key.as_ref() >= end.to_be_bytes().as_slice() || (bytes > bytes_max && !entries.is_empty()) {
            break;
        }
        entries.push(decode(&value)?);
    }
    Ok(entries)
}
