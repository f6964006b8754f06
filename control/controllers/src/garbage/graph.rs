//! Objects by UID, and who depends on whom.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::ApiResource;

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// An object's metadata and where it is served.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) resource: Arc<ApiResource>,
    pub(crate) meta: ObjectMeta,
}

impl Node {
    pub(crate) fn uid(&self) -> &str {
        self.meta.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn owners(&self) -> &[OwnerReference] {
        self.meta.owner_references.as_deref().unwrap_or_default()
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    pub(crate) fn has_finalizer(&self, name: &str) -> bool {
        self.meta.finalizers.iter().flatten().any(|finalizer| finalizer == name)
    }

    /// Waits for its dependents to go first.
    pub(crate) fn is_foreground(&self) -> bool {
        self.is_deleting() && self.has_finalizer(FOREGROUND)
    }

    /// Lets go of its dependents.
    pub(crate) fn is_orphaning(&self) -> bool {
        self.is_deleting() && self.has_finalizer(ORPHAN)
    }

    /// Whether its going blocks that of the owner of this UID.
    pub(crate) fn blocks(&self, owner_uid: &str) -> bool {
        self.owners().iter().any(|owner| owner.uid == owner_uid && owner.block_owner_deletion == Some(true))
    }
}

/// All objects that are known.
#[derive(Default)]
pub(crate) struct Graph {
    nodes: HashMap<String, Arc<Node>>,
    dependents: HashMap<String, BTreeSet<String>>,
}

impl Graph {
    pub(crate) fn get(&self, uid: &str) -> Option<Arc<Node>> {
        self.nodes.get(uid).cloned()
    }

    pub(crate) fn dependents(&self, uid: &str) -> Vec<Arc<Node>> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|uid| self.nodes.get(uid).cloned()).collect()
    }

    /// All that may need something: what has owners, and what is being deleted.
    pub(crate) fn keys(&self) -> Vec<String> {
        let concerned = |node: &&Arc<Node>| !node.owners().is_empty() || node.is_deleting();
        self.nodes.values().filter(concerned).map(|node| node.uid().to_owned()).collect()
    }

    /// Takes in an object; says whom that concerns.
    pub(crate) fn set(&mut self, node: Node) -> Vec<String> {
        let uid = node.uid().to_owned();
        let mut concerned = Vec::new();
        let old = self.nodes.get(&uid).cloned();
        if let Some(old) = &old {
            self.unlink(old);
        }
        for owner in node.owners() {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        let owners_changed = old.as_ref().is_none_or(|old| old.owners() != node.owners());
        let began = node.is_deleting()
            && old.as_ref().is_none_or(|old| old.meta.finalizers != node.meta.finalizers || !old.is_deleting());
        if (owners_changed && !node.owners().is_empty()) || began {
            concerned.push(uid.clone());
        }
        if began && node.is_foreground() {
            concerned.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
        }
        // An owner that waits may have been waiting for the reference that is gone now.
        for owner in old.iter().flat_map(|old| old.owners()).filter(|_| owners_changed) {
            concerned
                .extend(self.nodes.get(&owner.uid).filter(|owner| owner.is_foreground()).map(|_| owner.uid.clone()));
        }
        self.nodes.insert(uid, Arc::new(node));
        concerned
    }

    /// Drops an object; says whom that concerns.
    pub(crate) fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        self.unlink(&node);
        let waiting =
            node.owners().iter().filter(|owner| self.nodes.get(&owner.uid).is_some_and(|node| node.is_foreground()));
        let mut concerned: Vec<String> = waiting.map(|owner| owner.uid.clone()).collect();
        concerned.extend(self.dependents.get(uid).into_iter().flatten().cloned());
        concerned
    }

    fn unlink(&mut self, node: &Node) {
        for owner in node.owners() {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(node.uid());
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }
}
