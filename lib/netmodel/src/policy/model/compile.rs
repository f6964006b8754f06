//! Rows of subjects from their policies.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::{Dirty, PolicyModel, Subject};
use crate::policy::group::Peer;
use crate::policy::parse::PolicyRule;
use crate::policy::{Direction, Policed, Ports, RowKey, Rule};
use crate::{ANY_POD, ANYONE, ObjectName};

impl PolicyModel {
    /// Brings the rows of every dirty subject up to date.
    pub(super) fn compile(&mut self) {
        for (subject, dirty) in std::mem::take(&mut self.dirty) {
            match dirty {
                Dirty::All => self.compile_rows(subject, None),
                Dirty::Peers(peers) => peers.into_iter().for_each(|peer| self.compile_rows(subject, Some(peer))),
            }
            self.compile_policed(subject);
        }
    }

    /// The rows of a subject, or those of it and one peer.
    fn compile_rows(&mut self, subject: u32, only: Option<u32>) {
        let wanted = self.wanted(subject, only);
        let held: Vec<RowKey> = match only {
            None => self.held(subject, Direction::Ingress, 0, Direction::Egress, u32::MAX),
            Some(peer) => {
                let mut held = self.held(subject, Direction::Ingress, peer, Direction::Ingress, peer);
                held.extend(self.held(subject, Direction::Egress, peer, Direction::Egress, peer));
                held
            }
        };
        for key in held {
            if !wanted.contains_key(&key) {
                self.tables.set_row(key, None);
            }
        }
        for (key, rule) in wanted {
            self.tables.set_row(key, Some(rule));
        }
    }

    fn held(&self, subject: u32, from: Direction, first: u32, to: Direction, last: u32) -> Vec<RowKey> {
        let low = RowKey { subject, direction: from, peer: first, ports: Ports { proto: 0, port: 0, bits: 0 } };
        let high =
            RowKey { subject, direction: to, peer: last, ports: Ports { proto: 255, port: u16::MAX, bits: 255 } };
        let range = (Bound::Included(low), Bound::Included(high));
        self.tables.state.rows.range(range).map(|(key, _)| *key).collect()
    }

    fn wanted(&self, subject: u32, only: Option<u32>) -> BTreeMap<RowKey, Rule> {
        let mut rows = BTreeMap::new();
        let (Some(held), Some(identity)) = (self.subjects.get(&subject), self.identities.get(&subject)) else {
            return rows;
        };
        for name in &held.policies {
            let Some(entry) = self.policies.get(name) else { continue };
            let directions = [(Direction::Ingress, &entry.policy.ingress), (Direction::Egress, &entry.policy.egress)];
            for (direction, rules) in directions {
                for (index, rule) in rules.iter().enumerate() {
                    let reason = Rule { policy: entry.id, index: u16::try_from(index).unwrap_or(u16::MAX) };
                    let mut add = |peer: u32, ports: Ports| {
                        rows.entry(RowKey { subject, direction, peer, ports }).or_insert(reason);
                    };
                    self.each_peer(&rule.peers, only, |peer| rule.blocks.iter().for_each(|&ports| add(peer, ports)));
                    self.each_named(rule, direction, subject, only, &mut add);
                }
            }
            debug_assert_eq!(name.namespace, identity.key.namespace, "a policy selects pods of its own namespace");
        }
        rows
    }

    /// The named ports of a rule: on the way in the subject's own, on the way out each peer's.
    fn each_named(
        &self,
        rule: &PolicyRule,
        direction: Direction,
        subject: u32,
        only: Option<u32>,
        mut add: impl FnMut(u32, Ports),
    ) {
        for (name, proto) in &rule.named {
            let wanted = (name.clone(), *proto);
            self.each_peer(&rule.named_peers, only, |peer| {
                let of = if direction == Direction::Ingress { subject } else { peer };
                let number = self.identities.get(&of).and_then(|entry| entry.key.ports.get(&wanted));
                if let Some(&port) = number {
                    add(peer, Ports { proto: *proto, port, bits: 16 });
                }
            });
        }
    }

    fn each_peer(&self, peers: &[Peer], only: Option<u32>, mut visit: impl FnMut(u32)) {
        let nobody = BTreeSet::new();
        for peer in peers {
            let (fixed, members) = match peer {
                Peer::Anyone => (Some(ANYONE), &nobody),
                Peer::AnyPod => (Some(ANY_POD), &nobody),
                Peer::Group(key) => (None, self.groups.get(key).map_or(&nobody, |group| &group.members)),
            };
            match only {
                None => fixed.into_iter().chain(members.iter().copied()).for_each(&mut visit),
                Some(id) if fixed == Some(id) || members.contains(&id) => visit(id),
                Some(_) => {}
            }
        }
    }

    /// Which directions of a subject are policed, and that at all its endpoints.
    fn compile_policed(&mut self, subject: u32) {
        let policed = self.subjects.get(&subject).map(|held| self.policed_by(held)).unwrap_or_default();
        if let Some(held) = self.subjects.get_mut(&subject)
            && held.policed != policed
        {
            held.policed = policed;
            self.refresh_endpoints_of(subject);
        }
    }

    fn policed_by(&self, subject: &Subject) -> Policed {
        let each = subject.policies.iter().filter_map(|name| self.policies.get(name)).map(|entry| entry.policy.policed);
        each.fold(Policed::default(), |all, one| Policed {
            ingress: all.ingress || one.ingress,
            egress: all.egress || one.egress,
        })
    }

    /// The policies that select an identity.
    pub(super) fn policies_for(&self, identity: u32) -> BTreeSet<ObjectName> {
        let Some(entry) = self.identities.get(&identity) else { return BTreeSet::new() };
        let first = ObjectName::new(&entry.key.namespace, "");
        let own = self.policies.range(first..).take_while(|(name, _)| name.namespace == entry.key.namespace);
        own.filter(|(_, held)| held.policy.pods.matches(&entry.key.labels)).map(|(name, _)| name.clone()).collect()
    }
}
