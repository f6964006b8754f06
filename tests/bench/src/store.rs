//! The store alone, in this process: what a write costs at least.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use bytes::Bytes;
use skep_raft::{Options, Store};
use skep_store::{Compare, CompareOp, CompareTarget, Op, Txn};

/// Puts in a second of values of a size, by so many writers at once, each key expected not to be there.
pub(crate) async fn put_rate(writers: usize, puts: usize, value_len: usize) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(Options::new(dir.path(), 1)).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let value = Bytes::from(vec![b'x'; value_len]);
    let began = Instant::now();
    let tasks = (0..writers).map(|_| {
        let (store, next, value) = (store.clone(), Arc::clone(&next), value.clone());
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= puts {
                    return anyhow::Ok(());
                }
                let key = Bytes::from(format!("/registry/core/configmaps/default/bench-{number}"));
                let mut txn = Txn::default();
                let target = CompareTarget::ModRevision(0);
                txn.compare.push(Compare { key: key.clone(), target, op: CompareOp::Equal });
                txn.success.push(Op::Put { key, value: value.clone(), lease: 0 });
                ensure!(store.txn(txn).await?.succeeded, "the key was there");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    let rate = puts as f64 / began.elapsed().as_secs_f64();
    store.shutdown().await?;
    Ok(rate)
}
