//! The replicated state machine, after etcd's data model: multi-version keys, one revision per transaction, a watch log
//! and compaction. Pure: no Raft, no disk, no clock.
//!
//! [`StateMachine`] is the entry. Its index (key to versions) is in memory; the versions themselves are [`Record`]s in a
//! [`Backend`] by [`Position`], which is both the store and its history: a watcher that falls behind the log in memory reads
//! the records from its revision on.
//!
//! * A revision is one transaction that changed something; revisions have no gaps.
//! * A key changes at most once in a revision.
//! * What a compaction at revision C leaves answers every read at C or later, and every watch from C + 1 or later.
//! * All that decides a result is in the requests, so that members that apply the same requests hold the same records.

mod backend;
mod error;
mod index;
mod machine;
mod memory;
mod txn;
mod types;
mod watch_log;

pub use backend::{Backend, BackendMut, Position, Record};
pub use error::{Error, Refusal};
pub use machine::{Header, StateMachine};
pub use memory::Memory;
pub use types::{
    Compare, CompareOp, CompareTarget, Event, KeyValue, Op, OpResult, Range, RangeResult, Revision, Txn, TxnResult,
};
pub use watch_log::{WatchBatch, WatchLogLimits};
