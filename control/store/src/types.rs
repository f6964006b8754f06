//! Requests and answers, shaped as etcd's v3 `KV` service has them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A store-wide counter: each transaction that changes something gets the next one. 0 is "none".
pub type Revision = u64;

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// Revision at which the key came to be.
    pub create_revision: Revision,
    /// Revision of this version.
    pub mod_revision: Revision,
    /// 1 at creation, one more with each put.
    pub version: u64,
    /// Lease that the key is attached to; 0 is none.
    pub lease: i64,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Created (`kv.version == 1`) or changed.
    Put {
        /// The new version.
        kv: KeyValue,
        /// The version before, if any.
        prev: Option<KeyValue>,
    },
    /// Removed.
    Delete {
        /// The key.
        key: Bytes,
        /// Revision of the removal.
        revision: Revision,
        /// The last version.
        prev: Option<KeyValue>,
    },
}

/// Keys to read: one key, or from `start` up to (not including) `end`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// First key.
    pub start: Bytes,
    /// End of the range, exclusive; `None` reads the one key `start`, and the single byte 0 reads to the last key.
    pub end: Option<Bytes>,
    /// Revision to read at; 0 is the newest.
    pub revision: Revision,
    /// At most so many pairs; 0 is all.
    pub limit: usize,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
}

/// What a [`Range`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeResult {
    /// Pairs in key order.
    pub kvs: Vec<KeyValue>,
    /// Whether `limit` cut the answer.
    pub more: bool,
    /// Pairs in the range, whatever the limit.
    pub count: usize,
    /// The store's revision when it was read.
    pub revision: Revision,
}

/// What of a key is compared. A key that is absent has 0 for each number, and no comparison of its value holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareTarget {
    /// Its number of puts since creation.
    Version(u64),
    /// Its creation's revision.
    CreateRevision(Revision),
    /// Its newest revision.
    ModRevision(Revision),
    /// Its value.
    Value(Bytes),
    /// Its lease.
    Lease(i64),
}

/// How it is compared: stored value, operator, given value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `<`
    Less,
}

/// One condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// What is compared, with what.
    pub target: CompareTarget,
    /// How.
    pub op: CompareOp,
}

/// One step of a transaction. A key may be put at most once in a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Write a pair.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// Lease to attach to; 0 is none.
        lease: i64,
    },
    /// Remove one key, or a range.
    Delete {
        /// First key.
        start: Bytes,
        /// End, exclusive; `None` removes the one key, and the single byte 0 all from `start` on.
        end: Option<Bytes>,
    },
    /// Read.
    Range(Range),
}

/// If all of `compare` hold, `success`, else `failure`, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// Conditions.
    pub compare: Vec<Compare>,
    /// Steps if they hold.
    pub success: Vec<Op>,
    /// Steps if they do not.
    pub failure: Vec<Op>,
}

/// The outcome of one [`Op`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpResult {
    /// The version that was replaced.
    Put {
        /// The version before, if any.
        prev: Option<KeyValue>,
    },
    /// The versions that were removed.
    Delete {
        /// In key order.
        prev: Vec<KeyValue>,
    },
    /// What was read.
    Range(RangeResult),
}

/// The outcome of a [`Txn`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnResult {
    /// The store's revision after it.
    pub revision: Revision,
    /// Whether the conditions held.
    pub succeeded: bool,
    /// One for each step taken.
    pub results: Vec<OpResult>,
}
