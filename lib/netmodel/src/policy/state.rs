//! The desired tables, and what of them changed.

use std::collections::{BTreeMap, btree_map};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::Problem;
use crate::policy::{Policed, RowKey, Rule};

/// What the address of a pod stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PeerIds {
    /// Its identity.
    pub identity: u32,
    /// Its namespace's id.
    pub namespace: u32,
}

/// All that a node's policy tables should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyState {
    /// Texts of ids, for people and for the daemon that comes next.
    pub names: BTreeMap<u32, String>,
    /// Allowed traffic of the pods of this node.
    pub rows: BTreeMap<RowKey, Rule>,
    /// Pods of the cluster.
    pub peers: BTreeMap<IpAddr, PeerIds>,
    /// Address blocks that policies speak of.
    pub blocks: BTreeMap<IpNet, u32>,
    /// Pods of this node.
    pub endpoints: BTreeMap<IpAddr, Policed>,
}

/// What changed since it was last taken; `None` is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyDelta {
    /// Texts of ids.
    pub names: BTreeMap<u32, Option<String>>,
    /// Allowed traffic.
    pub rows: BTreeMap<RowKey, Option<Rule>>,
    /// Pods of the cluster.
    pub peers: BTreeMap<IpAddr, Option<PeerIds>>,
    /// Address blocks.
    pub blocks: BTreeMap<IpNet, Option<u32>>,
    /// Pods of this node.
    pub endpoints: BTreeMap<IpAddr, Option<Policed>>,
    /// Fields that could not be used.
    pub problems: Vec<Problem>,
}

impl PolicyDelta {
    /// Number of elements to write or delete.
    pub fn len(&self) -> usize {
        self.names.len() + self.rows.len() + self.peers.len() + self.blocks.len() + self.endpoints.len()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// State and delta, written together.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) state: PolicyState,
    pub(crate) delta: PolicyDelta,
}

impl Tables {
    pub(crate) fn set_name(&mut self, id: u32, text: Option<String>) {
        set(&mut self.state.names, &mut self.delta.names, id, text);
    }

    pub(crate) fn set_row(&mut self, key: RowKey, rule: Option<Rule>) {
        set(&mut self.state.rows, &mut self.delta.rows, key, rule);
    }

    pub(crate) fn set_peer(&mut self, address: IpAddr, ids: Option<PeerIds>) {
        set(&mut self.state.peers, &mut self.delta.peers, address, ids);
    }

    pub(crate) fn set_block(&mut self, net: IpNet, id: Option<u32>) {
        set(&mut self.state.blocks, &mut self.delta.blocks, net, id);
    }

    pub(crate) fn set_endpoint(&mut self, address: IpAddr, policed: Option<Policed>) {
        set(&mut self.state.endpoints, &mut self.delta.endpoints, address, policed);
    }
}

fn set<K: Ord + Clone, V: PartialEq + Clone>(
    state: &mut BTreeMap<K, V>,
    delta: &mut BTreeMap<K, Option<V>>,
    key: K,
    value: Option<V>,
) {
    match (state.entry(key.clone()), value) {
        (btree_map::Entry::Vacant(_), None) => {}
        (btree_map::Entry::Vacant(slot), Some(value)) => {
            slot.insert(value.clone());
            delta.insert(key, Some(value));
        }
        (btree_map::Entry::Occupied(slot), None) => {
            slot.remove();
            delta.insert(key, None);
        }
        (btree_map::Entry::Occupied(mut slot), Some(value)) => {
            if *slot.get() != value {
                slot.insert(value.clone());
                delta.insert(key, Some(value));
            }
        }
    }
}
