//! Which versions each key has. Values stay in the backend.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use crate::{Position, Record, Revision};

/// What the index knows of a version, or of the end of a key's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) at: Position,
    pub(crate) create_revision: Revision,
    /// 0 at the end of a key's life.
    pub(crate) version: u64,
    pub(crate) lease: i64,
}

impl Version {
    pub(crate) fn of(at: Position, record: &Record) -> Version {
        match record {
            Record::Put(kv) => {
                Version { at, create_revision: kv.create_revision, version: kv.version, lease: kv.lease }
            }
            Record::Delete { .. } => Version { at, create_revision: 0, version: 0, lease: 0 },
        }
    }

    fn live(self) -> Option<Version> {
        (self.version != 0).then_some(self)
    }
}

/// Key to versions, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: BTreeMap<Bytes, Vec<Version>>,
    /// For each change that made an older record redundant, in order of revision: what a compaction has to look at.
    superseding: VecDeque<(Revision, Bytes)>,
}

impl Index {
    /// Adds the newest change.
    pub(crate) fn push(&mut self, key: &Bytes, version: Version) {
        match self.keys.get_mut(key) {
            Some(versions) => {
                versions.push(version);
                self.superseding.push_back((version.at.revision, key.clone()));
            }
            None => {
                // Room for one: most keys are written once or twice.
                self.keys.insert(key.clone(), vec![version]);
            }
        }
    }

    /// The version of `key` that was live at `revision`.
    pub(crate) fn get(&self, key: &[u8], revision: Revision) -> Option<Version> {
        self.keys.get(key).and_then(|versions| at_revision(versions, revision))
    }

    /// The keys of a range that were live at `revision`, in order. `end` as in [`crate::Range`].
    pub(crate) fn range<'a>(
        &'a self,
        start: &'a Bytes,
        end: Option<&'a Bytes>,
        revision: Revision,
    ) -> impl Iterator<Item = (&'a Bytes, Version)> + 'a {
        let upper = match end {
            None => Bound::Included(start),
            Some(end) if end.as_ref() == b"\0" => Bound::Unbounded,
            Some(end) => Bound::Excluded(end),
        };
        // `BTreeMap::range` panics where the bounds cross.
        let crossed = matches!(upper, Bound::Excluded(end) if end <= start);
        (!crossed)
            .then(|| self.keys.range::<Bytes, _>((Bound::Included(start), upper)))
            .into_iter()
            .flatten()
            .filter_map(move |(key, versions)| Some((key, at_revision(versions, revision)?)))
    }

    /// The live version just before the change at `at`.
    pub(crate) fn before(&self, key: &[u8], at: Position) -> Option<Version> {
        let versions = self.keys.get(key)?;
        let before = versions.partition_point(|v| v.at < at);
        versions.get(before.checked_sub(1)?)?.live()
    }

    /// Forgets what no read at `revision` or later can see, and tells which records that were.
    pub(crate) fn compact(&mut self, revision: Revision) -> Vec<Position> {
        let mut gone = Vec::new();
        while let Some((superseded, key)) = self.superseding.pop_front_if(|(at, _)| *at <= revision) {
            let Some(versions) = self.keys.get_mut(&key) else { continue };
            let old = versions.partition_point(|v| v.at.revision <= superseded);
            let Some(newest) = old.checked_sub(1) else { continue };
            let keep_from = if versions[newest].live().is_some() { newest } else { old };
            gone.extend(versions.drain(..keep_from).map(|v| v.at));
            if versions.is_empty() {
                self.keys.remove(&key);
            }
        }
        gone
    }

    /// How many keys have versions.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

fn at_revision(versions: &[Version], revision: Revision) -> Option<Version> {
    let upto = versions.partition_point(|v| v.at.revision <= revision);
    versions.get(upto.checked_sub(1)?)?.live()
}
