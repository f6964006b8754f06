use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use skep_raft::{Options, Store, StoreError, WatchBatch};
use skep_store::{Op, Range, RangeResult, Revision, Txn, TxnResult};
use tempfile::TempDir;

/// What any single wait may take. Long, since it only bounds a failure.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

pub(crate) fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Txn {
    let op = Op::Put { key: key.into(), value: value.into(), lease: 0 };
    Txn { success: vec![op], ..Txn::default() }
}

pub(crate) fn delete(start: &'static str, end: Option<&'static str>) -> Txn {
    let op = Op::Delete { start: Bytes::from(start), end: end.map(Bytes::from) };
    Txn { success: vec![op], ..Txn::default() }
}

pub(crate) fn all(revision: Revision) -> Range {
    Range { end: Some(Bytes::from("\0")), revision, ..Range::default() }
}

pub(crate) fn pairs(result: &RangeResult) -> Vec<(String, String)> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    result.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect()
}

/// A store in a directory that goes away with it.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) options: Options,
    _dir: TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Fixture {
        Fixture::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Fixture {
        let dir = TempDir::new().unwrap();
        let mut options = Options::new(dir.path().join("store"), 1);
        change(&mut options);
        let store = Store::open(options.clone()).await.unwrap();
        Fixture { store, options, _dir: dir }
    }

    pub(crate) async fn reopen(&mut self) {
        self.store.shutdown().await.unwrap();
        self.store = Store::open(self.options.clone()).await.unwrap();
    }

    pub(crate) async fn put(&self, key: &'static str, value: &'static str) -> TxnResult {
        self.store.txn(put(key, value)).await.unwrap()
    }
}

pub(crate) type Batches = BoxStream<'static, Result<WatchBatch, StoreError>>;

/// The next item of a watch, in time.
pub(crate) async fn next(watch: &mut Batches) -> Result<WatchBatch, StoreError> {
    tokio::time::timeout(BOUND, watch.next()).await.expect("a watch item in time").expect("no end before an error")
}
