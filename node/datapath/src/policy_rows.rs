//! The kernel's policy and flow tables for people, with names joined.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use skep_abi::{
    BlockPrefix, CT_ANSWERED, CT_DENIED, CT_ORIGIN_LOW, Ct, CtKey, EP_EGRESS, EP_INGRESS, Ip, PEER_ANY_POD,
    PEER_ANYONE, POLICY_ALLOW, POLICY_BITS_PEER, POLICY_BITS_PROTO, POLICY_INGRESS, PolicyPrefix, PolicyRow,
};
use skep_netmodel::{Policed, Ports};

use crate::PolicyDump;
use crate::policy::encode;

/// A row of `POLICY`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyEntry {
    /// Id of the selected pods' identity.
    pub subject_id: u32,
    /// The pods.
    pub subject: String,
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// Id of the other side.
    pub peer_id: u32,
    /// The other side.
    pub peer: String,
    /// `any`, `TCP`, `80/TCP`, `80-95/TCP`.
    pub ports: String,
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// `namespace/name ingress[0]` of the rule that says so.
    pub rule: String,
}

/// An address, and what policies know it by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdentityEntry {
    /// A pod's address, or an address block.
    pub address: String,
    /// Id.
    pub id: u32,
    /// What it stands for: the pods' namespace and labels, or the block.
    pub labels: String,
    /// Id of the pod's namespace; 0 for a block.
    pub namespace_id: u32,
    /// Which directions are policed, of a pod of this node: `none`, `ingress`, `egress`, `both`; empty for others.
    pub policed: String,
}

/// A flow, from the end that opened it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowEntry {
    /// `TCP`, `UDP` or a protocol number.
    pub protocol: String,
    /// Address of the end that opened it.
    pub source: IpAddr,
    /// Its port.
    pub source_port: u16,
    /// Address of the other end.
    pub destination: IpAddr,
    /// Its port.
    pub destination_port: u16,
    /// `new`, `established`, `closing` or `denied`.
    pub state: &'static str,
    /// Seconds until it is forgotten, if nothing more is seen.
    pub expires_s: u32,
    /// Endpoint whose share it counts for.
    pub owner: u32,
    /// Generation of the policy that it was looked at under.
    pub generation: u32,
    /// Whether it is in the table that nothing is evicted from.
    pub settled: bool,
}

/// A difference between what a table should hold and what the kernel holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Name of the map.
    pub table: &'static str,
    /// The element.
    pub key: String,
    /// What it should be; empty where it should not be there.
    pub desired: String,
    /// What it is; empty where it is not there.
    pub held: String,
}

impl Difference {
    /// Of a table whose desired content is not all known yet.
    pub fn unknown(table: &'static str) -> Self {
        let (key, desired) = ("all".to_owned(), "not all objects are known yet".to_owned());
        Self { table, key, desired, held: "what was there before".to_owned() }
    }
}

/// Rows by the texts of their ids.
pub fn decode_policy(dump: &PolicyDump) -> Vec<PolicyEntry> {
    let mut entries: Vec<PolicyEntry> = dump.rows.iter().map(|(key, row)| decode_row(key, row, &dump.names)).collect();
    entries.sort_by(|a, b| {
        (&a.subject, a.direction, &a.peer, &a.ports).cmp(&(&b.subject, b.direction, &b.peer, &b.ports))
    });
    entries
}

fn decode_row(prefix: &PolicyPrefix, row: &PolicyRow, names: &BTreeMap<u32, String>) -> PolicyEntry {
    let key = &prefix.key;
    let direction = if key.direction == POLICY_INGRESS { "ingress" } else { "egress" };
    let policy = text(names, row.policy);
    PolicyEntry {
        subject_id: key.subject,
        subject: text(names, key.subject),
        direction,
        peer_id: key.peer,
        peer: text(names, key.peer),
        ports: decode_ports(prefix).to_string(),
        verdict: if row.verdict == POLICY_ALLOW { "allow" } else { "deny" },
        rule: format!("{} {direction}[{}]", policy.trim_start_matches("policy "), row.index),
    }
}

