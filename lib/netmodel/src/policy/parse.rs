//! A NetworkPolicy, as far as a node enforces it.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::identity::proto_number;
use crate::policy::group::{GroupKey, Peer, Scope};
use crate::policy::{Policed, Ports};
use crate::selector::Selector;
use crate::{ObjectName, Problem};

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) pods: Selector,
    pub(crate) policed: Policed,
    pub(crate) ingress: Vec<PolicyRule>,
    pub(crate) egress: Vec<PolicyRule>,
}

/// Allows its peers to, or from, its ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicyRule {
    pub(crate) peers: Vec<Peer>,
    pub(crate) blocks: Vec<Ports>,
    /// Names and protocols of ports whose numbers the pods tell.
    pub(crate) named: Vec<(String, u8)>,
    /// The peers of the named ports. On the way out each identity has its own number for a name, so that no wildcard will do.
    pub(crate) named_peers: Vec<Peer>,
}

/// Where a fault is, and where it is told.
struct Faults<'a> {
    name: &'a ObjectName,
    problems: &'a mut Vec<Problem>,
}

impl Faults<'_> {
    fn add(&mut self, field: String, value: &str) {
        self.problems.push(Problem::new("NetworkPolicy", self.name, field, value));
    }
}

/// What cannot be used allows nothing; a policy whose pods cannot be told selects none.
pub(crate) fn parse(policy: &NetworkPolicy, name: &ObjectName, problems: &mut Vec<Problem>) -> Option<Policy> {
    let mut faults = Faults { name, problems };
    let spec = policy.spec.as_ref()?;
    let pods = selector(spec.pod_selector.as_ref(), "spec.podSelector", &mut faults)?.unwrap_or_default();
    let (ingress, egress) = (spec.ingress.as_deref().unwrap_or_default(), spec.egress.as_deref().unwrap_or_default());
    let policed = match spec.policy_types.as_deref() {
        None | Some([]) => Policed { ingress: true, egress: !egress.is_empty() },
        Some(types) => {
            let has = |wanted: &str| types.iter().any(|one| one == wanted);
            Policed { ingress: has("Ingress"), egress: has("Egress") }
        }
    };
    let mut parsed = Policy { pods, policed, ingress: Vec::new(), egress: Vec::new() };
    for (index, rule) in ingress.iter().enumerate().filter(|_| policed.ingress) {
        let at = format!("spec.ingress[{index}]");
        let peers = peers(rule.from.as_deref(), &format!("{at}.from"), &mut faults);
        let mut rule = ports(rule.ports.as_deref(), &at, &mut faults);
        rule.named_peers.clone_from(&peers);
        rule.peers = peers;
        parsed.ingress.push(rule);
    }
    for (index, rule) in egress.iter().enumerate().filter(|_| policed.egress) {
        let at = format!("spec.egress[{index}]");
        let peers = peers(rule.to.as_deref(), &format!("{at}.to"), &mut faults);
        let mut rule = ports(rule.ports.as_deref(), &at, &mut faults);
        if !rule.named.is_empty() {
            rule.named_peers = peers.iter().filter_map(Peer::by_identity).collect();
        }
        rule.peers = peers;
        parsed.egress.push(rule);
    }
    Some(parsed)
}

/// `None` where it cannot be used, `Some(None)` where there is none.
fn selector(
    selector: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>,
    field: &str,
    faults: &mut Faults<'_>,
) -> Option<Option<Selector>> {
    let Some(selector) = selector else { return Some(None) };
    let parsed = Selector::parse(selector);
    if parsed.is_none() {
        faults.add(format!("{field}.matchExpressions"), "operator");
    }
    parsed.map(Some)
}

/// No list and an empty one both mean anyone.
fn peers(list: Option<&[NetworkPolicyPeer]>, field: &str, faults: &mut Faults<'_>) -> Vec<Peer> {
    match list {
        None | Some([]) => vec![Peer::Anyone],
        Some(list) => {
            let parse = |(index, one)| peer(one, &format!("{field}[{index}]"), faults);
            list.iter().enumerate().filter_map(parse).collect()
        }
    }
}

fn peer(peer: &NetworkPolicyPeer, field: &str, faults: &mut Faults<'_>) -> Option<Peer> {
    if let Some(block) = &peer.ip_block {
        let cidr = net(&block.cidr, || format!("{field}.ipBlock.cidr"), faults)?;
        let mut except = Vec::new();
        for (index, text) in block.except.iter().flatten().enumerate() {
            // An exception that cannot be read must not let anyone in.
            except.push(net(text, || format!("{field}.ipBlock.except[{index}]"), faults)?);
        }
        except.sort_unstable();
        except.dedup();
        return Some(Peer::Group(GroupKey::Block { cidr, except }));
    }
    let namespaces = selector(peer.namespace_selector.as_ref(), &format!("{field}.namespaceSelector"), faults)?;
    let pods = selector(peer.pod_selector.as_ref(), &format!("{field}.podSelector"), faults)?;
    if namespaces.is_none() && pods.is_none() {
        faults.add(field.to_owned(), "");
        return None;
    }
    let pods = pods.unwrap_or_default();
    Some(match (namespaces, pods.is_empty()) {
        (Some(namespaces), true) if namespaces.is_empty() => Peer::AnyPod,
        (Some(namespaces), true) => Peer::Group(GroupKey::Namespaces(namespaces)),
        (None, true) => Peer::Group(GroupKey::Namespace(faults.name.namespace.clone())),
        (Some(namespaces), false) => Peer::Group(GroupKey::Pods { scope: Scope::Selected(namespaces), pods }),
        (None, false) => Peer::Group(GroupKey::Pods { scope: Scope::Own(faults.name.namespace.clone()), pods }),
    })
}

/// With the bits after its prefix cleared.
fn net(text: &str, field: impl FnOnce() -> String, faults: &mut Faults<'_>) -> Option<IpNet> {
    let parsed = text.parse::<IpNet>().ok().map(|net| net.trunc());
    if parsed.is_none() {
        faults.add(field(), text);
    }
    parsed
}

/// A rule without its peers. No list and an empty one both mean any port of any protocol.
fn ports(list: Option<&[NetworkPolicyPort]>, at: &str, faults: &mut Faults<'_>) -> PolicyRule {
    let mut rule = PolicyRule::default();
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        rule.blocks.push(Ports::ANY);
        return rule;
    };
    for (index, port) in list.iter().enumerate() {
        let field = |name: &str| format!("{at}.ports[{index}].{name}");
        let Some(proto) = proto_number(port.protocol.as_deref()) else {
            faults.add(field("protocol"), port.protocol.as_deref().unwrap_or_default());
            continue;
        };
        match &port.port {
            None => rule.blocks.push(Ports::all_of(proto)),
            Some(IntOrString::String(name)) => rule.named.push((name.clone(), proto)),
            Some(IntOrString::Int(number)) => {
                let last = port.end_port.unwrap_or(*number);
                match (u16::try_from(*number), u16::try_from(last)) {
                    (Ok(first), Ok(last)) if first > 0 => rule.blocks.extend(Ports::range(proto, first, last)),
                    _ => faults.add(field("port"), &format!("{number}-{last}")),
                }
            }
        }
    }
    rule
}
