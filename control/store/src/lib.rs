//! The replicated state machine, after etcd's data model: multi-version keys, one revision per transaction, a watch log
//! and compaction. Pure: no Raft, no disk, no clock.

mod types;

pub use types::{
    Compare, CompareOp, CompareTarget, Event, KeyValue, Op, OpResult, Range, RangeResult, Revision, Txn, TxnResult,
};
