//! From nodes to what one of them needs to know of the others: routes for its stack, and prefixes for its programs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::NodeSpec;

/// How packets get from node to node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RoutingMode {
    /// As they are, by routes.
    #[default]
    Native,
    /// In a VXLAN tunnel.
    Vxlan,
}

/// What one node needs to know of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RoutingSpec {
    /// Routes of the node's stack, by prefix.
    pub routes: Vec<RouteSpec>,
    /// Prefixes of the cluster, sorted, each once.
    pub remotes: Vec<RemoteSpec>,
    /// What is wrong with nodes, for people.
    pub problems: Vec<String>,
}

/// A route to pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RouteSpec {
    /// The pods' prefix.
    pub prefix: IpNet,
    /// How to get there.
    pub hop: Hop,
}

/// How a route gets to its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Hop {
    /// By a node, which must be a neighbour or have a route of its own.
    Via(IpAddr),
    /// In the tunnel to a node.
    Tunnel(IpAddr),
    /// Nowhere: the prefix is the node's own, and only addresses of pods that it has are to be reached.
    Unreachable,
}

/// A prefix of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RemoteSpec {
    /// The prefix.
    pub prefix: IpNet,
    /// What is there.
    pub kind: RemoteKind,
    /// Address of the node that has it: the end of a tunnel. `None` for a listed prefix.
    pub node: Option<IpAddr>,
    /// Name of that node; empty for a listed prefix.
    pub name: String,
    /// Whether packets go there through the tunnel.
    pub tunnel: bool,
}

/// What a prefix of the cluster stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RemoteKind {
    /// Pods.
    Pods,
    /// A node.
    Node,
    /// Something outside that knows pods by their own addresses.
    Listed,
}

/// What the node named `own` needs to know. Packets to `listed` prefixes leave as they are, as if those were the cluster's.
pub fn plan_routing<'a>(
    nodes: impl IntoIterator<Item = &'a NodeSpec>,
    own: &str,
    mode: RoutingMode,
    listed: &[IpNet],
) -> RoutingSpec {
    // The node itself comes first: no other can take its prefixes away.
    let mut nodes: Vec<&NodeSpec> = nodes.into_iter().collect();
    nodes.sort_by_key(|node| (node.name != own, node.name.as_str()));
    let family =
        nodes.first().filter(|node| node.name == own).and_then(|node| node.addresses.first()).map(IpAddr::is_ipv4);
    let mut draft = Draft::default();
    for node in nodes {
        let is_own = node.name == own;
        let tunnel = mode == RoutingMode::Vxlan && !is_own;
        let Some(end) = preferred(&node.addresses, family) else {
            draft.problems.push(format!("node {} has no address that pods could be reached by", node.name));
            continue;
        };
        for &address in &node.addresses {
            draft.claim(RemoteKind::Node, address.into(), node, if tunnel { end } else { address }, tunnel);
        }
        for &prefix in &node.pod_cidrs {
            if !draft.claim(RemoteKind::Pods, prefix, node, end, tunnel) {
                continue;
            }
            let hop = match (is_own, tunnel) {
                (true, _) => Hop::Unreachable,
                (false, true) => Hop::Tunnel(end),
                (false, false) => match preferred(&node.addresses, Some(prefix_is_v4(&prefix))) {
                    Some(via) if via.is_ipv4() == prefix_is_v4(&prefix) => Hop::Via(via),
                    _ => {
                        draft.problems.push(format!("node {} has no address of the family of {prefix}", node.name));
                        continue;
                    }
                },
            };
            draft.routes.insert(prefix, hop);
        }
    }
    for &prefix in listed {
        let spec = RemoteSpec {
            prefix: prefix.trunc(),
            kind: RemoteKind::Listed,
            node: None,
            name: String::new(),
            tunnel: false,
        };
        draft.remotes.entry(spec.prefix).or_insert(spec);
    }
    RoutingSpec {
        routes: draft.routes.into_iter().map(|(prefix, hop)| RouteSpec { prefix, hop }).collect(),
        remotes: draft.remotes.into_values().collect(),
        problems: draft.problems,
    }
}

#[derive(Default)]
struct Draft {
    routes: BTreeMap<IpNet, Hop>,
    remotes: BTreeMap<IpNet, RemoteSpec>,
    problems: Vec<String>,
}

impl Draft {
    /// Whether the prefix is the node's; the first one that claims it has it.
    fn claim(&mut self, kind: RemoteKind, prefix: IpNet, node: &NodeSpec, end: IpAddr, tunnel: bool) -> bool {
        if let Some(held) = self.remotes.get(&prefix) {
            self.problems.push(format!("nodes {} and {} both have {prefix}", held.name, node.name));
            return false;
        }
        let name = node.name.clone();
        self.remotes.insert(prefix, RemoteSpec { prefix, kind, node: Some(end), name, tunnel });
        true
    }
}

/// An address of the family, where one is asked for and there is one.
fn preferred(addresses: &[IpAddr], v4: Option<bool>) -> Option<IpAddr> {
    let of_family = addresses.iter().find(|one| v4.is_none_or(|v4| one.is_ipv4() == v4));
    of_family.or(addresses.first()).copied()
}

fn prefix_is_v4(prefix: &IpNet) -> bool {
    matches!(prefix, IpNet::V4(_))
}

impl fmt::Display for RoutingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Vxlan => "vxlan",
        })
    }
}

impl std::str::FromStr for RoutingMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "native" => Ok(Self::Native),
            "vxlan" => Ok(Self::Vxlan),
            other => Err(format!("{other:?} is no way of routing: native or vxlan")),
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Via(node) => write!(f, "via {node}"),
            Self::Tunnel(node) => write!(f, "tunnel {node}"),
            Self::Unreachable => f.write_str("unreachable"),
        }
    }
}

#[cfg(test)]
#[path = "routing/tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
