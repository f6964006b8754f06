//! The state machine.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::index::{Index, Version};
use crate::watch_log::WatchLog;
use crate::{
    Backend, BackendMut, Compare, CompareTarget, Error, Event, KeyValue, Op, OpResult, Position, Range, RangeResult,
    Record, Refusal, Revision, Txn, TxnResult, WatchBatch, WatchLogLimits,
};

/// What of the state machine is not in its records. It is to be stored with each change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The newest revision.
    pub revision: Revision,
    /// The revision of the last compaction, 0 if there was none.
    pub compact_revision: Revision,
}

/// Keys with their versions. The same calls in the same order give the same answers and the same records everywhere.
///
/// A call that changes something writes to the backend given with it, and to the index at once. If what the backend gathered
/// is then not made durable, the state machine is to be thrown away and [restored](StateMachine::restore).
#[derive(Debug, Default)]
pub struct StateMachine {
    header: Header,
    index: Index,
    recent: WatchLog,
}

impl StateMachine {
    /// An empty one.
    #[must_use]
    pub fn new(limits: WatchLogLimits) -> StateMachine {
        StateMachine { header: Header::default(), index: Index::default(), recent: WatchLog::new(limits) }
    }

    /// Builds the index from what the backend holds.
    ///
    /// # Errors
    /// Where the backend fails.
    pub fn restore<B: Backend>(header: Header, limits: WatchLogLimits, backend: &B) -> Result<Self, B::Error> {
        let mut machine = StateMachine { header, ..StateMachine::new(limits) };
        backend.scan(Position::default(), &mut |at, record| {
            machine.index.push(record.key(), Version::of(at, &record));
            ControlFlow::Continue(())
        })?;
        Ok(machine)
    }

