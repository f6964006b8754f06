//! Policy tables: what to write, and in which order.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use skep_abi::{
    BLOCKS, Be16, BlockPrefix, EP_EGRESS, EP_INGRESS, IDENTITIES, Ip, POLICY, POLICY_ALLOW, POLICY_BITS_PEER,
    POLICY_BITS_PROTO, POLICY_EGRESS, POLICY_INGRESS, Peer, PolicyKey, PolicyPrefix, PolicyRow,
};
use skep_netmodel::{Direction, PeerIds, Policed, PolicyDelta, PolicyState, RowKey, Rule};

use crate::Full;

/// What the kernel holds of policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyDump {
    /// Texts of ids.
    pub names: BTreeMap<u32, String>,
    /// `POLICY`.
    pub rows: BTreeMap<PolicyPrefix, PolicyRow>,
    /// `IDENTITIES`.
    pub peers: BTreeMap<Ip, (u32, u32)>,
    /// `BLOCKS`.
    pub blocks: BTreeMap<BlockPrefix, u32>,
    /// `EP_*` flags of `ENDPOINTS`.
    pub endpoints: BTreeMap<IpAddr, u32>,
}

/// Writes, to be carried out field by field, from the first to the last: nothing is looked for before it is there, and nothing that was
/// allowed before and after is denied meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyPlan {
    /// Texts of new ids.
    pub names: Vec<(u32, String)>,
    /// Rows to write.
    pub rows: Vec<(PolicyPrefix, PolicyRow)>,
    /// Address blocks to write.
    pub blocks: Vec<(BlockPrefix, u32)>,
    /// Pods to write.
    pub peers: Vec<(Ip, Peer)>,
    /// Pods to delete.
    pub removed_peers: Vec<Ip>,
    /// `EP_*` flags of this node's pods.
    pub endpoints: Vec<(IpAddr, u32)>,
    /// This node's pods that are gone.
    pub removed_endpoints: Vec<IpAddr>,
    /// Address blocks to delete.
    pub removed_blocks: Vec<BlockPrefix>,
    /// Rows to delete.
    pub removed_rows: Vec<PolicyPrefix>,
    /// Ids whose texts are no longer needed.
    pub removed_names: Vec<u32>,
}

impl PolicyPlan {
    /// Carries a change over.
    pub fn of_delta(delta: &PolicyDelta) -> Self {
        let mut plan = Self::default();
        for (&id, text) in &delta.names {
            match text {
                Some(text) => plan.names.push((id, text.clone())),
                None => plan.removed_names.push(id),
            }
        }
        for (key, rule) in &delta.rows {
            match rule {
                Some(rule) => plan.rows.push((encode_key(key), encode_rule(rule))),
                None => plan.removed_rows.push(encode_key(key)),
            }
        }
        for (net, id) in &delta.blocks {
            match id {
                Some(id) => plan.blocks.push((encode_block(net), *id)),
                None => plan.removed_blocks.push(encode_block(net)),
            }
        }
        for (&address, ids) in &delta.peers {
            match ids {
                Some(ids) => plan.peers.push((address.into(), encode_peer(*ids))),
                None => plan.removed_peers.push(address.into()),
            }
        }
        for (&address, policed) in &delta.endpoints {
            match policed {
                Some(policed) => plan.endpoints.push((address, encode_policed(*policed))),
                None => plan.removed_endpoints.push(address),
            }
        }
        plan
    }

    /// Makes the kernel hold a state, and nothing else.
    pub fn of_state(state: &PolicyState, held: &PolicyDump) -> Self {
        let wanted = encode(state);
        let mut plan = Self::default();
        (plan.names, plan.removed_names) = diff(&wanted.names, &held.names);
        (plan.rows, plan.removed_rows) = diff(&wanted.rows, &held.rows);
        (plan.blocks, plan.removed_blocks) = diff(&wanted.blocks, &held.blocks);
        let (peers, removed) = diff(&wanted.peers, &held.peers);
        let peer = |(address, (identity, namespace))| (address, Peer { identity, namespace });
        (plan.peers, plan.removed_peers) = (peers.into_iter().map(peer).collect(), removed);
        // An endpoint is there before or after its flags; those that policy does not know are not its own.
        plan.endpoints = diff(&wanted.endpoints, &held.endpoints).0;
        plan
    }

