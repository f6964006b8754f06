//! Ranges of the backend table: best fit, neighbours joined, and a limbo for what readers may still look at.

use std::collections::{BTreeMap, BTreeSet};

/// Rows `base .. base + len`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// First row.
    pub base: u32,
    /// Number of rows.
    pub len: u32,
}

/// Which rows of a table are free.
#[derive(Debug)]
pub struct Ranges {
    by_base: BTreeMap<u32, u32>,
    by_len: BTreeSet<(u32, u32)>,
    limbo: Vec<Range>,
    limbo_rows: u32,
    free_rows: u32,
}

impl Ranges {
    /// All of a table is free.
    pub fn new(capacity: u32) -> Self {
        let mut ranges =
            Self { by_base: BTreeMap::new(), by_len: BTreeSet::new(), limbo: Vec::new(), limbo_rows: 0, free_rows: 0 };
        ranges.release(Range { base: 0, len: capacity });
        ranges
    }

    /// The smallest free range that holds `len` rows; `None` where there is none. No rows need no range.
    pub fn allocate(&mut self, len: u32) -> Option<Range> {
        if len == 0 {
            return Some(Range::default());
        }
        let &(found, base) = self.by_len.range((len, 0)..).next()?;
        self.take(base, found);
        self.put(Range { base: base + len, len: found - len });
        Some(Range { base, len })
    }

    /// Takes one certain range, as found in the kernel; `false` where part of it is taken already.
    #[must_use]
    pub fn reserve(&mut self, range: Range) -> bool {
        if range.len == 0 {
            return true;
        }
        let Some(end) = range.base.checked_add(range.len) else { return false };
        let Some((&base, &len)) = self.by_base.range(..=range.base).next_back() else { return false };
        if end > base + len {
            return false;
        }
        self.take(base, len);
        self.put(Range { base, len: range.base - base });
        self.put(Range { base: end, len: base + len - end });
        true
    }

    /// Frees a range that no reader can have seen.
    pub fn release(&mut self, range: Range) {
        if range.len == 0 {
            return;
        }
        let mut joined = range;
        if let Some((&base, &len)) = self.by_base.range(..range.base).next_back()
            && base + len == range.base
        {
            self.take(base, len);
            joined = Range { base, len: joined.len + len };
        }
        let end = range.base + range.len;
        if let Some(&len) = self.by_base.get(&end) {
            self.take(end, len);
            joined.len += len;
        }
        self.put(joined);
    }

    /// Gives up a range that readers may still look at: it is free after the next grace period.
    pub fn retire(&mut self, range: Range) {
        if range.len > 0 {
            self.limbo_rows += range.len;
            self.limbo.push(range);
        }
    }

    /// A grace period has passed since the last [`Ranges::retire`].
    pub fn grace_passed(&mut self) {
        self.limbo_rows = 0;
        for range in std::mem::take(&mut self.limbo) {
            self.release(range);
        }
    }

    /// Rows that wait for a grace period.
    pub fn limbo_rows(&self) -> u32 {
        self.limbo_rows
    }

    /// Rows that are free.
    pub fn free_rows(&self) -> u32 {
        self.free_rows
    }

    fn put(&mut self, range: Range) {
        if range.len > 0 {
            self.by_base.insert(range.base, range.len);
            self.by_len.insert((range.len, range.base));
            self.free_rows += range.len;
        }
    }

    fn take(&mut self, base: u32, len: u32) {
        self.by_base.remove(&base);
        self.by_len.remove(&(len, base));
        self.free_rows -= len;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_are_joined() {
        let mut ranges = Ranges::new(10);
        let a = ranges.allocate(4).unwrap();
        let b = ranges.allocate(4).unwrap();
        assert_eq!(ranges.allocate(4), None);
        ranges.release(a);
        ranges.release(b);
        assert_eq!(ranges.allocate(10), Some(Range { base: 0, len: 10 }));
    }

    #[test]
    fn retired_rows_wait_for_the_grace_period() {
        let mut ranges = Ranges::new(4);
        let all = ranges.allocate(4).unwrap();
        ranges.retire(all);
        assert_eq!((ranges.allocate(1), ranges.limbo_rows()), (None, 4));
        ranges.grace_passed();
        assert_eq!((ranges.allocate(4), ranges.limbo_rows()), (Some(all), 0));
    }

    #[test]
    fn reserve_takes_free_rows_only() {
        let mut ranges = Ranges::new(10);
        assert!(ranges.reserve(Range { base: 3, len: 2 }));
        assert!(!ranges.reserve(Range { base: 4, len: 2 }));
        assert!(!ranges.reserve(Range { base: 9, len: 2 }));
        assert!(!ranges.reserve(Range { base: u32::MAX, len: 2 }));
        assert_eq!(ranges.free_rows(), 8);
        assert_eq!(ranges.allocate(3), Some(Range { base: 0, len: 3 }));
    }

    proptest! {
        /// Against a plain array of rows: nothing is handed out twice, and freed rows can be had again.
        #[test]
        fn agrees_with_an_array_of_rows(steps in prop::collection::vec((0u8..4, 0u32..12, any::<prop::sample::Index>()), 0..120)) {
            let mut ranges = Ranges::new(64);
            let mut taken = [false; 64];
            let mut held: Vec<Range> = Vec::new();
            let mut limbo: Vec<Range> = Vec::new();
            for (what, len, which) in steps {
                match what {
                    0 | 1 => {
                        if let Some(range) = ranges.allocate(len).filter(|range| range.len > 0) {
                            for row in &mut taken[range.base as usize..(range.base + range.len) as usize] {
                                prop_assert!(!*row);
                                *row = true;
                            }
                            held.push(range);
                        } else if len > 0 {
                            let longest = taken.split(|&row| row).map(<[bool]>::len).max().unwrap_or(0);
                            prop_assert!(longest < len as usize);
                        }
                    }
                    2 if !held.is_empty() => {
                        let range = held.swap_remove(which.index(held.len()));
                        ranges.retire(range);
                        limbo.push(range);
                    }
                    _ => {
                        ranges.grace_passed();
                        for range in limbo.drain(..) {
                            taken[range.base as usize..(range.base + range.len) as usize].fill(false);
                        }
                    }
                }
                prop_assert_eq!(ranges.free_rows() as usize, taken.iter().filter(|&&row| !row).count());
            }
        }
    }
}