    /// Revision and compaction.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    /// How many keys have versions, live or not.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.index.len()
    }

    /// Applies a transaction. The batch has its changes, if it made any.
    ///
    /// # Errors
    /// [`Error::Refused`] leaves everything as it was. After any other error the state machine is not to be used again.
    pub fn apply<B: BackendMut>(
        &mut self,
        txn: &Txn,
        backend: &mut B,
    ) -> Result<(TxnResult, Option<Arc<WatchBatch>>), Error<B::Error>> {
        txn.check()?;
        let mut succeeded = true;
        for compare in &txn.compare {
            succeeded = succeeded && self.compare(compare, backend)?;
        }
        let ops = if succeeded { &txn.success } else { &txn.failure };
        for op in ops {
            if let Op::Range(range) = op {
                self.check_readable(range.revision)?;
            }
        }
        let mut change = Change { revision: self.header.revision + 1, events: Vec::new() };
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(match op {
                Op::Put { key, value, lease } => self.put(&mut change, backend, key, value, *lease)?,
                Op::Delete { start, end } => self.delete(&mut change, backend, start, end.as_ref())?,
                Op::Range(range) => OpResult::Range(self.read(range, change.visible(), backend)?),
            });
        }
        let batch = (!change.events.is_empty()).then(|| {
            self.header.revision = change.revision;
            let batch = Arc::new(WatchBatch { revision: change.revision, events: change.events });
            self.recent.push(batch.clone());
            batch
        });
        Ok((TxnResult { revision: self.header.revision, succeeded, results }, batch))
    }

    /// Reads a range.
    ///
    /// # Errors
    /// A revision that is compacted or to come; a backend that fails.
    pub fn range<B: Backend>(&self, range: &Range, backend: &B) -> Result<RangeResult, Error<B::Error>> {
        self.check_readable(range.revision)?;
        self.read(range, self.header.revision, backend)
    }

    /// Forgets versions that were superseded, and keys that were removed, at or before `revision`. That revision itself can still
    /// be read; the changes after it can still be watched.
    ///
    /// # Errors
    /// A revision that is compacted already, or to come.
    pub fn compact<B: BackendMut>(&mut self, revision: Revision, backend: &mut B) -> Result<(), Refusal> {
        let Header { revision: current, compact_revision } = self.header;
        if revision <= compact_revision {
            return Err(Refusal::Compacted { compact_revision });
        }
        if revision > current {
            return Err(Refusal::FutureRevision { revision, current });
        }
        self.header.compact_revision = revision;
        self.recent.compact(revision);
        for at in self.index.compact(revision) {
            backend.delete(at);
        }
        Ok(())
    }

    /// Up to `limit` revisions from `from` on, without a gap; none if `from` is yet to come.
    ///
    /// # Errors
    /// A revision at or before the last compaction (what its changes replaced is gone); a backend that fails.
    pub fn changes<B: Backend>(
        &self,
        from: Revision,
        limit: usize,
        backend: &B,
    ) -> Result<Vec<Arc<WatchBatch>>, Error<B::Error>> {
        let Header { revision, compact_revision } = self.header;
        if from <= compact_revision {
            return Err(Refusal::Compacted { compact_revision }.into());
        }
        if from > revision {
            return Ok(Vec::new());
        }
        if let Some(batches) = self.recent_changes(from, limit) {
            return Ok(batches);
        }
        let mut batches: Vec<WatchBatch> = Vec::new();
        for (at, record) in history(from, limit, backend)? {
            let event = self.event(at, record, backend)?;
            match batches.last_mut().filter(|batch| batch.revision == at.revision) {
                Some(batch) => batch.events.push(event),
                None => batches.push(WatchBatch { revision: at.revision, events: vec![event] }),
            }
        }
        Ok(batches.into_iter().map(Arc::new).collect())
    }

    /// As [`StateMachine::changes`], from memory; `None` if that takes the backend.
    #[must_use]
    pub fn recent_changes(&self, from: Revision, limit: usize) -> Option<Vec<Arc<WatchBatch>>> {
        if from > self.header.revision { Some(Vec::new()) } else { self.recent.read(from, limit) }
    }

    fn check_readable(&self, revision: Revision) -> Result<(), Refusal> {
        let Header { revision: current, compact_revision } = self.header;
        if revision > current {
            return Err(Refusal::FutureRevision { revision, current });
        }
        if revision != 0 && revision < compact_revision {
            return Err(Refusal::Compacted { compact_revision });
        }
        Ok(())
    }

    fn compare<B: Backend>(&self, compare: &Compare, backend: &B) -> Result<bool, Error<B::Error>> {
        let keys_only = !matches!(compare.target, CompareTarget::Value(_));
        let stored = match self.index.get(&compare.key, self.header.revision) {
            Some(version) => Some(pair(&compare.key, version, keys_only, backend)?),
            None => None,
        };
        Ok(compare.target.holds(compare.op, stored.as_ref()))
    }

    fn put<B: BackendMut>(
        &mut self,
        change: &mut Change,
        backend: &mut B,
        key: &Bytes,
        value: &Bytes,
        lease: i64,
    ) -> Result<OpResult, Error<B::Error>> {
        let prev = match self.index.get(key, change.revision) {
            Some(version) => Some(pair(key, version, false, backend)?),
            None => None,
        };
        let kv = KeyValue {
            key: key.clone(),
            value: value.clone(),
            create_revision: prev.as_ref().map_or(change.revision, |prev| prev.create_revision),
            mod_revision: change.revision,
            version: prev.as_ref().map_or(1, |prev| prev.version + 1),
            lease,
        };
        self.record(change.next(), Record::Put(kv.clone()), backend);
        change.events.push(Event::Put { kv, prev: prev.clone() });
        Ok(OpResult::Put { prev })
    }

    fn delete<B: BackendMut>(
        &mut self,
        change: &mut Change,
        backend: &mut B,
        start: &Bytes,
        end: Option<&Bytes>,
    ) -> Result<OpResult, Error<B::Error>> {
        let mut gone = Vec::new();
        for (key, version) in self.index.range(start, end, change.revision) {
            gone.push(pair(key, version, false, backend)?);
        }
        for prev in &gone {
            let key = prev.key.clone();
            self.record(change.next(), Record::Delete { key: key.clone() }, backend);
            change.events.push(Event::Delete { key, revision: change.revision, prev: Some(prev.clone()) });
        }
        Ok(OpResult::Delete { prev: gone })
    }

    fn record<B: BackendMut>(&mut self, at: Position, record: Record, backend: &mut B) {
        self.index.push(record.key(), Version::of(at, &record));
        backend.put(at, record);
    }

    fn read<B: Backend>(&self, range: &Range, newest: Revision, backend: &B) -> Result<RangeResult, Error<B::Error>> {
        let revision = if range.revision == 0 { newest } else { range.revision };
        let limit = match range.limit {
            _ if range.count_only => 0,
            0 => usize::MAX,
            limit => limit,
        };
        let mut result = RangeResult { revision: newest, ..RangeResult::default() };
        for (key, version) in self.index.range(&range.start, range.end.as_ref(), revision) {
            result.count += 1;
            if result.kvs.len() < limit {
                result.kvs.push(pair(key, version, range.keys_only, backend)?);
            }
        }
        result.more = !range.count_only && result.kvs.len() < result.count;
        Ok(result)
    }

    fn event<B: Backend>(&self, at: Position, record: Record, backend: &B) -> Result<Event, Error<B::Error>> {
        let prev = match self.index.before(record.key(), at) {
            Some(version) => Some(pair(record.key(), version, false, backend)?),
            None => None,
        };
        Ok(match record {
            Record::Put(kv) => Event::Put { kv, prev },
            Record::Delete { key } => Event::Delete { key, revision: at.revision, prev },
        })
    }
}

/// A transaction's changes as they are made.
struct Change {
    revision: Revision,
    events: Vec<Event>,
}

impl Change {
    fn next(&self) -> Position {
        let sub = u32::try_from(self.events.len()).expect("a transaction that fits in memory changes fewer keys");
        Position { revision: self.revision, sub }
    }

    /// The newest revision that a read within the transaction sees.
    fn visible(&self) -> Revision {
        if self.events.is_empty() { self.revision - 1 } else { self.revision }
    }
}

fn pair<B: Backend>(key: &Bytes, version: Version, keys_only: bool, backend: &B) -> Result<KeyValue, Error<B::Error>> {
    if keys_only {
        return Ok(KeyValue {
            key: key.clone(),
            value: Bytes::new(),
            create_revision: version.create_revision,
            mod_revision: version.at.revision,
            version: version.version,
            lease: version.lease,
        });
    }
    match backend.get(version.at).map_err(Error::Backend)? {
        Some(Record::Put(kv)) => Ok(kv),
        Some(Record::Delete { .. }) | None => Err(Error::Missing(version.at)),
    }
}

fn history<B: Backend>(from: Revision, limit: usize, backend: &B) -> Result<Vec<(Position, Record)>, Error<B::Error>> {
    let end = from.saturating_add(limit as Revision);
    let mut records = Vec::new();
    backend
        .scan(Position::first(from), &mut |at, record| {
            if at.revision >= end {
                return ControlFlow::Break(());
            }
            records.push((at, record));
            ControlFlow::Continue(())
        })
        .map_err(Error::Backend)?;
    Ok(records)
}
