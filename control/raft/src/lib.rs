//! The store over openraft and RocksDB. [`Store`] is the handle.
//!
//! * A transaction is acknowledged once its log entry is fsynced and applied. Those that arrive while an fsync is under way share
//!   the next entry.
//! * Log and state are column families of one database with one write-ahead log. State is written unsynced, with how far the log
//!   is applied in the same batch: after a crash it is a prefix, and the log has the rest.
//! * Reads and watches see what was acknowledged, and nothing of which it is not certain that it stays.
//! * Watches pull; there is no queue for each, and none holds up a writer.
//!
//! Tasks: Raft's own, and one that brings proposals (a queue of 1024) to it and asks for snapshots. Whatever may wait for the
//! disk runs on tokio's blocking threads.

mod config;
mod db;
mod error;
mod log;
mod machine;
mod network;
mod open;
mod propose;
mod records;
mod retention;
mod snapshot;
mod space;
mod state;
mod store;
mod watch;

pub use config::NodeId;
pub use error::{OpenError, StoreError};
pub use retention::{Compactor, Retention};
pub use skep_store::WatchBatch;
pub use store::{Options, Store};
