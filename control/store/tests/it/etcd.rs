//! Cases where etcd's answer is a choice.

use bytes::Bytes;
use skep_store::{
    Compare, CompareOp, CompareTarget, Error, Memory, Op, OpResult, Range, Refusal, StateMachine, Txn, TxnResult,
    WatchLogLimits,
};

struct Store {
    machine: StateMachine,
    backend: Memory,
}

impl Store {
    fn new() -> Store {
        Store { machine: StateMachine::new(WatchLogLimits::default()), backend: Memory::default() }
    }

    fn txn(&mut self, ops: Vec<Op>) -> TxnResult {
        self.machine.apply(&Txn { success: ops, ..Txn::default() }, &mut self.backend).unwrap().0
    }

    fn refused(&mut self, ops: Vec<Op>) -> Refusal {
        match self.machine.apply(&Txn { success: ops, ..Txn::default() }, &mut self.backend) {
            Err(Error::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }
}

fn put(key: &'static str) -> Op {
    Op::Put { key: Bytes::from(key), value: Bytes::from("v"), lease: 0 }
}

fn delete(start: &'static str, end: Option<&'static str>) -> Op {
    Op::Delete { start: Bytes::from(start), end: end.map(Bytes::from) }
}

#[test]
fn one_revision_for_all_changes_of_a_transaction_and_none_without() {
    let mut store = Store::new();
    assert_eq!(store.txn(vec![put("a"), put("b")]).revision, 1);
    assert_eq!(store.txn(vec![delete("x", None)]).revision, 1);
    assert_eq!(store.txn(vec![]).revision, 1);
    assert_eq!(store.txn(vec![delete("a", Some("\0"))]).revision, 2);
}

#[test]
fn a_key_changes_once_in_a_transaction() {
    let mut store = Store::new();
    let duplicate = |key: &'static str| Refusal::DuplicateKey { key: Bytes::from(key) };
    assert_eq!(store.refused(vec![put("a"), put("a")]), duplicate("a"));
    assert_eq!(store.refused(vec![put("b"), delete("a", Some("c"))]), duplicate("a"));
    assert_eq!(store.refused(vec![delete("a", None), put("a")]), duplicate("a"));
    assert_eq!(store.refused(vec![put("")]), Refusal::EmptyKey);
    // Deletes may overlap: the second finds nothing.
    store.txn(vec![put("a")]);
    let result = store.txn(vec![delete("a", None), delete("a", Some("b"))]);
    assert!(matches!(&result.results[..], [OpResult::Delete { prev }, OpResult::Delete { prev: none }]
        if prev.len() == 1 && none.is_empty()));
}

#[test]
fn a_read_in_a_transaction_sees_the_writes_before_it() {
    let mut store = Store::new();
    let read = || Op::Range(Range { start: Bytes::from("a"), ..Range::default() });
    let result = store.txn(vec![read(), put("a"), read()]);
    let counts: Vec<_> = result.results.iter().map(|r| if let OpResult::Range(r) = r { r.count } else { 9 }).collect();
    assert_eq!(counts, [0, 9, 1]);
}

#[test]
fn no_value_of_an_absent_key_compares() {
    let mut store = Store::new();
    for op in [CompareOp::Equal, CompareOp::NotEqual, CompareOp::Less, CompareOp::Greater] {
        let compare = vec![Compare { key: Bytes::from("a"), target: CompareTarget::Value(Bytes::new()), op }];
        let txn = Txn { compare, ..Txn::default() };
        assert!(!store.machine.apply(&txn, &mut store.backend).unwrap().0.succeeded);
    }
}

#[test]
fn a_range_whose_ends_cross_is_empty() {
    let mut store = Store::new();
    store.txn(vec![put("a"), put("b")]);
    for (start, end) in [("b", "a"), ("a", "a"), ("z", "\u{1}")] {
        let range = Range { start: Bytes::from(start), end: Some(Bytes::from(end)), ..Range::default() };
        assert_eq!(store.machine.range(&range, &store.backend).unwrap().count, 0);
    }
}
