//! The queue's state: which keys wait, run, or are due later. No locks, no waiting; time is an argument.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use tokio::time::Instant;

use crate::reconciler::Key;

/// What woke a key.
pub(crate) type Cause = &'static str;

enum Mark {
    Waiting(Cause),
    Running,
    RunningAndWoken(Cause),
}

pub(crate) struct State<K> {
    len_max: usize,
    marks: HashMap<K, Mark>,
    waiting: VecDeque<K>,
    /// The time at which a delayed key is due; `timers` may hold outdated entries besides.
    due: HashMap<K, (Instant, u64, Cause)>,
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    timer_keys: HashMap<u64, K>,
    timer_id: u64,
    failures: HashMap<K, u32>,
    /// Keys of a resync that did not fit yet.
    backlog: Vec<K>,
    resync: bool,
}

impl<K: Key> State<K> {
    pub(crate) fn new(len_max: usize) -> Self {
        Self {
            len_max,
            marks: HashMap::new(),
            waiting: VecDeque::new(),
            due: HashMap::new(),
            timers: BinaryHeap::new(),
            timer_keys: HashMap::new(),
            timer_id: 0,
            failures: HashMap::new(),
            backlog: Vec::new(),
            resync: false,
        }
    }

    pub(crate) fn add(&mut self, key: K, cause: Cause) {
        match self.marks.get_mut(&key) {
            Some(Mark::Waiting(_) | Mark::RunningAndWoken(_)) => {}
            Some(mark @ Mark::Running) => *mark = Mark::RunningAndWoken(cause),
            None if self.waiting.len() >= self.len_max => self.resync = true,
            None => {
                self.waiting.push_back(key.clone());
                self.marks.insert(key, Mark::Waiting(cause));
            }
        }
    }

    /// Adds a key at a time; the earlier of two times counts.
    pub(crate) fn add_at(&mut self, key: K, at: Instant, cause: Cause) {
        if let Some((earlier, id, _)) = self.due.get(&key) {
            if *earlier <= at {
                return;
            }
            self.timer_keys.remove(id);
        }
        self.timer_id += 1;
        self.timers.push(Reverse((at, self.timer_id)));
        self.timer_keys.insert(self.timer_id, key.clone());
        self.due.insert(key, (at, self.timer_id, cause));
    }

    pub(crate) fn request_resync(&mut self) {
        self.resync = true;
    }

    /// Whether all keys are to be listed now. One listing is worked off before the next begins.
    pub(crate) fn take_resync(&mut self) -> bool {
        self.resync && self.backlog.is_empty() && self.waiting.len() < self.len_max && std::mem::take(&mut self.resync)
    }

    pub(crate) fn fill(&mut self, keys: Vec<K>) {
        self.backlog = keys;
    }

    /// The next key to run. A key of the resync comes when no woken one waits.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(K, Cause)> {
        self.promote(now);
        if let Some(key) = self.waiting.pop_front() {
            let cause = match self.marks.insert(key.clone(), Mark::Running) {
                Some(Mark::Waiting(cause)) => cause,
                _ => "unknown",
            };
            return Some((key, cause));
        }
        while let Some(key) = self.backlog.pop() {
            if let Some(mark) = self.marks.get_mut(&key) {
                *mark = Mark::RunningAndWoken("resync");
            } else {
                self.marks.insert(key.clone(), Mark::Running);
                return Some((key, "resync"));
            }
        }
        None
    }

    fn promote(&mut self, now: Instant) {
        while let Some(Reverse((at, id))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            if let Some(key) = self.timer_keys.remove(&id)
                && let Some((_, _, cause)) = self.due.remove(&key)
            {
                self.add(key, cause);
            }
        }
    }

    /// When the next delayed key is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// A run of the key ended.
    pub(crate) fn end(&mut self, key: &K) {
        if let Some(Mark::RunningAndWoken(cause)) = self.marks.remove(key) {
            self.add(key.clone(), cause);
        }
    }

    /// Counts a failure; returns how many there were in a row.
    pub(crate) fn fail(&mut self, key: &K) -> u32 {
        let count = self.failures.entry(key.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    pub(crate) fn succeed(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// Keys that could run now if a worker were free.
    pub(crate) fn depth(&self) -> usize {
        self.waiting.len() + self.backlog.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn state(len_max: usize) -> (State<&'static str>, Instant) {
        (State::new(len_max), Instant::now())
    }

    #[test]
    fn a_key_waits_once() {
        let (mut state, now) = state(8);
        state.add("a", "one");
        state.add("b", "one");
        state.add("a", "two");
        assert_eq!(state.next(now), Some(("a", "one")));
        assert_eq!(state.next(now), Some(("b", "one")));
        assert_eq!(state.next(now), None);
    }

    #[test]
    fn a_key_woken_while_it_runs_runs_again() {
        let (mut state, now) = state(8);
        state.add("a", "one");
        assert!(state.next(now).is_some());
        state.add("a", "two");
        state.add("a", "three");
        assert_eq!(state.next(now), None);
        state.end(&"a");
        assert_eq!(state.next(now), Some(("a", "two")));
        state.end(&"a");
        assert_eq!(state.next(now), None);
    }

    #[test]
    fn the_earlier_delay_counts() {
        let (mut state, now) = state(8);
        let second = Duration::from_secs(1);
        state.add_at("a", now + 2 * second, "late");
        state.add_at("a", now + second, "early");
        state.add_at("a", now + 3 * second, "later");
        assert_eq!(state.next(now), None);
        assert_eq!(state.next_due(), Some(now + second));
        assert_eq!(state.next(now + second), Some(("a", "early")));
        state.end(&"a");
        assert_eq!(state.next(now + 9 * second), None);
    }

    #[test]
    fn an_overflow_means_a_resync() {
        let (mut state, now) = state(2);
        for key in ["a", "b", "c"] {
            state.add(key, "event");
        }
        assert!(!state.take_resync(), "no room yet");
        assert!(state.next(now).is_some());
        assert!(state.take_resync());
        state.fill(vec!["c", "b", "a"]);
        assert_eq!(state.next(now), Some(("b", "event")));
        assert_eq!(state.next(now), Some(("c", "resync")), "a and b run already");
        state.end(&"a");
        assert_eq!(state.next(now), Some(("a", "resync")));
    }
}
