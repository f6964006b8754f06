//! Nodes, as far as pods on other nodes are reached through them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use serde::Serialize;

use crate::ObjectName;
use crate::model::Problem;

/// The type of a node's address that other nodes reach it at.
const INTERNAL: &str = "InternalIP";

/// A node's place in the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Where other nodes reach it, the preferred one first.
    pub addresses: Vec<IpAddr>,
    /// Where its pods' addresses come from.
    pub pod_cidrs: Vec<IpNet>,
}

/// Nodes as last seen.
#[derive(Debug, Default)]
pub struct Nodes {
    specs: BTreeMap<String, NodeSpec>,
}

impl Nodes {
    /// No node yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every node, by name.
    pub fn specs(&self) -> impl Iterator<Item = &NodeSpec> {
        self.specs.values()
    }

    /// A Node was added or changed. Returns whether its place in the network did, and fields that could not be used.
    pub fn upsert(&mut self, node: &Node) -> (bool, Vec<Problem>) {
        let mut problems = Vec::new();
        let Some(spec) = decode_node(node, &mut problems) else { return (false, problems) };
        let changed = self.specs.get(&spec.name) != Some(&spec);
        if changed {
            self.specs.insert(spec.name.clone(), spec);
        }
        (changed, problems)
    }

    /// A Node is gone. Returns whether it was known.
    pub fn remove(&mut self, name: &str) -> bool {
        self.specs.remove(name).is_some()
    }

    /// These are all Nodes there are, as after a watch that began anew.
    pub fn replace<'a>(&mut self, nodes: impl IntoIterator<Item = &'a Node>) -> Vec<Problem> {
        self.specs.clear();
        nodes.into_iter().flat_map(|node| self.upsert(node).1).collect()
    }
}

fn decode_node(node: &Node, problems: &mut Vec<Problem>) -> Option<NodeSpec> {
    let name = node.metadata.name.clone().unwrap_or_default();
    let object = ObjectName::new("", name.as_str());
    if name.is_empty() {
        problems.push(Problem::new("Node", &object, "metadata.name".to_owned(), ""));
        return None;
    }
    let mut addresses = Vec::new();
    let listed = node.status.iter().flat_map(|status| status.addresses.iter().flatten()).enumerate();
    for (index, one) in listed.filter(|(_, one)| one.type_ == INTERNAL) {
        match one.address.parse::<IpAddr>() {
            Ok(address) if !addresses.contains(&address) => addresses.push(address),
            Ok(_) => {}
            Err(_) => {
                problems.push(Problem::new(
                    "Node",
                    &object,
                    format!("status.addresses[{index}].address"),
                    &one.address,
                ));
            }
        }
    }
    let spec = node.spec.as_ref();
    let listed = spec.and_then(|spec| spec.pod_cidrs.as_deref()).filter(|cidrs| !cidrs.is_empty());
    let single = spec.and_then(|spec| spec.pod_cidr.as_ref()).map(std::slice::from_ref);
    let mut pod_cidrs = Vec::new();
    for (index, text) in listed.or(single).unwrap_or_default().iter().enumerate() {
        match text.parse::<IpNet>() {
            Ok(cidr) => pod_cidrs.push(cidr.trunc()),
            Err(_) => problems.push(Problem::new("Node", &object, format!("spec.podCIDRs[{index}]"), text)),
        }
    }
    Some(NodeSpec { name, addresses, pod_cidrs })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, spec: Value, addresses: Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name}, "spec": spec, "status": {"addresses": addresses},
        }))
        .unwrap()
    }

    #[test]
    fn addresses_and_pod_ranges_of_both_families() {
        let mut nodes = Nodes::new();
        let one = node(
            "a",
            json!({"podCIDR": "10.42.1.0/24", "podCIDRs": ["10.42.1.0/24", "fd00:42:1::/64"]}),
            json!([
                {"type": "Hostname", "address": "a"},
                {"type": "InternalIP", "address": "192.168.0.1"},
                {"type": "InternalIP", "address": "fd00::1"},
                {"type": "ExternalIP", "address": "192.0.2.1"},
            ]),
        );
        assert_eq!(nodes.upsert(&one), (true, Vec::new()));
        assert_eq!(nodes.upsert(&one), (false, Vec::new()), "what does not concern the network is no change");
        let spec = nodes.specs().next().unwrap();
        assert_eq!(spec.addresses, ["192.168.0.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
        assert_eq!(spec.pod_cidrs, ["10.42.1.0/24".parse::<IpNet>().unwrap(), "fd00:42:1::/64".parse().unwrap()]);
        assert!(nodes.remove("a") && !nodes.remove("a"));
    }

    #[test]
    fn what_cannot_be_used_is_named_and_the_rest_is() {
        let mut nodes = Nodes::new();
        let bad = node("b", json!({"podCIDR": "10.42.2.7/24"}), json!([{"type": "InternalIP", "address": "b.local"}]));
        let (changed, problems) = nodes.upsert(&bad);
        assert!(changed);
        assert_eq!(problems[0].to_string(), "Node /b: status.addresses[0].address: unusable value \"b.local\"");
        assert_eq!(nodes.specs().next().unwrap().pod_cidrs, ["10.42.2.0/24".parse::<IpNet>().unwrap()]);
        assert_eq!(nodes.replace([&node("c", json!({}), json!([]))]), []);
        assert_eq!(nodes.specs().map(|spec| spec.name.as_str()).collect::<Vec<_>>(), ["c"]);
    }
}