    /// Number of elements to write or delete.
    pub fn ops(&self) -> usize {
        self.changes() + self.names.len() + self.removed_names.len()
    }

    /// Of these, those that may change a verdict.
    pub fn changes(&self) -> usize {
        let written = self.rows.len() + self.blocks.len() + self.peers.len() + self.endpoints.len();
        let removed = self.removed_rows.len() + self.removed_blocks.len() + self.removed_peers.len();
        written + removed + self.removed_endpoints.len()
    }
}

/// Whether a state fits maps of the sizes given by name.
///
/// # Errors
/// The first map that is too small.
pub fn fits(state: &PolicyState, capacity: impl Fn(&'static str) -> u32) -> Result<(), Full> {
    let needs =
        [(POLICY.name, state.rows.len()), (IDENTITIES.name, state.peers.len()), (BLOCKS.name, state.blocks.len())];
    for (map, needed) in needs {
        let (capacity, needed) = (capacity(map), u32::try_from(needed).unwrap_or(u32::MAX));
        if needed > capacity {
            return Err(Full { map, capacity, needed });
        }
    }
    Ok(())
}

/// A state as the kernel would hold it.
pub fn encode(state: &PolicyState) -> PolicyDump {
    PolicyDump {
        names: state.names.clone(),
        rows: state.rows.iter().map(|(key, rule)| (encode_key(key), encode_rule(rule))).collect(),
        peers: state.peers.iter().map(|(&address, ids)| (address.into(), (ids.identity, ids.namespace))).collect(),
        blocks: state.blocks.iter().map(|(net, &id)| (encode_block(net), id)).collect(),
        endpoints: state.endpoints.iter().map(|(&address, policed)| (address, encode_policed(*policed))).collect(),
    }
}

type Diff<K, V> = (Vec<(K, V)>, Vec<K>);

fn diff<K: Ord + Clone, V: PartialEq + Clone>(wanted: &BTreeMap<K, V>, held: &BTreeMap<K, V>) -> Diff<K, V> {
    let write = wanted.iter().filter(|(key, value)| held.get(*key) != Some(*value));
    let remove = held.keys().filter(|key| !wanted.contains_key(*key));
    (write.map(|(key, value)| (key.clone(), value.clone())).collect(), remove.cloned().collect())
}

fn encode_key(key: &RowKey) -> PolicyPrefix {
    let bits = if key.ports.proto == 0 { POLICY_BITS_PEER } else { POLICY_BITS_PROTO + u32::from(key.ports.bits) };
    let direction = match key.direction {
        Direction::Ingress => POLICY_INGRESS,
        Direction::Egress => POLICY_EGRESS,
    };
    let key = PolicyKey {
        subject: key.subject,
        peer: key.peer,
        direction,
        proto: key.ports.proto,
        port: Be16::new(key.ports.port),
    };
    PolicyPrefix { bits, key }
}

fn encode_rule(rule: &Rule) -> PolicyRow {
    PolicyRow { policy: rule.policy, index: rule.index, verdict: POLICY_ALLOW, pad: 0 }
}

fn encode_peer(ids: PeerIds) -> Peer {
    Peer { identity: ids.identity, namespace: ids.namespace }
}

fn encode_block(net: &IpNet) -> BlockPrefix {
    let family_bits = if net.network().is_ipv4() { 96 } else { 0 };
    BlockPrefix { bits: family_bits + u32::from(net.prefix_len()), addr: Ip::from(net.network()).0 }
}

fn encode_policed(policed: Policed) -> u32 {
    (if policed.ingress { EP_INGRESS } else { 0 }) | (if policed.egress { EP_EGRESS } else { 0 })
}
