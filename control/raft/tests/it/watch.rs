use bytes::Bytes;
use skep_raft::StoreError;
use skep_store::{Event, Txn, WatchLogLimits};

use crate::support::{Batches, Fixture, delete, next, put};

fn follow(fixture: &Fixture, prefix: &'static str, end: &'static str, from: u64) -> Batches {
    fixture.store.watch(Bytes::from(prefix), Some(Bytes::from(end)), from)
}

fn keys(events: &[Event]) -> Vec<Bytes> {
    let key = |event: &Event| match event {
        Event::Put { kv, .. } => kv.key.clone(),
        Event::Delete { key, .. } => key.clone(),
    };
    events.iter().map(key).collect()
}

#[tokio::test]
async fn follows_from_now_and_from_then() {
    let fixture = Fixture::new().await;
    fixture.put("a/1", "x").await;
    let mut live = follow(&fixture, "a/", "a0", 0);
    let two = Txn { success: [put("a/2", "y").success, put("b", "z").success].concat(), ..Txn::default() };
    fixture.store.txn(two).await.unwrap();
    fixture.store.txn(delete("a/1", None)).await.unwrap();
    let mut past = follow(&fixture, "a/", "a0", 1);
    assert_eq!(next(&mut past).await.unwrap().revision, 1);
    for watch in [&mut live, &mut past] {
        let batch = next(watch).await.unwrap();
        assert_eq!((batch.revision, keys(&batch.events)), (2, vec![Bytes::from("a/2")]));
        let batch = next(watch).await.unwrap();
        assert_eq!(batch.revision, 3);
        assert!(matches!(&batch.events[..], [Event::Delete { revision: 3, prev: Some(prev), .. }]
            if prev.value == "x" && prev.mod_revision == 1));
    }
}

#[tokio::test]
async fn tells_of_revisions_that_do_not_concern_it() {
    let fixture = Fixture::new().await;
    let mut watch = follow(&fixture, "a", "b", 0);
    fixture.put("z", "1").await;
    let batch = next(&mut watch).await.unwrap();
    assert_eq!((batch.revision, batch.events), (1, vec![]));
}

#[tokio::test]
async fn waits_for_a_revision_to_come() {
    let fixture = Fixture::new().await;
    let mut watch = follow(&fixture, "a", "b", 3);
    for value in ["1", "2", "3"] {
        fixture.put("a", value).await;
    }
    assert_eq!(next(&mut watch).await.unwrap().revision, 3);
}

#[tokio::test]
async fn a_slow_reader_misses_nothing_that_memory_has_dropped() {
    let limits = WatchLogLimits { revisions_max: 4, bytes_max: 1 << 20 };
    let mut fixture = Fixture::with(|options| options.watch_log = limits).await;
    let mut watch = follow(&fixture, "a", "b", 0);
    for _ in 0..600 {
        fixture.put("a", "v").await;
    }
    for revision in 1..=600 {
        let batch = next(&mut watch).await.unwrap();
        assert_eq!(batch.revision, revision);
        let [Event::Put { kv, prev }] = &batch.events[..] else { panic!("{batch:?}") };
        assert_eq!((kv.mod_revision, prev.as_ref().map_or(0, |prev| prev.mod_revision)), (revision, revision - 1));
    }
    drop(watch);
    fixture.reopen().await;
    let mut watch = follow(&fixture, "a", "b", 300);
    assert_eq!(next(&mut watch).await.unwrap().revision, 300);
}

#[tokio::test]
async fn ends_behind_a_compaction() {
    let fixture = Fixture::new().await;
    let mut behind = follow(&fixture, "a", "b", 0);
    let mut ahead = follow(&fixture, "a", "b", 3);
    for value in ["1", "2", "3"] {
        fixture.put("a", value).await;
    }
    fixture.store.compact(2).await.unwrap();
    let compacted = Err(StoreError::Compacted { compact_revision: 2 });
    assert_eq!(next(&mut behind).await, compacted);
    assert_eq!(next(&mut follow(&fixture, "a", "b", 1)).await, compacted);
    let batch = next(&mut ahead).await.unwrap();
    assert!(matches!(&batch.events[..], [Event::Put { prev: Some(prev), .. }] if prev.value == "2"));
}

#[tokio::test]
async fn a_shutdown_ends_it_and_leaves_the_directory_free() {
    let mut fixture = Fixture::new().await;
    fixture.put("a", "1").await;
    let mut watch = follow(&fixture, "a", "b", 0);
    let old = fixture.store.clone();
    fixture.reopen().await;
    assert_eq!(next(&mut watch).await, Err(StoreError::Stopped));
    assert_eq!(old.txn(put("a", "2")).await, Err(StoreError::Stopped));
    assert_eq!(next(&mut old.watch(Bytes::new(), None, 0)).await, Err(StoreError::Stopped));
    old.shutdown().await.unwrap();
    assert_eq!(fixture.put("a", "2").await.revision, 2);
}
