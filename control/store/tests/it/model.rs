use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use skep_store::{
    Compare, CompareOp, CompareTarget, Event, KeyValue, Op, OpResult, Range, RangeResult, Refusal, Revision, Txn,
    TxnResult,
};

type Keys = BTreeMap<Bytes, KeyValue>;

/// What is obviously right and far too slow.
pub(crate) struct Model {
    /// One for each revision.
    pub(crate) snapshots: Vec<Keys>,
    pub(crate) compacted: Revision,
}

impl Model {
    pub(crate) fn new() -> Model {
        Model { snapshots: vec![Keys::new()], compacted: 0 }
    }

    pub(crate) fn revision(&self) -> Revision {
        (self.snapshots.len() - 1) as Revision
    }

    pub(crate) fn at(&self, revision: Revision) -> &Keys {
        &self.snapshots[usize::try_from(revision).unwrap()]
    }

    pub(crate) fn apply(&mut self, txn: &Txn) -> Result<TxnResult, Refusal> {
        for branch in [&txn.success, &txn.failure] {
            check_duplicates(branch)?;
        }
        let mut keys = self.at(self.revision()).clone();
        let succeeded = txn.compare.iter().all(|compare| holds(compare, keys.get(&compare.key)));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        for op in ops {
            if let Op::Range(range) = op {
                self.check_readable(range.revision)?;
            }
        }
        let next = self.revision() + 1;
        let mut changed = false;
        let mut results = Vec::new();
        for op in ops {
            results.push(match op {
                Op::Put { key, value, lease } => {
                    changed = true;
                    let prev = keys.get(key).cloned();
                    let (create_revision, version) =
                        prev.as_ref().map_or((next, 0), |p| (p.create_revision, p.version));
                    let (key, value) = (key.clone(), value.clone());
                    let version = version + 1;
                    let kv = KeyValue { key, value, create_revision, mod_revision: next, version, lease: *lease };
                    keys.insert(kv.key.clone(), kv);
                    OpResult::Put { prev }
                }
                Op::Delete { start, end } => {
                    let prev: Vec<_> = keys.values().filter(|kv| within(&kv.key, start, end)).cloned().collect();
                    changed |= !prev.is_empty();
                    keys.retain(|key, _| !within(key, start, end));
                    OpResult::Delete { prev }
                }
                Op::Range(range) => {
                    let newest = if changed { next } else { next - 1 };
                    let seen = if range.revision == 0 { &keys } else { self.at(range.revision) };
                    OpResult::Range(read(seen, range, newest))
                }
            });
        }
        if changed {
            self.snapshots.push(keys);
        }
        Ok(TxnResult { revision: self.revision(), succeeded, results })
    }

    pub(crate) fn compact(&mut self, revision: Revision) -> Result<(), Refusal> {
        if revision <= self.compacted {
            return Err(Refusal::Compacted { compact_revision: self.compacted });
        }
        if revision > self.revision() {
            return Err(Refusal::FutureRevision { revision, current: self.revision() });
        }
        self.compacted = revision;
        Ok(())
    }

    pub(crate) fn range(&self, range: &Range) -> Result<RangeResult, Refusal> {
        self.check_readable(range.revision)?;
        let revision = if range.revision == 0 { self.revision() } else { range.revision };
        Ok(read(self.at(revision), range, self.revision()))
    }

    /// The difference that a revision made, in key order.
    pub(crate) fn events(&self, revision: Revision) -> Vec<Event> {
        let (old, new) = (self.at(revision - 1), self.at(revision));
        let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let event = |key: &Bytes| match (old.get(key), new.get(key)) {
            (prev, Some(kv)) if prev != Some(kv) => Some(Event::Put { kv: kv.clone(), prev: prev.cloned() }),
            (Some(prev), None) => Some(Event::Delete { key: key.clone(), revision, prev: Some(prev.clone()) }),
            _ => None,
        };
        keys.into_iter().filter_map(event).collect()
    }

    /// How many records a store has to hold: every version that a revision since the compaction shows, and every removal since.
    pub(crate) fn record_count(&self) -> usize {
        let shown = self.snapshots[usize::try_from(self.compacted).unwrap()..].iter();
        let versions: BTreeSet<_> = shown.flat_map(|keys| keys.values().map(|kv| (&kv.key, kv.mod_revision))).collect();
        let removals = (self.compacted + 1..=self.revision()).flat_map(|revision| self.events(revision));
        versions.len() + removals.filter(|event| matches!(event, Event::Delete { .. })).count()
    }

    fn check_readable(&self, revision: Revision) -> Result<(), Refusal> {
        if revision > self.revision() {
            return Err(Refusal::FutureRevision { revision, current: self.revision() });
        }
        if revision != 0 && revision < self.compacted {
            return Err(Refusal::Compacted { compact_revision: self.compacted });
        }
        Ok(())
    }
}

fn check_duplicates(ops: &[Op]) -> Result<(), Refusal> {
    let mut puts = BTreeSet::new();
    for op in ops {
        if let Op::Put { key, .. } = op
            && !puts.insert(key)
        {
            return Err(Refusal::DuplicateKey { key: key.clone() });
        }
    }
    for op in ops {
        if let Op::Delete { start, end } = op
            && puts.iter().any(|key| within(key, start, end))
        {
            return Err(Refusal::DuplicateKey { key: start.clone() });
        }
    }
    Ok(())
}

fn within(key: &Bytes, start: &Bytes, end: &Option<Bytes>) -> bool {
    match end {
        None => key == start,
        Some(end) if end.as_ref() == b"\0" => key >= start,
        Some(end) => key >= start && key < end,
    }
}

fn read(keys: &Keys, range: &Range, revision: Revision) -> RangeResult {
    let mut kvs: Vec<_> = keys.values().filter(|kv| within(&kv.key, &range.start, &range.end)).cloned().collect();
    let count = kvs.len();
    let more = !range.count_only && range.limit != 0 && range.limit < count;
    if more {
        kvs.truncate(range.limit);
    }
    if range.count_only {
        kvs.clear();
    }
    if range.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    RangeResult { kvs, more, count, revision }
}

fn holds(compare: &Compare, stored: Option<&KeyValue>) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(given) => stored.map_or(0, |kv| kv.version).cmp(given),
        CompareTarget::CreateRevision(given) => stored.map_or(0, |kv| kv.create_revision).cmp(given),
        CompareTarget::ModRevision(given) => stored.map_or(0, |kv| kv.mod_revision).cmp(given),
        CompareTarget::Lease(given) => stored.map_or(0, |kv| kv.lease).cmp(given),
        CompareTarget::Value(given) => match stored {
            Some(kv) => kv.value.cmp(given),
            None => return false,
        },
    };
    match compare.op {
        CompareOp::Equal => ordering.is_eq(),
        CompareOp::NotEqual => ordering.is_ne(),
        CompareOp::Greater => ordering.is_gt(),
        CompareOp::Less => ordering.is_lt(),
    }
}
