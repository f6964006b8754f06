//! Pods: their identities, their addresses, and those of this node.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::{Dirty, IdentityEntry, PodEntry, PolicyModel, Subject, default_labels};
use crate::identity::{Identity, shorten};
use crate::policy::{PeerIds, Policed};
use crate::{ObjectName, Problem};

impl PolicyModel {
    /// A Pod was added or changed. One in its node's own network is no pod to policies, and one that has ended has left its address.
    pub fn upsert_pod(&mut self, pod: &Pod) {
        let meta = &pod.metadata;
        let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else { return };
        let name = ObjectName::new(namespace, name);
        let on_host = pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if on_host || matches!(phase, Some("Succeeded" | "Failed")) {
            self.drop_pod(&name);
        } else {
            let addresses = self.addresses_of(pod, &name);
            self.set_pod(name, Identity::of(namespace, pod), addresses);
        }
        self.compile();
    }

    /// A Pod is gone.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) {
        self.drop_pod(&ObjectName::new(namespace, name));
        self.compile();
    }

    /// A pod of this node got an address, before it runs and before its status says so.
    pub fn attach(&mut self, address: IpAddr, namespace: &str, name: &str) {
        self.detach_address(address);
        let pod = ObjectName::new(namespace, name);
        self.attached.insert(address, pod.clone());
        if let Some(identity) = self.pods.get(&pod).map(|entry| entry.identity) {
            self.add_subject(identity);
        }
        self.claim(address, &pod);
        self.compile();
        self.refresh_endpoint(address);
    }

    /// An address of this node was given back.
    pub fn detach(&mut self, address: IpAddr) {
        self.detach_address(address);
        self.compile();
    }

    fn addresses_of(&mut self, pod: &Pod, name: &ObjectName) -> Vec<IpAddr> {
        let status = pod.status.as_ref();
        let listed = status.into_iter().flat_map(|status| status.pod_ips.iter().flatten()).map(|one| &one.ip);
        let mut texts: Vec<&String> = listed.collect();
        if texts.is_empty() {
            texts.extend(status.and_then(|status| status.pod_ip.as_ref()));
        }
        let mut addresses = Vec::new();
        let mut problems = Vec::new();
        for text in texts {
            match text.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => problems.push(Problem::new("Pod", name, "status.podIPs".to_owned(), text)),
            }
        }
        self.problem(problems);
        addresses
    }

    fn set_pod(&mut self, name: ObjectName, identity: Identity, addresses: Vec<IpAddr>) {
        let before = self.pods.get(&name).map(|entry| (entry.identity, entry.addresses.clone()));
        let same = |held: &u32| self.identities.get(held).is_some_and(|entry| *entry.key == identity);
        let kept = before.as_ref().map(|(held, _)| *held).filter(same);
        let id = kept.unwrap_or_else(|| self.take_identity(identity));
        self.pods.insert(name.clone(), PodEntry { identity: id, addresses: addresses.clone() });
        if kept.is_none() {
            self.move_endpoints(&name, before.as_ref().map(|(held, _)| *held), Some(id));
        }
        let (old_id, old) = before.unzip();
        let old = old.unwrap_or_default();
        for address in old.iter().filter(|address| !addresses.contains(address)) {
            self.unclaim(*address, &name);
        }
        for address in &addresses {
            if kept.is_none() || !old.contains(address) {
                self.claim(*address, &name);
            }
        }
        if let Some(old_id) = old_id.filter(|old| *old != id) {
            self.give_back_identity(old_id);
        }
    }

    fn drop_pod(&mut self, name: &ObjectName) {
        let Some(entry) = self.pods.remove(name) else { return };
        for address in entry.addresses {
            self.unclaim(address, name);
        }
        self.move_endpoints(name, Some(entry.identity), None);
        self.give_back_identity(entry.identity);
    }

    fn take_identity(&mut self, identity: Identity) -> u32 {
        if let Some(&id) = self.identity_ids.get(&identity) {
            if let Some(entry) = self.identities.get_mut(&id) {
                entry.pods += 1;
            }
            return id;
        }
        let namespace = identity.namespace.clone();
        if !self.namespaces.contains_key(&namespace) {
            self.set_namespace(&namespace, default_labels(&namespace), false);
        }
        let text = shorten(identity.to_string());
        let id = self.number(&text);
        let key = Arc::new(identity);
        self.identity_ids.insert(Arc::clone(&key), id);
        self.identities.insert(id, IdentityEntry { key, text, pods: 1 });
        if let Some(entry) = self.namespaces.get_mut(&namespace) {
            entry.identities.insert(id);
        }
        self.join_groups(id);
        id
    }

    fn give_back_identity(&mut self, id: u32) {
        let Some(entry) = self.identities.get_mut(&id) else { return };
        entry.pods -= 1;
        if entry.pods > 0 {
            return;
        }
        self.leave_groups(id);
        let Some(entry) = self.identities.remove(&id) else { return };
        self.identity_ids.remove(&entry.key);
        if let Some(namespace) = self.namespaces.get_mut(&entry.key.namespace) {
            namespace.identities.remove(&id);
        }
        self.drop_namespace_if_unused(&entry.key.namespace);
        self.forget_number(id, &entry.text);
    }

    /// A pod says that an address is its own: the latest is believed, but for what this node has given out itself.
    fn claim(&mut self, address: IpAddr, pod: &ObjectName) {
        let owners = self.owners.entry(address).or_default();
        owners.retain(|one| one != pod);
        owners.push(pod.clone());
        self.refresh_peer(address);
    }

    fn unclaim(&mut self, address: IpAddr, pod: &ObjectName) {
        if self.attached.get(&address) == Some(pod) {
            return;
        }
        if let Some(owners) = self.owners.get_mut(&address) {
            owners.retain(|one| one != pod);
            if owners.is_empty() {
                self.owners.remove(&address);
            }
        }
        self.refresh_peer(address);
    }

    fn refresh_peer(&mut self, address: IpAddr) {
        let owners = self.owners.get(&address);
        let owner = self.attached.get(&address).or_else(|| owners.and_then(|owners| owners.last()));
        let ids = owner.and_then(|name| {
            let identity = self.pods.get(name)?.identity;
            let namespace = self.namespaces.get(&self.identities.get(&identity)?.key.namespace)?.id;
            Some(PeerIds { identity, namespace })
        });
        self.tables.set_peer(address, ids);
    }

    fn detach_address(&mut self, address: IpAddr) {
        let Some(pod) = self.attached.remove(&address) else { return };
        if let Some(identity) = self.pods.get(&pod).map(|entry| entry.identity) {
            self.remove_subject(identity);
        }
        self.tables.set_endpoint(address, None);
        self.unclaim(address, &pod);
    }

    /// A pod of this node has another identity, or none any more.
    fn move_endpoints(&mut self, pod: &ObjectName, from: Option<u32>, to: Option<u32>) {
        let addresses: Vec<IpAddr> =
            self.attached.iter().filter(|(_, name)| *name == pod).map(|(address, _)| *address).collect();
        for address in addresses {
            if let Some(to) = to {
                self.add_subject(to);
            }
            if let Some(from) = from {
                self.remove_subject(from);
            }
            self.compile();
            self.refresh_peer(address);
            self.refresh_endpoint(address);
        }
    }

    fn add_subject(&mut self, identity: u32) {
        let policies = self.policies_for(identity);
        let subject = self.subjects.entry(identity).or_insert_with(|| Subject { policies, ..Subject::default() });
        subject.attached += 1;
        if subject.attached == 1 {
            self.dirty.insert(identity, Dirty::All);
        }
    }

    fn remove_subject(&mut self, identity: u32) {
        let Some(subject) = self.subjects.get_mut(&identity) else { return };
        subject.attached -= 1;
        if subject.attached == 0 {
            self.subjects.remove(&identity);
            self.dirty.insert(identity, Dirty::All);
        }
    }

    /// A pod that is not known yet is shut off, unless no policy can select it.
    fn refresh_endpoint(&mut self, address: IpAddr) {
        let Some(pod) = self.attached.get(&address) else { return };
        let subject = self.pods.get(pod).and_then(|entry| self.subjects.get(&entry.identity));
        let first = ObjectName::new(&pod.namespace, "");
        let policed = match subject {
            Some(subject) => subject.policed,
            None if !self.complete => Policed::BOTH,
            None if self.policies.range(first..).next().is_some_and(|(name, _)| name.namespace == pod.namespace) => {
                Policed::BOTH
            }
            None => Policed::default(),
        };
        self.tables.set_endpoint(address, Some(policed));
    }

    pub(super) fn refresh_endpoints(&mut self, of: impl Fn(&ObjectName) -> bool) {
        let addresses: Vec<IpAddr> =
            self.attached.iter().filter(|(_, pod)| of(pod)).map(|(address, _)| *address).collect();
        addresses.into_iter().for_each(|address| self.refresh_endpoint(address));
    }

    pub(super) fn refresh_endpoints_of(&mut self, identity: u32) {
        let has = |name: &ObjectName| self.pods.get(name).is_some_and(|entry| entry.identity == identity);
        let addresses: Vec<IpAddr> =
            self.attached.iter().filter(|(_, pod)| has(pod)).map(|(address, _)| *address).collect();
        addresses.into_iter().for_each(|address| self.refresh_endpoint(address));
    }
}
