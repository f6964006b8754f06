//! Addresses that belong to services as a whole: each is there as long as a head is at it.

use std::collections::{BTreeMap, BTreeSet};

use skep_abi::{Ip, SVC_ADDRESS, Svc, SvcKey};

use crate::Plan;

/// Heads by address, and which addresses the kernel holds.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    heads: BTreeMap<Ip, u32>,
    held: BTreeSet<Ip>,
    /// What changed since the last plan.
    touched: BTreeSet<Ip>,
}

impl Addresses {
    /// The kernel was found to hold it.
    pub(crate) fn adopt(&mut self, addr: Ip) {
        self.held.insert(addr);
    }

    /// One head more is at it.
    pub(crate) fn more(&mut self, addr: Ip) {
        *self.heads.entry(addr).or_default() += 1;
        self.touched.insert(addr);
    }

    /// One head less is at it.
    pub(crate) fn less(&mut self, addr: Ip) {
        self.touched.insert(addr);
        if let Some(count) = self.heads.get_mut(&addr) {
            *count -= 1;
            if *count == 0 {
                self.heads.remove(&addr);
            }
        }
    }

    /// The next plan looks at all.
    pub(crate) fn touch_all(&mut self) {
        self.touched.extend(self.heads.keys().chain(&self.held));
    }

    pub(crate) fn has(&self, addr: &Ip) -> bool {
        self.held.contains(addr)
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Plans what changed.
    pub(crate) fn settle(&mut self, plan: &mut Plan) {
        for addr in std::mem::take(&mut self.touched) {
            let key = SvcKey::address(addr);
            if self.heads.contains_key(&addr) {
                if self.held.insert(addr) {
                    plan.heads.push((key, Svc { flags: SVC_ADDRESS, ..Svc::default() }));
                }
            } else if self.held.remove(&addr) {
                plan.removed_heads.push(key);
            }
        }
    }
}
