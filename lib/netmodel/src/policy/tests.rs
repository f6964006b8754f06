//! Compiled rows give the verdicts of the reference, whatever came in which order.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::reference::{Cluster, Party, Target, allowed};
use crate::{ANY_POD, ANYONE};

/// How the programs read the tables.
fn verdict(state: &PolicyState, from: IpAddr, to: IpAddr, proto: u8, port: u16) -> bool {
    let one = |own: IpAddr, other: IpAddr, direction: Direction| {
        if !state.endpoints.get(&own).is_some_and(|policed| policed.is(direction)) {
            return true;
        }
        let subject = state.peers.get(&own).map_or(0, |ids| ids.identity);
        let mut peers = vec![ANYONE];
        if let Some(ids) = state.peers.get(&other) {
            peers.extend([ANY_POD, ids.namespace, ids.identity]);
        }
        let holds = state.blocks.iter().filter(|(net, _)| net.contains(&other));
        peers.extend(holds.max_by_key(|(net, _)| net.prefix_len()).map(|(_, id)| *id));
        let mut rows = state.rows.keys();
        rows.any(|row| {
            row.subject == subject
                && row.direction == direction
                && peers.contains(&row.peer)
                && row.ports.contains(proto, port)
        })
    };
    from == to || (one(from, to, Direction::Egress) && one(to, from, Direction::Ingress))
}

fn address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 42, number / 4, number % 4))
}

fn namespace(name: &str, label: &str) -> Namespace {
    let labels = json!({"kubernetes.io/metadata.name": name, "team": label});
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
}

fn pod(number: u8, namespace: &str, label: &str, port: u16) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"namespace": namespace, "name": format!("p{number}"), "labels": {"app": label}},
        "spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address(number).to_string()}]},
    }))
    .unwrap()
}

fn selector(key: &'static str) -> impl Strategy<Value = Value> {
    let value = prop::sample::select(vec!["a", "b", "c"]);
    prop_oneof![
        Just(json!({})),
        value.clone().prop_map(move |value| json!({"matchLabels": {key: value}})),
        (prop::sample::select(vec!["In", "NotIn"]), value).prop_map(
            move |(op, value)| json!({"matchExpressions": [{"key": key, "operator": op, "values": [value, "z"]}]})
        ),
        prop::sample::select(vec!["Exists", "DoesNotExist"])
            .prop_map(move |op| json!({"matchExpressions": [{"key": key, "operator": op}]})),
    ]
}

fn peer() -> impl Strategy<Value = Value> {
    let block = (0u8..8, 24u8..=32, prop::option::of(27u8..=32)).prop_map(|(low, bits, hole)| {
        let net = |bits: u8| IpNet::new(address(low), bits).unwrap().trunc().to_string();
        let except: Vec<String> = hole.filter(|hole| *hole > bits).into_iter().map(net).collect();
        json!({"ipBlock": {"cidr": net(bits), "except": except}})
    });
    prop_oneof![
        selector("app").prop_map(|pods| json!({"podSelector": pods})),
        selector("team").prop_map(|namespaces| json!({"namespaceSelector": namespaces})),
        (selector("app"), selector("team"))
            .prop_map(|(pods, namespaces)| json!({"podSelector": pods, "namespaceSelector": namespaces})),
        block,
    ]
}

fn port() -> impl Strategy<Value = Value> {
    let protocol = prop::sample::select(vec!["TCP", "UDP", "SCTP"]);
    prop_oneof![
        protocol.clone().prop_map(|protocol| json!({"protocol": protocol})),
        (protocol.clone(), 79u16..83).prop_map(|(protocol, port)| json!({"protocol": protocol, "port": port})),
        (protocol.clone(), 70u16..81, 80u16..90)
            .prop_map(|(protocol, port, end)| json!({"protocol": protocol, "port": port, "endPort": end})),
        protocol.prop_map(|protocol| json!({"protocol": protocol, "port": "web"})),
    ]
}

fn rules(peers: &'static str) -> impl Strategy<Value = Value> {
    let rule = (prop::collection::vec(peer(), 0..3), prop::collection::vec(port(), 0..3))
        .prop_map(move |(list, ports)| json!({peers: list, "ports": ports}));
    prop::collection::vec(rule, 0..3).prop_map(Value::from)
}

fn policy() -> impl Strategy<Value = NetworkPolicy> {
    let types =
        prop::sample::select(vec![json!(null), json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])]);
    let parts = (0u8..5, prop::sample::select(vec!["x", "y"]), selector("app"), types, rules("from"), rules("to"));
    parts.prop_map(|(number, namespace, pods, types, ingress, egress)| {
        let spec = json!({"podSelector": pods, "policyTypes": types, "ingress": ingress, "egress": egress});
        let meta = json!({"namespace": namespace, "name": format!("n{number}")});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
    })
}

