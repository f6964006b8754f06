//! What Kubernetes' own network tests ask of a service proxy outside of conformance, from objects to packets. Each test names them as they
//! are called there.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};

use serde_json::{Value, json};
use skep_netmodel::{Model, NodeIdentity, Outcome};
use skep_netns::{NODE, POD_PORT, Server, World, ask_udp, call_tcp, udp_socket};

const HERE: &str = "here";
const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 80);
const AT_NODE: SocketAddrV4 = SocketAddrV4::new(NODE, 30_080);

/// A world whose tables follow objects, as a daemon makes them.
struct Served {
    world: World,
    model: RefCell<Model>,
}

impl Served {
    fn new(pods: u8) -> Self {
        let node = NodeIdentity { name: HERE.to_owned(), zone: Some("a".to_owned()), addresses: Vec::new() };
        Self { world: World::new(pods), model: RefCell::new(Model::new(node)) }
    }

    fn write(&self, change: impl FnOnce(&mut Model) -> Outcome) {
        let outcome = change(&mut self.model.borrow_mut());
        assert_eq!(outcome.problems, []);
        self.world.datapath().apply_services(&outcome.changes).unwrap();
    }

    /// A Service of one port, which both protocols have, at [`VIP`]'s port and the node's.
    fn service(&self, name: &str, vip: Ipv4Addr, more: Value) {
        let mut object = json!({
            "metadata": {"namespace": "test", "name": name},
            "spec": {"type": "NodePort", "clusterIP": vip, "clusterIPs": [vip], "ports": [
                {"name": "tcp", "port": 80, "protocol": "TCP"}, {"name": "udp", "port": 80, "protocol": "UDP"}]},
        });
        merge(&mut object, more);
        self.write(|model| model.upsert_service(&serde_json::from_value(object).unwrap()));
    }

    /// The endpoints of a Service.
    fn slice(&self, service: &str, endpoints: &[Value]) {
        let object = json!({
            "metadata": {"namespace": "test", "name": service, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "tcp", "port": POD_PORT, "protocol": "TCP"},
                {"name": "udp", "port": POD_PORT, "protocol": "UDP"}],
        });
        self.write(|model| model.upsert_slice(&serde_json::from_value(object).unwrap()));
    }

    fn pod(&self, number: usize) -> Value {
        json!({"addresses": [self.world.pods[number].address], "nodeName": HERE, "conditions": {"ready": true}})
    }

    fn pod_with(&self, number: usize, more: Value) -> Value {
        let mut pod = self.pod(number);
        merge(&mut pod, more);
        pod
    }

    /// Who answers a pod, over TCP.
    fn call(&self, to: SocketAddrV4) -> Result<String, ErrorKind> {
        call_tcp(&self.world.pods[2].netns, to).map(|(name, ..)| name).map_err(|error| error.kind())
    }

    fn call_from_outside(&self, to: SocketAddrV4) -> Result<String, ErrorKind> {
        self.world.outside(|| call_tcp(&self.world.client, to)).map(|(name, ..)| name).map_err(|error| error.kind())
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn node_ports() -> Value {
    json!({"spec": {"ports": [{"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": 30_080},
        {"name": "udp", "port": 80, "protocol": "UDP", "nodePort": 30_080}]}})
}

/// `Services should be rejected when no endpoints exist`, `Services should be rejected for evicted pods (no endpoints exist)`,
/// `Services should work after the service has been recreated`, `Services should be able to up and down services`.
#[test]
fn services_come_and_go() {
    let served = Served::new(3);
    served.service("one", *VIP.ip(), node_ports());
    assert_eq!(served.call(VIP), Err(ErrorKind::ConnectionRefused));
    assert_eq!(served.call_from_outside(AT_NODE), Err(ErrorKind::ConnectionRefused));
    let evicted = json!({"conditions": {"ready": false, "serving": false, "terminating": false}});
    served.slice("one", &[served.pod_with(0, evicted)]);
    assert_eq!(served.call(VIP), Err(ErrorKind::ConnectionRefused));
    served.slice("one", &[served.pod(0)]);
    assert_eq!(served.call(VIP), Ok("pod0".to_owned()));

    let other = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 11), 80);
    served.service("two", *other.ip(), json!({}));
    served.slice("two", &[served.pod(1)]);
    assert_eq!((served.call(VIP), served.call(other)), (Ok("pod0".to_owned()), Ok("pod1".to_owned())));
    served.write(|model| model.remove_service("test", "one"));
    assert!(served.call_from_outside(AT_NODE).is_err());
    assert_eq!(served.call(other), Ok("pod1".to_owned()), "the other one stays up");
    served.service("one", *VIP.ip(), node_ports());
    assert_eq!(served.call(VIP), Ok("pod0".to_owned()), "at the address that it had");
    assert_eq!(served.call_from_outside(AT_NODE), Ok("pod0".to_owned()));
}

/// Asks until one of that name answers on a socket that stays the same, as a program does that knows of nothing.
fn wait_for(socket: &UdpSocket, to: SocketAddrV4, name: &str) {
    let mut last = None;
    for _ in 0..100 {
        match ask_udp(socket, to) {
            Ok((answer, ..)) if answer == name => return,
            other => last = Some(other),
        }
    }
    panic!("{name} does not answer at {to}: {last:?}");
}