fn decode_ports(prefix: &PolicyPrefix) -> Ports {
    if prefix.bits <= POLICY_BITS_PEER {
        return Ports::ANY;
    }
    let bits = u8::try_from(prefix.bits.saturating_sub(POLICY_BITS_PROTO)).unwrap_or(16);
    Ports { proto: prefix.key.proto, port: prefix.key.port.get(), bits }
}

fn text(names: &BTreeMap<u32, String>, id: u32) -> String {
    match id {
        PEER_ANYONE => "anyone".to_owned(),
        PEER_ANY_POD => "any pod".to_owned(),
        id => names.get(&id).cloned().unwrap_or_else(|| format!("?{id}")),
    }
}

/// Pods and address blocks with their ids, by address.
pub fn decode_identities(dump: &PolicyDump) -> Vec<IdentityEntry> {
    let pods = dump.peers.iter().map(|(address, &(id, namespace_id))| IdentityEntry {
        address: address.to_string(),
        id,
        labels: text(&dump.names, id),
        namespace_id,
        policed: dump
            .endpoints
            .get(&IpAddr::from(*address))
            .map(|&flags| decode_policed(flags).to_string())
            .unwrap_or_default(),
    });
    let blocks = dump.blocks.iter().map(|(block, &id)| IdentityEntry {
        address: block_text(block),
        id,
        labels: text(&dump.names, id),
        namespace_id: 0,
        policed: String::new(),
    });
    pods.chain(blocks).collect()
}

fn decode_policed(flags: u32) -> Policed {
    Policed { ingress: flags & EP_INGRESS != 0, egress: flags & EP_EGRESS != 0 }
}

fn block_text(block: &BlockPrefix) -> String {
    let address = IpAddr::from(Ip(block.addr));
    format!("{address}/{}", if address.is_ipv4() { block.bits.saturating_sub(96) } else { block.bits })
}

/// A flow, or `None` where it is forgotten already.
pub fn decode_flow(key: &CtKey, ct: &Ct, settled: bool, now_s: u32) -> Option<FlowEntry> {
    if skep_logic::is_expired(key.proto, ct, now_s) {
        return None;
    }
    let (low, high) = ((key.low, key.low_port), (key.high, key.high_port));
    let (source, destination) = if ct.flags & CT_ORIGIN_LOW != 0 { (low, high) } else { (high, low) };
    let state = if ct.flags & CT_DENIED != 0 {
        "denied"
    } else if skep_logic::is_closing(ct.flags) {
        "closing"
    } else if ct.flags & CT_ANSWERED != 0 {
        "established"
    } else {
        "new"
    };
    Some(FlowEntry {
        protocol: crate::decode::protocol(key.proto),
        source: source.0.into(),
        source_port: source.1.get(),
        destination: destination.0.into(),
        destination_port: destination.1.get(),
        state,
        expires_s: skep_logic::timeout_s(key.proto, ct.flags).saturating_sub(now_s.saturating_sub(ct.seen_s)),
        owner: ct.owner,
        generation: ct.generation,
        settled,
    })
}

