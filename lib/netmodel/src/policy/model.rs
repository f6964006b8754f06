//! The desired policy tables of one node, kept up by single changes.

mod compile;
mod group;
mod pod;
mod relist;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;

use crate::identity::{Identity, Ids, Labels, shorten};
use crate::policy::group::{Group, GroupKey};
use crate::policy::parse::{Policy, parse};
use crate::policy::state::Tables;
use crate::policy::{Policed, PolicyDelta, PolicyState};
use crate::{ObjectName, Problem};

/// The label that every namespace has.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// NetworkPolicies, Pods and Namespaces as last seen, and the tables that follow from them.
#[derive(Debug)]
pub struct PolicyModel {
    tables: Tables,
    ids: Ids,
    namespaces: BTreeMap<String, NamespaceEntry>,
    pods: BTreeMap<ObjectName, PodEntry>,
    identities: BTreeMap<u32, IdentityEntry>,
    identity_ids: BTreeMap<Arc<Identity>, u32>,
    /// Who claims an address; the last one has it.
    owners: BTreeMap<IpAddr, Vec<ObjectName>>,
    /// Pods of this node by their addresses, as its own network has given them.
    attached: BTreeMap<IpAddr, ObjectName>,
    policies: BTreeMap<ObjectName, PolicyEntry>,
    groups: BTreeMap<GroupKey, Group>,
    blocks: BTreeMap<IpNet, BlockEntry>,
    subjects: BTreeMap<u32, Subject>,
    /// What has to be compiled again.
    dirty: BTreeMap<u32, Dirty>,
    /// Whether all policies and pods there are have been seen once.
    complete: bool,
}

#[derive(Debug, Default)]
struct NamespaceEntry {
    id: u32,
    labels: Labels,
    /// Whether the object exists, or only pods that name it.
    exists: bool,
    identities: BTreeSet<u32>,
}

#[derive(Debug)]
struct PodEntry {
    identity: u32,
    addresses: Vec<IpAddr>,
}

#[derive(Debug)]
struct IdentityEntry {
    key: Arc<Identity>,
    text: String,
    pods: usize,
}

#[derive(Debug)]
struct PolicyEntry {
    id: u32,
    policy: Policy,
}

#[derive(Debug)]
struct BlockEntry {
    id: u32,
    groups: usize,
}

/// An identity that pods of this node have.
#[derive(Debug, Default)]
struct Subject {
    attached: usize,
    policies: BTreeSet<ObjectName>,
    policed: Policed,
}

#[derive(Debug)]
enum Dirty {
    All,
    Peers(BTreeSet<u32>),
}

impl PolicyModel {
    /// A model that has seen nothing. `former` are the ids that the kernel's tables bear.
    pub fn new(former: impl IntoIterator<Item = (u32, String)>) -> Self {
        Self {
            tables: Tables::default(),
            ids: Ids::new(former),
            namespaces: BTreeMap::new(),
            pods: BTreeMap::new(),
            identities: BTreeMap::new(),
            identity_ids: BTreeMap::new(),
            owners: BTreeMap::new(),
            attached: BTreeMap::new(),
            policies: BTreeMap::new(),
            groups: BTreeMap::new(),
            blocks: BTreeMap::new(),
            subjects: BTreeMap::new(),
            dirty: BTreeMap::new(),
            complete: false,
        }
    }

    /// All that the tables should hold.
    pub fn state(&self) -> &PolicyState {
        &self.tables.state
    }

    /// What changed since the last call.
    pub fn take_delta(&mut self) -> PolicyDelta {
        std::mem::take(&mut self.tables.delta)
    }

    /// Every object there is has been seen: from now on a pod that is not known is selected by no policy.
    pub fn set_complete(&mut self) {
        self.complete = true;
        self.refresh_endpoints(|_| true);
    }

    /// A Namespace was added or changed.
    pub fn upsert_namespace(&mut self, namespace: &Namespace) {
        let Some(name) = namespace.metadata.name.clone() else { return };
        let mut labels = namespace.metadata.labels.clone().unwrap_or_default();
        labels.insert(NAMESPACE_NAME.to_owned(), name.clone());
        self.set_namespace(&name, labels, true);
        self.compile();
    }

    /// A Namespace is gone; pods of it may still be there.
    pub fn remove_namespace(&mut self, name: &str) {
        if self.namespaces.contains_key(name) {
            self.set_namespace(name, default_labels(name), false);
            self.drop_namespace_if_unused(name);
        }
        self.compile();
    }