/// `Conntrack should be able to preserve UDP traffic when server pod cycles for a NodePort service`, `… for a ClusterIP service`,
/// `… and client is hostNetwork`, and `Conntrack should be able to preserve UDP traffic when initial unready endpoints get ready`.
#[test]
fn datagrams_follow_the_server() {
    let served = Served::new(3);
    served.service("dns", *VIP.ip(), node_ports());
    let world = &served.world;
    let (pod, host) = (udp_socket(&world.pods[2].netns), udp_socket(&world.node));
    let outside = world.outside(|| udp_socket(&world.client));
    let unready = json!({"conditions": {"ready": false, "serving": false}});
    served.slice("dns", &[served.pod_with(0, unready)]);
    for (socket, to) in [(&pod, VIP), (&host, VIP), (&host, AT_NODE)] {
        assert_eq!(ask_udp(socket, to).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    // Nobody is there: it may hear of that, or not.
    world.outside(|| outside.send_to(b"who", AT_NODE).unwrap());
    for number in [0, 1, 0] {
        served.slice("dns", &[served.pod(number)]);
        let name = format!("pod{number}");
        for (socket, to) in [(&pod, VIP), (&host, VIP), (&host, AT_NODE)] {
            wait_for(socket, to, &name);
        }
        world.outside(|| wait_for(&outside, AT_NODE, &name));
    }
    // A server in the node's own network.
    let _server = Server::start(&world.node, "host", POD_PORT);
    served.slice("dns", &[json!({"addresses": [NODE], "nodeName": HERE})]);
    wait_for(&pod, VIP, "host");
    world.outside(|| wait_for(&outside, AT_NODE, "host"));
}

/// `LoadBalancers should be able to serve the same port for different protocols`: `Services should serve endpoints on same port and different
/// protocol for internal traffic on Type LoadBalancer`.
#[test]
fn a_load_balancers_port_has_two_protocols() {
    let served = Served::new(3);
    let balancer = Ipv4Addr::new(203, 0, 113, 10);
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": balancer, "ipMode": "VIP"}]}}, "spec": {"type": "LoadBalancer"}});
    served.service("both", *VIP.ip(), status);
    served.slice("both", &[served.pod(0)]);
    let (world, at) = (&served.world, SocketAddrV4::new(balancer, 80));
    world.client.ip(&["route", "add", &balancer.to_string(), "via", &NODE.to_string()]).unwrap();
    assert_eq!(served.call(at), Ok("pod0".to_owned()));
    assert_eq!(ask_udp(&udp_socket(&world.pods[2].netns), at).unwrap().0, "pod0");
    assert_eq!(served.call_from_outside(at), Ok("pod0".to_owned()));
    world.outside(|| wait_for(&udp_socket(&world.client), at, "pod0"));
}

/// `Services should fallback to local terminating endpoints when there are no ready endpoints with internalTrafficPolicy=Local`,
/// `Services should fallback to local terminating endpoints when there are no ready endpoints with externalTrafficPolicy=Local`,
/// `Services should fallback to terminating endpoints when there are no ready endpoints with internalTrafficPolicy=Cluster`,
/// `Services should fallback to terminating endpoints when there are no ready endpoints with externalTrafficPolicy=Cluster`,
/// `Services should respect internalTrafficPolicy=Local Pod to Pod`.
#[test]
fn terminating_endpoints_serve_where_policy_leaves_no_other() {
    let served = Served::new(3);
    let going = json!({"conditions": {"ready": false, "serving": true, "terminating": true}});
    let elsewhere = json!({"nodeName": "there"});
    for policy in ["Cluster", "Local"] {
        let mut spec = node_ports();
        merge(&mut spec, json!({"spec": {"internalTrafficPolicy": policy, "externalTrafficPolicy": policy}}));
        served.service("web", *VIP.ip(), spec);
        served.slice("web", &[served.pod_with(0, going.clone())]);
        assert_eq!(served.call(VIP), Ok("pod0".to_owned()), "{policy}");
        assert_eq!(served.call_from_outside(AT_NODE), Ok("pod0".to_owned()), "{policy}");
        // A ready one, which is elsewhere for those who keep to this node.
        served.slice("web", &[served.pod_with(0, going.clone()), served.pod_with(1, elsewhere.clone())]);
        let expected = if policy == "Local" { "pod0" } else { "pod1" };
        for _ in 0..10 {
            assert_eq!(served.call(VIP), Ok(expected.to_owned()), "{policy}");
        }
    }
    // Nothing is left here: a caller inside is refused.
    served.slice("web", &[served.pod_with(1, elsewhere)]);
    assert_eq!(served.call(VIP), Err(ErrorKind::ConnectionRefused));
}

/// `Services should preserve source pod IP for traffic thru service cluster IP`, `Services should allow pods to hairpin back to themselves through
/// services`, `Services should function for endpoint-Service`, `TopologyHints should distribute endpoints evenly` as far as a proxy goes.
#[test]
fn callers_are_seen_as_who_they_are_and_stay_in_their_zone() {
    let served = Served::new(3);
    served.service("web", *VIP.ip(), json!({}));
    let hint = |zone: &str| json!({"hints": {"forZones": [{"name": zone}]}});
    served.slice("web", &[served.pod_with(0, hint("b")), served.pod_with(2, hint("a"))]);
    for _ in 0..10 {
        assert_eq!(served.call(VIP), Ok("pod2".to_owned()), "the one that is meant for this zone");
    }
    let (_, peer, _) = call_tcp(&served.world.pods[1].netns, VIP).unwrap();
    assert_eq!(peer.ip(), IpAddr::V4(served.world.pods[1].address));
    // Hints that leave somebody without a backend say nothing.
    served.slice("web", &[served.pod_with(0, hint("b")), served.pod(1)]);
    let answers: std::collections::BTreeSet<_> = (0..40).map(|_| served.call(VIP).unwrap()).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
}
