use std::fs;
use std::sync::Arc;

use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use openraft::{CommittedLeaderId, EntryPayload};
use skep_store::{Op, Range, Txn, WatchLogLimits};
use tempfile::TempDir;

use super::*;
use crate::config::{Command, Entry, LogId};
use crate::machine::Machine;
use crate::records::Records;
use crate::state::State;

/// A member's state without Raft.
struct Member {
    state: Arc<State>,
    snapshots: Arc<Snapshots>,
    machine: Machine,
    index: u64,
    dir: TempDir,
}

impl Member {
    fn new() -> Member {
        let dir = TempDir::new().unwrap();
        let (db, _) = Db::open(dir.path(), &dir.path().join("db")).unwrap();
        let snapshots = Arc::new(Snapshots::open(dir.path().join("snapshots")).unwrap());
        let limits = WatchLogLimits::default();
        let state = Arc::new(State::restore(Arc::new(db), limits).unwrap());
        let machine = Machine::new(state.clone(), snapshots.clone(), limits).unwrap();
        Member { state, snapshots, machine, index: 0, dir }
    }

    async fn put(&mut self, key: &'static str, value: &'static str) {
        self.index += 1;
        let op = Op::Put { key: key.into(), value: value.into(), lease: 0 };
        let command = Command::Txns(vec![Txn { success: vec![op], ..Txn::default() }]);
        let log_id = LogId::new(CommittedLeaderId::new(1, 1), self.index);
        let entry = Entry { log_id, payload: EntryPayload::Normal(command) };
        self.machine.apply([entry]).await.unwrap();
    }

    fn records(&self) -> Vec<(Position, skep_store::Record)> {
        let mut records = Vec::new();
        let mut visit = |at, record| {
            records.push((at, record));
            std::ops::ControlFlow::Continue(())
        };
        skep_store::Backend::scan(&Records(self.state.db()), Position::default(), &mut visit).unwrap();
        records
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("snapshots").join(name)
    }
}

async fn source() -> (Member, SnapshotMeta) {
    let mut member = Member::new();
    for (key, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
        member.put(key, value).await;
    }
    let meta = member.machine.get_snapshot_builder().await.build_snapshot().await.unwrap().meta;
    member.put("c", "after the snapshot").await;
    (member, meta)
}

#[tokio::test]
async fn another_member_takes_the_state_over() {
    let (from, meta) = source().await;
    let mut to = Member::new();
    to.put("x", "to be replaced").await;
    let file = to.machine.begin_receiving_snapshot().await.unwrap();
    fs::copy(from.path("current"), to.path("received")).unwrap();
    to.machine.install_snapshot(&meta, file).await.unwrap();

    assert_eq!(to.machine.applied_state().await.unwrap().0, meta.last_log_id);
    assert_eq!(to.records(), from.records()[..3]);
    assert_eq!(to.state.revision(), 3);
    let then = Range { start: "a".into(), revision: 1, ..Range::default() };
    assert_eq!(to.state.clone().range(then).await.unwrap().kvs[0].value, "1");
    assert_eq!(to.machine.get_current_snapshot().await.unwrap().unwrap().meta, meta);
    to.index = 3;
    to.put("c", "after the snapshot").await;
    assert_eq!(to.records(), from.records());
}

#[tokio::test]
async fn one_that_was_cut_short_is_finished_at_the_next_start() {
    let (from, meta) = source().await;
    let to = Member::new();
    fs::copy(from.path("current"), to.path("received")).unwrap();
    to.snapshots.accept(&meta).unwrap();
    let db = to.state.db();
    let mut batch = WriteBatch::default();
    db.put_meta(&mut batch, db::INSTALLING, &());
    batch.put_cf(db.family(STATE), Position::first(99).encode(), "half of it");
    db.write(batch, false).unwrap();
    to.snapshots.resume(db).unwrap();
    assert_eq!(to.records(), from.records()[..3]);
    assert_eq!(db.meta::<()>(db::INSTALLING).unwrap(), None);
    assert_eq!(db.meta::<Applied>(db::APPLIED).unwrap().unwrap().log_id, meta.last_log_id);
}

#[tokio::test]
async fn a_damaged_one_is_refused_and_the_state_kept() {
    let (from, meta) = source().await;
    let whole = fs::read(from.path("current")).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(from.path("received"), damaged).unwrap();
        assert!(from.snapshots.accept(&meta).is_err(), "a flipped bit at {at}");
        fs::write(from.path("received"), &whole[..at]).unwrap();
        assert!(from.snapshots.accept(&meta).is_err(), "cut off at {at}");
    }
    assert_eq!(from.records().len(), 4);
}