/// What happens to the cluster.
#[derive(Clone, Debug)]
enum Event {
    Namespace(&'static str, &'static str),
    Pod(u8, &'static str, &'static str, u16),
    NoPod(u8),
    Policy(Box<NetworkPolicy>),
    NoPolicy(&'static str, u8),
}

fn event() -> impl Strategy<Value = Event> {
    let name = prop::sample::select(vec!["x", "y", "w"]);
    let label = prop::sample::select(vec!["a", "b", "c"]);
    prop_oneof![
        1 => (name.clone(), label.clone()).prop_map(|(name, label)| Event::Namespace(name, label)),
        4 => (0u8..8, label, prop::sample::select(vec![80u16, 81]))
            .prop_map(|(number, label, port)| Event::Pod(number, ["x", "y", "w"][number as usize % 3], label, port)),
        1 => (0u8..8).prop_map(Event::NoPod),
        4 => policy().prop_map(|policy| Event::Policy(Box::new(policy))),
        1 => (name, 0u8..5).prop_map(|(name, number)| Event::NoPolicy(name, number)),
    ]
}

/// The model, and the same objects as lists.
struct Both {
    model: PolicyModel,
    namespaces: BTreeMap<String, Namespace>,
    pods: BTreeMap<u8, Pod>,
    policies: BTreeMap<(String, String), NetworkPolicy>,
    /// The tables as a follower of the deltas alone has them.
    followed: PolicyState,
}

impl Both {
    fn new() -> Self {
        let mut both = Self {
            model: PolicyModel::new([]),
            namespaces: BTreeMap::new(),
            pods: BTreeMap::new(),
            policies: BTreeMap::new(),
            followed: PolicyState::default(),
        };
        both.model.set_complete();
        ["x", "y", "w"].into_iter().for_each(|name| both.take(Event::Namespace(name, "a")));
        both
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Namespace(name, label) => {
                let object = namespace(name, label);
                self.model.upsert_namespace(&object);
                self.namespaces.insert(name.to_owned(), object);
            }
            Event::Pod(number, namespace, label, port) => {
                let object = pod(number, namespace, label, port);
                // Either may come first.
                if number % 2 == 0 {
                    self.model.attach(address(number), namespace, &format!("p{number}"));
                }
                self.model.upsert_pod(&object);
                self.model.attach(address(number), namespace, &format!("p{number}"));
                self.pods.insert(number, object);
            }
            Event::NoPod(number) => {
                if let Some(pod) = self.pods.remove(&number) {
                    self.model.remove_pod(&pod.metadata.namespace.unwrap(), &pod.metadata.name.unwrap());
                    self.model.detach(address(number));
                }
            }
            Event::Policy(policy) => {
                self.model.upsert_policy(&policy);
                let key = (policy.metadata.namespace.clone().unwrap(), policy.metadata.name.clone().unwrap());
                self.policies.insert(key, *policy);
            }
            Event::NoPolicy(namespace, number) => {
                let name = format!("n{number}");
                self.model.remove_policy(namespace, &name);
                self.policies.remove(&(namespace.to_owned(), name));
            }
        }
        let delta = self.model.take_delta();
        assert_eq!(delta.problems, []);
        follow(&mut self.followed.names, delta.names);
        follow(&mut self.followed.rows, delta.rows);
        follow(&mut self.followed.peers, delta.peers);
        follow(&mut self.followed.blocks, delta.blocks);
        follow(&mut self.followed.endpoints, delta.endpoints);
    }

    fn cluster(&self) -> Cluster {
        Cluster {
            namespaces: self.namespaces.values().cloned().collect(),
            pods: self.pods.values().cloned().collect(),
            policies: self.policies.values().cloned().collect(),
        }
    }

    fn check(&self) {
        let cluster = self.cluster();
        let outside = address(15);
        let mut parties: Vec<Party<'_>> =
            self.pods.iter().map(|(number, pod)| Party { address: address(*number), pod: Some(pod) }).collect();
        parties.push(Party { address: outside, pod: None });
        for from in &parties {
            for to in &parties {
                for (protocol, proto) in [("TCP", 6), ("UDP", 17), ("SCTP", 132), ("ICMP", 1)] {
                    for port in if proto == 1 { vec![0] } else { vec![79, 80, 81] } {
                        let wanted = allowed(&cluster, *from, *to, Target { protocol, port });
                        let found = verdict(self.model.state(), from.address, to.address, proto, port);
                        assert_eq!(found, wanted, "{} to {}:{port}/{protocol}", from.address, to.address);
                    }
                }
            }
        }
    }
}