/// Every element that differs from what it should be.
pub fn verify_policy(state: &skep_netmodel::PolicyState, held: &PolicyDump) -> Vec<Difference> {
    let wanted = encode(state);
    let mut names = held.names.clone();
    names.extend(wanted.names.clone());
    let row = |key: &PolicyPrefix, row: &PolicyRow| {
        let one = decode_row(key, row, &names);
        let key = format!("{} {} {} {}", one.subject, one.direction, one.peer, one.ports);
        (key, format!("{} by {}", one.verdict, one.rule))
    };
    let mut found = Vec::new();
    compare("POLICY", &wanted.rows, &held.rows, row, &mut found);
    let peer = |address: &Ip, ids: &(u32, u32)| {
        (address.to_string(), format!("{} in {}", text(&names, ids.0), text(&names, ids.1)))
    };
    compare("IDENTITIES", &wanted.peers, &held.peers, peer, &mut found);
    let block = |block: &BlockPrefix, id: &u32| (block_text(block), text(&names, *id));
    compare("BLOCKS", &wanted.blocks, &held.blocks, block, &mut found);
    let endpoint = |address: &IpAddr, flags: &u32| (address.to_string(), format!("policed {}", decode_policed(*flags)));
    compare("ENDPOINTS", &wanted.endpoints, &held.endpoints, endpoint, &mut found);
    compare("NAMES", &wanted.names, &held.names, |id, name| (id.to_string(), name.clone()), &mut found);
    found
}

fn compare<K: Ord, V: PartialEq>(
    table: &'static str,
    wanted: &BTreeMap<K, V>,
    held: &BTreeMap<K, V>,
    show: impl Fn(&K, &V) -> (String, String),
    found: &mut Vec<Difference>,
) {
    for (key, value) in wanted {
        let holds = held.get(key);
        if holds != Some(value) {
            let (text, desired) = show(key, value);
            let held = holds.map(|holds| show(key, holds).1).unwrap_or_default();
            found.push(Difference { table, key: text, desired, held });
        }
    }
    for (key, value) in held.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
        let (text, holds) = show(key, value);
        found.push(Difference { table, key: text, desired: String::new(), held: holds });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use skep_netmodel::{Direction, PolicyState, RowKey, Rule};

    use super::*;
    use crate::PolicyPlan;

    fn state() -> PolicyState {
        let mut state = PolicyState::default();
        for (id, name) in [(20, "pods x{app=a}"), (21, "policy x/web"), (22, "block 10.0.0.0/8")] {
            state.names.insert(id, name.to_owned());
        }
        let ports = Ports { proto: 6, port: 80, bits: 12 };
        let rule = Rule { policy: 21, index: 2 };
        state.rows.insert(RowKey { subject: 20, direction: Direction::Ingress, peer: 22, ports }, rule);
        state.rows.insert(RowKey { subject: 20, direction: Direction::Egress, peer: 0, ports: Ports::ANY }, rule);
        state.blocks.insert("10.0.0.0/8".parse().unwrap(), 22);
        state.endpoints.insert([10, 42, 0, 2].into(), Policed::BOTH);
        state
    }

    #[test]
    fn rows_read_as_they_were_meant() {
        let rows = decode_policy(&encode(&state()));
        assert_eq!((rows[0].direction, rows[0].peer.as_str(), rows[0].ports.as_str()), ("egress", "anyone", "any"));
        assert_eq!((rows[1].peer.as_str(), rows[1].ports.as_str()), ("block 10.0.0.0/8", "80-95/TCP"));
        assert_eq!(rows[1].rule, "x/web ingress[2]");
        assert_eq!(decode_identities(&encode(&state()))[0].address, "10.0.0.0/8");
    }

    #[test]
    fn differences_are_found_and_a_plan_mends_them() {
        let (state, mut held) = (state(), encode(&state()));
        assert_eq!(verify_policy(&state, &held), []);
        let (gone, _) = held.rows.pop_last().unwrap();
        held.rows.insert(PolicyPrefix { bits: 72, ..gone }, PolicyRow::default());
        held.endpoints.insert([10, 42, 0, 2].into(), 0);
        let found = verify_policy(&state, &held);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!((found[2].table, found[2].desired.as_str()), ("ENDPOINTS", "policed both"));
        let plan = PolicyPlan::of_state(&state, &held);
        assert_eq!((plan.rows.len(), plan.removed_rows.len(), plan.endpoints.len(), plan.ops()), (1, 1, 1, 3));
    }
}
