//! What can be said of a transaction before it is applied, and its comparisons.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{CompareOp, CompareTarget, KeyValue, Op, Refusal, Txn};

impl Txn {
    /// Whether the transaction is one that a store takes at all, whatever it holds.
    ///
    /// # Errors
    /// A branch that changes a key twice (deletes may overlap one another), or an empty key.
    pub fn check(&self) -> Result<(), Refusal> {
        check_branch(&self.success)?;
        check_branch(&self.failure)
    }

    /// Whether it can add to the store. One that cannot is let through where space is short.
    #[must_use]
    pub fn puts(&self) -> bool {
        self.success.iter().chain(&self.failure).any(|op| matches!(op, Op::Put { .. }))
    }

    /// Bytes of keys and values that it carries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let compare = self.compare.iter().map(|c| {
            c.key.len() + if let CompareTarget::Value(value) = &c.target { value.len() } else { size_of::<u64>() }
        });
        let ops = self.success.iter().chain(&self.failure).map(|op| match op {
            Op::Put { key, value, .. } => key.len() + value.len() + size_of::<i64>(),
            Op::Delete { start, end } => start.len() + end.as_ref().map_or(0, Bytes::len),
            Op::Range(range) => range.start.len() + range.end.as_ref().map_or(0, Bytes::len),
        });
        compare.sum::<usize>() + ops.sum::<usize>()
    }
}

fn check_branch(ops: &[Op]) -> Result<(), Refusal> {
    let mut puts = BTreeSet::new();
    for op in ops {
        match op {
            Op::Put { key, .. } if key.is_empty() => return Err(Refusal::EmptyKey),
            Op::Delete { start, end: None } if start.is_empty() => return Err(Refusal::EmptyKey),
            Op::Put { key, .. } if !puts.insert(key) => return Err(Refusal::DuplicateKey { key: key.clone() }),
            _ => {}
        }
    }
    if puts.is_empty() {
        return Ok(());
    }
    for op in ops {
        let Op::Delete { start, end } = op else { continue };
        let hit = match end {
            None => puts.contains(start),
            Some(end) if end.as_ref() == b"\0" => puts.range::<Bytes, _>(start..).next().is_some(),
            Some(end) => start < end && puts.range::<Bytes, _>(start..end).next().is_some(),
        };
        if hit {
            return Err(Refusal::DuplicateKey { key: start.clone() });
        }
    }
    Ok(())
}

impl CompareOp {
    fn holds<T: Ord>(self, stored: &T, given: &T) -> bool {
        match self {
            CompareOp::Equal => stored == given,
            CompareOp::NotEqual => stored != given,
            CompareOp::Greater => stored > given,
            CompareOp::Less => stored < given,
        }
    }
}

impl CompareTarget {
    /// Compares with the stored version, where that is given without its value unless the value is compared.
    pub(crate) fn holds(&self, op: CompareOp, stored: Option<&KeyValue>) -> bool {
        match self {
            CompareTarget::Version(given) => op.holds(&stored.map_or(0, |kv| kv.version), given),
            CompareTarget::CreateRevision(given) => op.holds(&stored.map_or(0, |kv| kv.create_revision), given),
            CompareTarget::ModRevision(given) => op.holds(&stored.map_or(0, |kv| kv.mod_revision), given),
            CompareTarget::Lease(given) => op.holds(&stored.map_or(0, |kv| kv.lease), given),
            CompareTarget::Value(given) => stored.is_some_and(|kv| op.holds(&kv.value, given)),
        }
    }
}