fn follow<K: Ord, V>(state: &mut BTreeMap<K, V>, delta: BTreeMap<K, Option<V>>) {
    for (key, value) in delta {
        match value {
            Some(value) => state.insert(key, value),
            None => state.remove(&key),
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn rows_mean_what_the_policies_say(events in prop::collection::vec(event(), 1..30)) {
        let mut both = Both::new();
        for event in events {
            both.take(event);
        }
        both.check();
        prop_assert_eq!(&both.followed, both.model.state());
    }

    #[test]
    fn what_is_gone_leaves_nothing(events in prop::collection::vec(event(), 1..30)) {
        let mut both = Both::new();
        for event in events {
            both.take(event);
        }
        (0..8).for_each(|number| both.take(Event::NoPod(number)));
        ["x", "y", "w"].into_iter().for_each(|name| (0..5).for_each(|number| both.take(Event::NoPolicy(name, number))));
        let state = both.model.state();
        prop_assert!(state.rows.is_empty() && state.peers.is_empty() && state.blocks.is_empty());
        prop_assert_eq!((state.endpoints.len(), state.names.len()), (0, 3), "the namespaces stay");
    }
}

#[test]
fn a_pod_that_is_not_known_yet_is_shut_off_where_a_policy_may_select_it() {
    let mut model = PolicyModel::new([]);
    model.attach(address(1), "x", "p1");
    assert_eq!(model.state().endpoints[&address(1)], Policed::BOTH);
    model.set_complete();
    assert_eq!(model.state().endpoints[&address(1)], Policed::default());
    let deny = json!({"metadata": {"namespace": "x", "name": "deny"}, "spec": {"podSelector": {}}});
    model.upsert_policy(&serde_json::from_value(deny).unwrap());
    assert_eq!(model.state().endpoints[&address(1)], Policed::BOTH);
    model.upsert_pod(&pod(1, "x", "a", 80));
    assert_eq!(model.state().endpoints[&address(1)], Policed { ingress: true, egress: false });
    model.remove_policy("x", "deny");
    assert_eq!(model.state().endpoints[&address(1)], Policed::default());
}

#[test]
fn an_address_goes_to_whom_this_node_gave_it() {
    let mut model = PolicyModel::new([]);
    model.upsert_pod(&pod(1, "x", "a", 80));
    let first = model.state().peers[&address(1)];
    let mut second = pod(1, "y", "b", 80);
    second.metadata.name = Some("other".to_owned());
    model.attach(address(1), "y", "other");
    assert!(!model.state().peers.contains_key(&address(1)), "nobody's, while its pod is unknown");
    model.upsert_pod(&second);
    assert_ne!(model.state().peers[&address(1)], first);
    // The former pod's object may linger.
    model.upsert_pod(&pod(1, "x", "c", 80));
    assert_eq!(model.state().names[&model.state().peers[&address(1)].identity], "pods y{app=b} web=80/6");
}

#[test]
fn ids_of_a_former_daemon_are_kept() {
    let mut model = PolicyModel::new([(40, "pods x{app=a} web=80/6".to_owned()), (41, "policy x/gone".to_owned())]);
    model.upsert_pod(&pod(1, "x", "a", 80));
    model.upsert_pod(&pod(2, "x", "b", 80));
    assert_eq!(model.state().peers[&address(1)].identity, 40);
    assert!(model.state().peers[&address(2)].identity > 41);
}

#[test]
fn a_change_of_a_policy_keeps_what_both_versions_name() {
    let deny = |port: u16| {
        let rule = json!([{"from": [{"ipBlock": {"cidr": "10.42.0.0/30"}}], "ports": [{"port": port}]}]);
        let spec = json!({"podSelector": {}, "ingress": rule});
        serde_json::from_value(json!({"metadata": {"namespace": "x", "name": "n"}, "spec": spec})).unwrap()
    };
    let mut model = PolicyModel::new([]);
    model.upsert_pod(&pod(1, "x", "a", 80));
    model.attach(address(1), "x", "p1");
    model.upsert_policy(&deny(80));
    model.take_delta();
    model.upsert_policy(&deny(81));
    let delta = model.take_delta();
    assert_eq!((delta.names.len(), delta.blocks.len(), delta.rows.len()), (0, 0, 2), "{delta:?}");
}
