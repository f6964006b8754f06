//! Flows that nothing is seen of any more, collected a part at a time.

use std::collections::HashMap;

use skep_abi::{CT_SHARE, Ct, CtKey};
use skep_logic::is_expired;

use crate::sys::Cursor;
use crate::{Datapath, Error};

/// Where a sweep through `CT` is.
#[derive(Debug, Default)]
pub struct Sweep {
    cursor: Option<Cursor>,
    /// Entries seen by owner, to mend the shares that programs count without locks.
    shares: HashMap<u32, u32>,
}

/// What a round of a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Entries looked at.
    pub seen: usize,
    /// Of these, deleted.
    pub deleted: usize,
    /// Whether the sweep has come to the table's end, and begins anew with the next round.
    pub finished: bool,
}

impl Datapath {
    /// Looks at about `most` flows, and deletes those that have been silent for too long. The table of brief ones evicts by itself.
    ///
    /// # Errors
    /// A map cannot be read or written; the sweep begins anew then.
    pub fn sweep_flows(&self, sweep: &mut Sweep, most: usize) -> Result<Swept, Error> {
        let mut round = Swept::default();
        let outcome = self.sweep_round(sweep, most, &mut round);
        if outcome.is_err() || round.finished {
            *sweep = Sweep::default();
        }
        outcome.map(|()| round)
    }

    fn sweep_round(&self, sweep: &mut Sweep, most: usize, round: &mut Swept) -> Result<(), Error> {
        let inspector = self.inspect();
        let (table, now_s) = (&inspector.maps.ct, now_s());
        while round.seen < most && !round.finished {
            let (entries, last) = table.next_batch(&mut sweep.cursor)?;
            round.seen += entries.len();
            round.finished = last;
            for (key, ct) in entries {
                if self.is_dead(&key, &ct, now_s)? {
                    table.delete(&key)?;
                    round.deleted += 1;
                } else {
                    *sweep.shares.entry(ct.owner).or_default() += 1;
                }
            }
        }
        if round.finished {
            let shares = &inspector.maps.ct_share;
            for owner in 0..CT_SHARE.entries {
                let counted = sweep.shares.get(&owner).copied().unwrap_or(0);
                if shares.get(&owner)?.unwrap_or_default() != counted {
                    shares.put(&owner, &counted)?;
                }
            }
        }
        Ok(())
    }

    /// Looks twice, as a packet may have come since the batch was read.
    fn is_dead(&self, key: &CtKey, ct: &Ct, now_s: u32) -> Result<bool, Error> {
        if !is_expired(key.proto, ct, now_s) {
            return Ok(false);
        }
        let held = self.inspect().maps.ct.get(key)?;
        Ok(held.is_some_and(|held| is_expired(key.proto, &held, now_s)))
    }
}

/// Seconds of the clock that the programs read.
pub(crate) fn now_s() -> u32 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the buffer is a valid timespec, which the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_sec as u32
}
