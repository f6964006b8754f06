#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use super::*;

/// Records when each key was observed; answers from a script, then `Done`.
#[derive(Default)]
struct Script {
    seen: Mutex<BTreeMap<u32, Vec<Duration>>>,
    answers: Mutex<BTreeMap<u32, Vec<Answer>>>,
    in_flight: Mutex<(usize, usize)>,
    began: Mutex<Option<Instant>>,
}

#[derive(Clone, Copy)]
enum Answer {
    Next(Next),
    Fail,
    Panic,
    Take(Duration),
}

#[derive(Debug, thiserror::Error)]
#[error("scripted")]
struct Scripted;

impl crate::Fault for Scripted {
    fn is_transient(&self) -> bool {
        false
    }
}

impl Script {
    fn with(answers: &[(u32, Vec<Answer>)]) -> Arc<Self> {
        let script = Self::default();
        *script.answers.lock().unwrap() = answers.iter().cloned().collect();
        *script.began.lock().unwrap() = Some(Instant::now());
        Arc::new(script)
    }

    fn times(&self, key: u32) -> Vec<u64> {
        let seen = self.seen.lock().unwrap();
        seen.get(&key)
            .map(|times| times.iter().map(|t| u64::try_from(t.as_millis()).unwrap()).collect())
            .unwrap_or_default()
    }
}

impl Reconciler for Script {
    type Key = u32;
    type Observed = Answer;
    type Plan = Answer;
    type Applied = Next;
    type Error = Scripted;

    fn kind(&self) -> &'static str {
        "script"
    }

    fn keys(&self) -> Vec<u32> {
        self.answers.lock().unwrap().keys().copied().collect()
    }

    async fn observe(&self, key: &u32) -> Result<Option<Answer>, Scripted> {
        let at = self.began.lock().unwrap().unwrap().elapsed();
        self.seen.lock().unwrap().entry(*key).or_default().push(at);
        let mut answers = self.answers.lock().unwrap();
        let script = answers.entry(*key).or_default();
        Ok((!script.is_empty()).then(|| script.remove(0)))
    }

    fn plan(observed: &Answer) -> Answer {
        *observed
    }

    async fn apply(&self, _: &u32, _: &Answer, plan: &Answer) -> Result<Next, Scripted> {
        match plan {
            Answer::Next(next) => Ok(*next),
            Answer::Fail => Err(Scripted),
            Answer::Panic => panic!("scripted"),
            Answer::Take(time) => {
                {
                    let mut in_flight = self.in_flight.lock().unwrap();
                    in_flight.0 += 1;
                    in_flight.1 = in_flight.1.max(in_flight.0);
                }
                tokio::time::sleep(*time).await;
                self.in_flight.lock().unwrap().0 -= 1;
                Ok(Next::Done)
            }
        }
    }

    async fn report(
        &self,
        _: &u32,
        _: &Answer,
        _: &Answer,
        applied: &Result<Next, Scripted>,
    ) -> Result<Next, Scripted> {
        Ok(*applied.as_ref().unwrap_or(&Next::Done))
    }
}

/// Runs a script for a while of paused time.
async fn play(script: &Arc<Script>, options: Options, time: Duration, then: impl AsyncFnOnce(&Queue<u32>)) {
    let queue = Queue::new(&options);
    let stop = CancellationToken::new();
    let task = tokio::spawn(run(Arc::clone(script), queue.clone(), options, stop.clone()));
    then(&queue).await;
    tokio::time::sleep(time).await;
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_success_forgets_them() {
    use Answer::{Fail, Panic};
    let script = Script::with(&[(1, vec![Fail, Panic, Fail, Answer::Next(Next::Done), Fail])]);
    play(&script, Options::default(), Duration::from_secs(2), async |queue| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        queue.add(1, "test");
    })
    .await;
    assert_eq!(script.times(1), [0, 5, 15, 35, 1000, 1005]);
}

#[tokio::test(start_paused = true)]
async fn a_requeue_comes_when_it_was_asked_for() {
    let script = Script::with(&[(1, vec![Answer::Next(Next::After(Duration::from_secs(30)))])]);
    play(&script, Options::default(), Duration::from_secs(100), async |_| {}).await;
    assert_eq!(script.times(1), [0, 30_000]);
}

#[tokio::test(start_paused = true)]
async fn workers_are_bounded_and_a_key_is_alone() {
    let second = Duration::from_secs(1);
    let answers: Vec<_> = (0..6).map(|key| (key, vec![Answer::Take(second), Answer::Take(second)])).collect();
    let script = Script::with(&answers);
    let options = Options { workers: 3, ..Options::default() };
    play(&script, options, Duration::from_secs(20), async |queue| {
        tokio::task::yield_now().await;
        (0..6).for_each(|key| queue.add(key, "test"));
    })
    .await;
    assert_eq!(script.in_flight.lock().unwrap().1, 3);
    for key in 0..6 {
        let times = script.times(key);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "key {key} at {times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_that_hangs_is_ended() {
    let script = Script::with(&[(1, vec![Answer::Take(Duration::from_secs(3600))])]);
    play(&script, Options::default(), Duration::from_secs(200), async |_| {}).await;
    assert_eq!(script.times(1), [0, 120_005]);
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_while_the_gate_is_shut() {
    let script = Script::with(&[(1, vec![Answer::Next(Next::Done)])]);
    let (gate, receiver) = watch::channel(false);
    let options = Options { gate: Some(receiver), ..Options::default() };
    play(&script, options, Duration::from_secs(1), async |_| {
        tokio::time::sleep(Duration::from_secs(7)).await;
        gate.send(true).unwrap();
    })
    .await;
    assert_eq!(script.times(1), [7000]);
}

#[tokio::test(start_paused = true)]
async fn resyncs_come_periodically() {
    let script = Script::with(&[(1, vec![])]);
    let options = Options { resync: Duration::from_secs(10), ..Options::default() };
    play(&script, options, Duration::from_secs(25), async |_| {}).await;
    assert_eq!(script.times(1), [0, 10_000, 20_000]);
}

#[tokio::test(start_paused = true)]
async fn an_overflow_loses_no_key() {
    let answers: Vec<_> = (0..50).map(|key| (key, vec![Answer::Next(Next::Done); 3])).collect();
    let script = Script::with(&answers);
    let options = Options { queue_len_max: 4, workers: 1, ..Options::default() };
    play(&script, options, Duration::from_secs(1), async |queue| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        (0..50).for_each(|key| queue.add(key, "test"));
    })
    .await;
    assert!((0..50).all(|key| script.times(key).len() >= 2));
}
