use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use skep_store::{
    Compare, CompareOp, CompareTarget, Error, Event, Memory, Op, Range, Refusal, StateMachine, Txn, WatchLogLimits,
};

use crate::model::Model;

/// Small, so that reads of changes come from memory and from the backend.
const LIMITS: WatchLogLimits = WatchLogLimits { revisions_max: 3, bytes_max: 1000 };

#[derive(Clone, Debug)]
enum Step {
    Txn(Txn),
    /// Up to so many revisions before the newest.
    Compact(u64),
    /// As after a restart.
    Restore,
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "ab", "b", "c", "ca", "d"]).prop_map(Bytes::from)
}

fn end() -> impl Strategy<Value = Option<Bytes>> {
    option::of(prop_oneof![key(), Just(Bytes::from("\0"))])
}

fn range() -> impl Strategy<Value = Range> {
    (key(), end(), 0..12u64, 0..4usize, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(start, end, revision, limit, keys_only, count_only)| {
            // Most reads are of the newest revision.
            let revision = revision.saturating_sub(6);
            Range { start, end, revision, limit, keys_only, count_only }
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let value = prop::sample::select(vec!["", "v", "w"]).prop_map(Bytes::from);
    prop_oneof![
        4 => (key(), value, 0..3i64).prop_map(|(key, value, lease)| Op::Put { key, value, lease }),
        2 => (key(), end()).prop_map(|(start, end)| Op::Delete { start, end }),
        1 => range().prop_map(Op::Range),
    ]
}

fn compare() -> impl Strategy<Value = Compare> {
    let value = prop::sample::select(vec!["", "v", "w"]).prop_map(Bytes::from);
    let target = prop_oneof![
        (0..4u64).prop_map(CompareTarget::Version),
        (0..9u64).prop_map(CompareTarget::CreateRevision),
        (0..9u64).prop_map(CompareTarget::ModRevision),
        value.prop_map(CompareTarget::Value),
        (0..3i64).prop_map(CompareTarget::Lease),
    ];
    let op = prop::sample::select(vec![CompareOp::Equal, CompareOp::NotEqual, CompareOp::Greater, CompareOp::Less]);
    (key(), target, op).prop_map(|(key, target, op)| Compare { key, target, op })
}

fn step() -> impl Strategy<Value = Step> {
    let txn = (vec(compare(), 0..3), vec(op(), 0..4), vec(op(), 0..3))
        .prop_map(|(compare, success, failure)| Step::Txn(Txn { compare, success, failure }));
    prop_oneof![12 => txn, 1 => (0..6u64).prop_map(Step::Compact), 1 => Just(Step::Restore)]
}

fn refusal<T>(result: Result<T, Error<std::convert::Infallible>>) -> Result<T, Refusal> {
    result.map_err(|error| match error {
        Error::Refused(refusal) => refusal,
        error => panic!("{error}"),
    })
}

fn sorted(events: &[Event]) -> Vec<Event> {
    let mut events = events.to_vec();
    events.sort_by_key(|event| match event {
        Event::Put { kv, .. } => kv.key.clone(),
        Event::Delete { key, .. } => key.clone(),
    });
    events
}

/// Every read, and every watch, at every revision.
fn check(model: &Model, machine: &StateMachine, backend: &Memory) {
    assert_eq!(machine.header().revision, model.revision());
    assert_eq!(machine.header().compact_revision, model.compacted);
    assert_eq!(backend.len(), model.record_count());
    for revision in 0..=model.revision() + 1 {
        let all = Range { start: Bytes::new(), end: Some(Bytes::from("\0")), revision, ..Range::default() };
        assert_eq!(refusal(machine.range(&all, backend)), model.range(&all));
    }
    for from in 1..=model.revision() + 1 {
        let changes = refusal(machine.changes(from, usize::MAX, backend));
        if from <= model.compacted {
            assert_eq!(changes, Err(Refusal::Compacted { compact_revision: model.compacted }));
            continue;
        }
        let changes = changes.unwrap();
        let revisions: Vec<_> = changes.iter().map(|batch| batch.revision).collect();
        assert_eq!(revisions, (from..=model.revision()).collect::<Vec<_>>());
        for batch in changes {
            assert_eq!(sorted(&batch.events), model.events(batch.revision));
        }
        let few = refusal(machine.changes(from, 2, backend)).unwrap();
        assert_eq!(few.len() as u64, (model.revision() + 1 - from).min(2));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_the_model_does(steps in vec(step(), 1..40), ranges in vec(range(), 8)) {
        let mut model = Model::new();
        let mut backend = Memory::default();
        let mut machine = StateMachine::new(LIMITS);
        for step in steps {
            match step {
                Step::Txn(txn) => {
                    let before = backend.clone();
                    let given = refusal(machine.apply(&txn, &mut backend));
                    let wanted = model.apply(&txn);
                    prop_assert_eq!(given.as_ref().map(|(result, _)| result), wanted.as_ref());
                    match given {
                        Ok((result, Some(batch))) => prop_assert_eq!(batch.revision, result.revision),
                        Ok((_, None)) | Err(_) => prop_assert_eq!(&backend, &before),
                    }
                }
                Step::Compact(back) => {
                    let revision = (model.revision() + 2).saturating_sub(back);
                    prop_assert_eq!(machine.compact(revision, &mut backend), model.compact(revision));
                }
                Step::Restore => machine = StateMachine::restore(machine.header(), LIMITS, &backend).unwrap(),
            }
            for range in &ranges {
                prop_assert_eq!(refusal(machine.range(range, &backend)), model.range(range));
            }
        }
        check(&model, &machine, &backend);
        check(&model, &StateMachine::restore(machine.header(), LIMITS, &backend).unwrap(), &backend);
    }
}
