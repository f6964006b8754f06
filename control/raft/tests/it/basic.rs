use bytes::Bytes;
use futures::future::try_join_all;
use skep_raft::{Compactor, Retention, StoreError};
use skep_store::{Compare, CompareOp, CompareTarget, Op, OpResult, Refusal, Txn};

use crate::support::{Fixture, all, delete, pairs, put};

#[tokio::test]
async fn writes_are_read_and_outlive_a_restart() {
    let mut fixture = Fixture::new().await;
    assert_eq!(fixture.put("a", "1").await.revision, 1);
    assert_eq!(fixture.put("b", "2").await.revision, 2);
    assert_eq!(fixture.put("a", "3").await.revision, 3);
    fixture.store.txn(delete("b", None)).await.unwrap();
    for _ in 0..2 {
        let now = fixture.store.range(all(0)).await.unwrap();
        assert_eq!((now.revision, pairs(&now)), (4, vec![("a".into(), "3".into())]));
        let then = fixture.store.range(all(2)).await.unwrap();
        assert_eq!(pairs(&then), [("a".into(), "1".into()), ("b".into(), "2".into())]);
        assert_eq!(fixture.store.read_index().await.unwrap(), 4);
        fixture.reopen().await;
    }
    assert_eq!(fixture.put("c", "4").await.revision, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_writers_one_wins_each_round() {
    let fixture = Fixture::new().await;
    for round in 0..20u64 {
        let claim = |writer: u64| {
            let key = Bytes::from("lock");
            let target = CompareTarget::Version(round);
            let compare = vec![Compare { key: key.clone(), target, op: CompareOp::Equal }];
            let op = Op::Put { key, value: writer.to_string().into(), lease: 0 };
            fixture.store.txn(Txn { compare, success: vec![op], failure: vec![] })
        };
        let results = try_join_all((0..32).map(claim)).await.unwrap();
        assert_eq!(results.iter().filter(|result| result.succeeded).count(), 1);
        assert_eq!(fixture.store.read_index().await.unwrap(), round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_writers_than_the_queue_holds_all_get_their_turn() {
    let fixture = Fixture::new().await;
    let write = |n: u64| fixture.store.txn(put(format!("key{n}"), "v"));
    let mut revisions: Vec<_> =
        try_join_all((0..3000).map(write)).await.unwrap().iter().map(|result| result.revision).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=3000).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let fixture = Fixture::new().await;
    let twice = Txn { success: [put("a", "1").success, put("a", "2").success].concat(), ..Txn::default() };
    let duplicate = Refusal::DuplicateKey { key: Bytes::from("a") };
    assert_eq!(fixture.store.txn(twice).await, Err(StoreError::InvalidTxn(duplicate)));
    let large = fixture.store.txn(put("a", vec![0; 4 << 20])).await;
    assert!(matches!(large, Err(StoreError::TooLarge { bytes_max, .. }) if bytes_max == 3 << 20), "{large:?}");
    let future = Err(StoreError::FutureRevision { revision: 7, current: 0 });
    assert_eq!(fixture.store.range(all(7)).await, future);
    let read = Txn { success: vec![Op::Range(all(7))], ..Txn::default() };
    assert_eq!(fixture.store.txn(read).await.map(|_| ()), future.map(|_| ()));
    assert_eq!(fixture.store.read_index().await, Ok(0));
}

#[tokio::test]
async fn compaction_forgets_the_past_alone() {
    let mut fixture = Fixture::new().await;
    for value in ["1", "2", "3"] {
        fixture.put("a", value).await;
    }
    fixture.store.compact(2).await.unwrap();
    for _ in 0..2 {
        let compacted = StoreError::Compacted { compact_revision: 2 };
        assert_eq!(fixture.store.range(all(1)).await.map(|_| ()), Err(compacted.clone()));
        assert_eq!(fixture.store.compact(2).await, Err(compacted));
        assert_eq!(pairs(&fixture.store.range(all(2)).await.unwrap()), [("a".into(), "2".into())]);
        fixture.reopen().await;
    }
    let late = fixture.store.compact(9).await;
    assert_eq!(late, Err(StoreError::FutureRevision { revision: 9, current: 3 }));
}

#[tokio::test]
async fn a_revision_outlives_the_removal_of_all_it_made() {
    let mut fixture = Fixture::new().await;
    fixture.put("a", "1").await;
    let removed = fixture.store.txn(delete("a", None)).await.unwrap();
    assert!(matches!(&removed.results[..], [OpResult::Delete { prev }] if prev.len() == 1));
    fixture.store.compact(2).await.unwrap();
    fixture.reopen().await;
    assert_eq!(fixture.store.read_index().await.unwrap(), 2);
    assert_eq!(fixture.put("a", "2").await.revision, 3);
}

#[tokio::test]
async fn the_compactor_bounds_the_number_of_revisions() {
    let fixture = Fixture::new().await;
    for _ in 0..10 {
        fixture.put("a", "1").await;
    }
    let mut compactor = Compactor::new(Retention { revisions_max: 4, ..Retention::default() });
    assert_eq!(compactor.compact(&fixture.store).await, Ok(Some(6)));
    assert_eq!(compactor.compact(&fixture.store).await, Ok(None));
    assert!(fixture.store.range(all(6)).await.is_ok());
    assert!(fixture.store.range(all(5)).await.is_err());
}
