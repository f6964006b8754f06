//! What NetworkPolicies allow, read from the objects one by one: the plain meaning that compiled rows are held against.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// All objects that matter.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Namespaces.
    pub namespaces: Vec<Namespace>,
    /// Pods, none in its node's own network.
    pub pods: Vec<Pod>,
    /// Policies.
    pub policies: Vec<NetworkPolicy>,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a> {
    /// Its address.
    pub address: IpAddr,
    /// The pod that has it.
    pub pod: Option<&'a Pod>,
}

/// What a connection is to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// `TCP`, `UDP`, `SCTP`, or another protocol, which only rules without ports allow.
    pub protocol: &'a str,
    /// Destination port.
    pub port: u16,
}

/// Whether a connection may be opened. A pod may always reach itself by its own address.
pub fn allowed(cluster: &Cluster, from: Party<'_>, to: Party<'_>, target: Target<'_>) -> bool {
    from.address == to.address || (leaves(cluster, from, to, target) && enters(cluster, from, to, target))
}

fn enters(cluster: &Cluster, from: Party<'_>, to: Party<'_>, target: Target<'_>) -> bool {
    let Some(pod) = to.pod else { return true };
    let selecting: Vec<&NetworkPolicy> = selecting(cluster, pod).filter(|policy| has_type(policy, "Ingress")).collect();
    selecting.is_empty()
        || selecting.iter().any(|policy| {
            let rules = policy.spec.iter().flat_map(|spec| spec.ingress.iter().flatten());
            rules.into_iter().any(|rule| {
                peers(cluster, policy, rule.from.as_deref(), from)
                    && ports(rule.ports.as_deref(), target, |name| number(pod, name, target.protocol))
            })
        })
}

fn leaves(cluster: &Cluster, from: Party<'_>, to: Party<'_>, target: Target<'_>) -> bool {
    let Some(pod) = from.pod else { return true };
    let selecting: Vec<&NetworkPolicy> = selecting(cluster, pod).filter(|policy| has_type(policy, "Egress")).collect();
    selecting.is_empty()
        || selecting.iter().any(|policy| {
            let rules = policy.spec.iter().flat_map(|spec| spec.egress.iter().flatten());
            rules.into_iter().any(|rule| {
                let list = rule.to.as_deref().unwrap_or_default();
                // A named port has a number only where the other end is known as a pod, not as an address.
                let as_pod =
                    list.is_empty() || list.iter().any(|one| one.ip_block.is_none() && peer(cluster, policy, one, to));
                peers(cluster, policy, rule.to.as_deref(), to)
                    && ports(rule.ports.as_deref(), target, |name| {
                        to.pod.filter(|_| as_pod).and_then(|pod| number(pod, name, target.protocol))
                    })
            })
        })
}

fn selecting<'a>(cluster: &'a Cluster, pod: &'a Pod) -> impl Iterator<Item = &'a NetworkPolicy> {
    cluster.policies.iter().filter(|policy| {
        let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
        policy.metadata.namespace == pod.metadata.namespace
            && selector.is_none_or(|selector| selects(selector, pod.metadata.labels.as_ref()))
    })
}

fn has_type(policy: &NetworkPolicy, wanted: &str) -> bool {
    let Some(spec) = &policy.spec else { return false };
    match spec.policy_types.as_deref() {
        None | Some([]) => wanted == "Ingress" || spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
        Some(types) => types.iter().any(|one| one == wanted),
    }
}

fn peers(cluster: &Cluster, policy: &NetworkPolicy, list: Option<&[NetworkPolicyPeer]>, party: Party<'_>) -> bool {
    let list = list.unwrap_or_default();
    list.is_empty() || list.iter().any(|one| peer(cluster, policy, one, party))
}

fn peer(cluster: &Cluster, policy: &NetworkPolicy, peer: &NetworkPolicyPeer, party: Party<'_>) -> bool {
    if let Some(block) = &peer.ip_block {
        let holds = |text: &str| text.parse::<IpNet>().is_ok_and(|net| net.contains(&party.address));
        return holds(&block.cidr) && !block.except.iter().flatten().any(|text| holds(text));
    }
    let Some(pod) = party.pod else { return false };
    let namespace = match &peer.namespace_selector {
        None => policy.metadata.namespace == pod.metadata.namespace,
        Some(selector) => {
            let own = cluster.namespaces.iter().find(|one| one.metadata.name == pod.metadata.namespace);
            own.is_some_and(|own| selects(selector, own.metadata.labels.as_ref()))
        }
    };
    namespace && peer.pod_selector.as_ref().is_none_or(|selector| selects(selector, pod.metadata.labels.as_ref()))
}

fn ports(list: Option<&[NetworkPolicyPort]>, target: Target<'_>, number: impl Fn(&str) -> Option<i32>) -> bool {
    let list = list.unwrap_or_default();
    list.is_empty()
        || list.iter().any(|port| {
            port.protocol.as_deref().unwrap_or("TCP") == target.protocol
                && match &port.port {
                    None => true,
                    Some(IntOrString::Int(first)) => {
                        (*first..=port.end_port.unwrap_or(*first)).contains(&i32::from(target.port))
                    }
                    Some(IntOrString::String(name)) => number(name) == Some(i32::from(target.port)),
                }
        })
}

/// The number of a named port of a pod.
fn number(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let is = |port: &k8s_openapi::api::core::v1::ContainerPort| {
        port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
    };
    ports.find(|port| is(port)).map(|port| port.container_port)
}

fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let labels = selector.match_labels.iter().flatten().all(|(key, wanted)| value(key) == Some(wanted));
    let expressions = selector.match_expressions.iter().flatten().all(|one| {
        let listed = value(&one.key).is_some_and(|value| one.values.iter().flatten().any(|wanted| wanted == value));
        match one.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value(&one.key).is_some(),
            _ => value(&one.key).is_none(),
        }
    });
    labels && expressions
}
