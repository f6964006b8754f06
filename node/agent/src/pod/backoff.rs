//! Exponential back-off by key: the rule that crash loops and image pulls share.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

const INITIAL: SignedDuration = SignedDuration::from_secs(10);
const MAX: SignedDuration = SignedDuration::from_secs(300);
/// An entry left alone for this long starts over.
const RESET_AFTER: SignedDuration = SignedDuration::from_secs(600);

/// Delays that double from 10 s to 300 s and start over after ten quiet minutes.
#[derive(Debug, Default, Clone)]
pub(crate) struct Backoffs(BTreeMap<String, Entry>);

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: SignedDuration,
    updated: Timestamp,
}

impl Entry {
    fn expired(self, event: Timestamp) -> bool {
        event.duration_since(self.updated) > RESET_AFTER
    }
}

impl Backoffs {
    /// The delay in force and its end, if `now` is still inside the delay that began at `event`.
    pub(crate) fn waiting(&self, key: &str, event: Timestamp, now: Timestamp) -> Option<(SignedDuration, Timestamp)> {
        let entry = self.0.get(key)?;
        let end = event + entry.delay;
        (!entry.expired(event) && now < end).then_some((entry.delay, end))
    }

    /// Notes another try at `now` after `event`, and returns the delay that the next failure will meet.
    pub(crate) fn step(&mut self, key: &str, event: Timestamp, now: Timestamp) -> SignedDuration {
        let delay = match self.0.get(key) {
            Some(entry) if !entry.expired(event) => (entry.delay * 2).min(MAX),
            _ => INITIAL,
        };
        self.0.insert(key.to_owned(), Entry { delay, updated: now });
        delay
    }

    /// Forgets a key that has succeeded.
    pub(crate) fn reset(&mut self, key: &str) {
        self.0.remove(key);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn doubles_to_the_ceiling_and_starts_over() {
        let mut backoffs = Backoffs::default();
        assert!(backoffs.waiting("a", at(0), at(0)).is_none(), "the first crash restarts at once");
        let mut now = 0;
        let mut seen = Vec::new();
        for _ in 0..7 {
            let delay = backoffs.step("a", at(now), at(now)).as_secs();
            seen.push(delay);
            let (held, end) = backoffs.waiting("a", at(now + 1), at(now + 2)).unwrap();
            assert_eq!((held.as_secs(), end), (delay, at(now + 1 + delay)));
            now += 1 + delay;
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 300, 300]);
        let later = at(now + 1000);
        assert!(backoffs.waiting("a", later, later).is_none());
        assert_eq!(backoffs.step("a", later, later).as_secs(), 10);
    }
}
