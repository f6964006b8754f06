//! Who is in which group, and who has to hear of a change.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{BlockEntry, Dirty, PolicyModel};
use crate::ObjectName;
use crate::policy::group::{Group, GroupKey};

impl PolicyModel {
    /// A policy names a group once more.
    pub(super) fn join_group(&mut self, key: &GroupKey, policy: &ObjectName) {
        if !self.groups.contains_key(key) {
            key.blocks().for_each(|net| self.join_block(net));
            let members = self.members_of(key);
            self.groups.insert(key.clone(), Group { members, ..Group::default() });
        }
        if let Some(group) = self.groups.get_mut(key) {
            *group.users.entry(policy.clone()).or_default() += 1;
        }
    }

    /// A policy names a group once less.
    pub(super) fn quit_group(&mut self, key: &GroupKey, policy: &ObjectName) {
        let Some(group) = self.groups.get_mut(key) else { return };
        if let Some(count) = group.users.get_mut(policy) {
            *count -= 1;
            if *count == 0 {
                group.users.remove(policy);
            }
        }
        if group.users.is_empty() {
            self.groups.remove(key);
            key.blocks().for_each(|net| self.quit_block(net));
        }
    }

    /// A new identity's groups.
    pub(super) fn join_groups(&mut self, identity: u32) {
        let Some(entry) = self.identities.get(&identity) else { return };
        let Some(namespace) = self.namespaces.get(&entry.key.namespace) else { return };
        let mut changed = Vec::new();
        for (key, group) in &mut self.groups {
            if key.has_identity(&entry.key, &namespace.labels) && group.members.insert(identity) {
                changed.extend(group.users.keys().cloned());
            }
        }
        self.mark_users(changed, identity);
    }

    /// An id is gone.
    pub(super) fn leave_groups(&mut self, id: u32) {
        let mut changed = Vec::new();
        for group in self.groups.values_mut() {
            if group.members.remove(&id) {
                changed.extend(group.users.keys().cloned());
            }
        }
        self.mark_users(changed, id);
    }

    /// A namespace has other labels than before.
    pub(super) fn regroup_namespace(&mut self, name: &str) {
        let Some(namespace) = self.namespaces.get(name) else { return };
        let mut changed: Vec<(u32, Vec<ObjectName>)> = Vec::new();
        for (key, group) in &mut self.groups {
            let mut set = |id: u32, is: bool| {
                let was = if is { !group.members.insert(id) } else { group.members.remove(&id) };
                if was != is {
                    changed.push((id, group.users.keys().cloned().collect()));
                }
            };
            match key {
                GroupKey::Namespace(_) | GroupKey::Namespaces(_) => {
                    set(namespace.id, key.has_namespace(name, &namespace.labels));
                }
                GroupKey::Pods { .. } => {
                    for id in &namespace.identities {
                        let Some(entry) = self.identities.get(id) else { continue };
                        set(*id, key.has_identity(&entry.key, &namespace.labels));
                    }
                }
                GroupKey::Block { .. } => {}
            }
        }
        for (id, users) in changed {
            self.mark_users(users, id);
        }
    }

    fn members_of(&self, key: &GroupKey) -> BTreeSet<u32> {
        match key {
            GroupKey::Namespace(_) | GroupKey::Namespaces(_) => {
                let found = self.namespaces.iter().filter(|(name, entry)| key.has_namespace(name, &entry.labels));
                found.map(|(_, entry)| entry.id).collect()
            }
            GroupKey::Pods { .. } => {
                let is = |id: &&u32| {
                    let entry = self.identities.get(id);
                    let labels = entry.and_then(|entry| self.namespaces.get(&entry.key.namespace));
                    entry.zip(labels).is_some_and(|(entry, ns)| key.has_identity(&entry.key, &ns.labels))
                };
                self.identities.keys().filter(is).copied().collect()
            }
            GroupKey::Block { .. } => {
                self.blocks.iter().filter(|(net, _)| key.has_block(net)).map(|(_, entry)| entry.id).collect()
            }
        }
    }

    fn join_block(&mut self, net: &IpNet) {
        if let Some(entry) = self.blocks.get_mut(net) {
            entry.groups += 1;
            return;
        }
        let id = self.number(&block_text(net));
        self.blocks.insert(*net, BlockEntry { id, groups: 1 });
        self.tables.set_block(*net, Some(id));
        let mut changed = Vec::new();
        for (key, group) in &mut self.groups {
            if key.has_block(net) && group.members.insert(id) {
                changed.extend(group.users.keys().cloned());
            }
        }
        self.mark_users(changed, id);
    }

    fn quit_block(&mut self, net: &IpNet) {
        let Some(entry) = self.blocks.get_mut(net) else { return };
        entry.groups -= 1;
        if entry.groups > 0 {
            return;
        }
        let id = entry.id;
        self.blocks.remove(net);
        self.tables.set_block(*net, None);
        self.leave_groups(id);
        self.forget_number(id, &block_text(net));
    }

    /// The subjects of policies see a peer differently.
    fn mark_users(&mut self, policies: Vec<ObjectName>, peer: u32) {
        let policies: BTreeSet<ObjectName> = policies.into_iter().collect();
        if policies.is_empty() {
            return;
        }
        for (&subject, held) in &self.subjects {
            if held.policies.is_disjoint(&policies) {
                continue;
            }
            if let Dirty::Peers(peers) = self.dirty.entry(subject).or_insert_with(|| Dirty::Peers(BTreeSet::new())) {
                peers.insert(peer);
            }
        }
    }
}

fn block_text(net: &IpNet) -> String {
    format!("block {net}")
}