    /// A NetworkPolicy was added or changed.
    pub fn upsert_policy(&mut self, policy: &NetworkPolicy) {
        let meta = &policy.metadata;
        let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else { return };
        let name = ObjectName::new(namespace, name);
        let mut problems = Vec::new();
        let parsed = parse(policy, &name, &mut problems);
        self.problem(problems);
        if self.policies.get(&name).map(|held| &held.policy) == parsed.as_ref() {
            return;
        }
        // New groups before old ones, so that what both name keeps its id.
        for key in parsed.iter().flat_map(groups_of) {
            self.join_group(&key, &name);
        }
        self.unlink_policy(&name, parsed.is_none());
        if let Some(policy) = parsed {
            self.link_policy(&name, policy);
        }
        self.refresh_endpoints(|pod| pod.namespace == name.namespace);
        self.compile();
    }

    /// A NetworkPolicy is gone.
    pub fn remove_policy(&mut self, namespace: &str, name: &str) {
        let name = ObjectName::new(namespace, name);
        self.unlink_policy(&name, true);
        self.refresh_endpoints(|pod| pod.namespace == name.namespace);
        self.compile();
    }

    fn problem(&mut self, problems: Vec<Problem>) {
        self.tables.delta.problems.extend(problems);
    }

    /// The number of a text, with the text in the tables.
    fn number(&mut self, text: &str) -> u32 {
        let id = self.ids.take(text);
        self.tables.set_name(id, Some(text.to_owned()));
        id
    }

    fn forget_number(&mut self, id: u32, text: &str) {
        self.ids.give_back(text);
        self.tables.set_name(id, None);
    }

    fn set_namespace(&mut self, name: &str, labels: Labels, exists: bool) {
        if !self.namespaces.contains_key(name) {
            let id = self.number(&namespace_text(name));
            self.namespaces.insert(name.to_owned(), NamespaceEntry { id, ..NamespaceEntry::default() });
        }
        let Some(entry) = self.namespaces.get_mut(name) else { return };
        entry.exists = exists;
        if entry.labels != labels {
            entry.labels = labels;
            self.regroup_namespace(name);
        }
    }

    fn drop_namespace_if_unused(&mut self, name: &str) {
        let Some(entry) = self.namespaces.get(name) else { return };
        if entry.exists || !entry.identities.is_empty() {
            return;
        }
        let id = entry.id;
        self.namespaces.remove(name);
        self.leave_groups(id);
        self.forget_number(id, &namespace_text(name));
    }

    fn link_policy(&mut self, name: &ObjectName, policy: Policy) {
        let id = self.number(&policy_text(name));
        for (&subject, entry) in &mut self.subjects {
            let Some(identity) = self.identities.get(&subject) else { continue };
            if identity.key.namespace == name.namespace && policy.pods.matches(&identity.key.labels) {
                entry.policies.insert(name.clone());
                self.dirty.insert(subject, Dirty::All);
            }
        }
        self.policies.insert(name.clone(), PolicyEntry { id, policy });
    }

    fn unlink_policy(&mut self, name: &ObjectName, for_good: bool) {
        let Some(entry) = self.policies.remove(name) else { return };
        for (&subject, held) in &mut self.subjects {
            if held.policies.remove(name) {
                self.dirty.insert(subject, Dirty::All);
            }
        }
        for key in groups_of(&entry.policy) {
            self.quit_group(&key, name);
        }
        if for_good {
            self.forget_number(entry.id, &policy_text(name));
        }
    }
}

/// Each group as often as a rule names it.
fn groups_of(policy: &Policy) -> Vec<GroupKey> {
    use crate::policy::group::Peer;
    let rules = policy.ingress.iter().chain(&policy.egress);
    let peers = rules.flat_map(|rule| rule.peers.iter().chain(&rule.named_peers));
    let group = |peer: &Peer| match peer {
        Peer::Group(key) => Some(key.clone()),
        Peer::Anyone | Peer::AnyPod => None,
    };
    peers.filter_map(group).collect()
}

fn default_labels(namespace: &str) -> Labels {
    [(NAMESPACE_NAME.to_owned(), namespace.to_owned())].into()
}

fn namespace_text(name: &str) -> String {
    shorten(format!("namespace {name}"))
}

fn policy_text(name: &ObjectName) -> String {
    shorten(format!("policy {name}"))
}
