//! Which list a caller gets: traffic policies, session affinity; and the guard of node ports.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use skep_abi::Metric;
use skep_netmodel::{Backend, Change, Frontend, FrontendAddress, Protocol, Scope, ServiceSpec};
use skep_netns::{NODE, World, ask_udp, call_tcp, cluster_ip, counter, node_port, service, udp_socket};

const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 80);
const PORT: u16 = 30_080;

/// A service with more said of it than [`service`] does.
fn with(frontends: &[Frontend], backends: &[Backend], change: impl FnOnce(&mut ServiceSpec)) -> Change {
    match service("web", Protocol::Tcp, frontends, backends) {
        Change::Set(mut spec) => {
            change(Arc::make_mut(&mut spec));
            Change::Set(spec)
        }
        other @ Change::Remove(_) => other,
    }
}

fn names(world: &World, at: SocketAddrV4, calls: usize) -> BTreeSet<String> {
    (0..calls).map(|_| call_tcp(&world.pods[0].netns, at).unwrap().0).collect()
}

#[test]
fn callers_inside_and_outside_have_lists_of_their_own() {
    let world = World::new(2);
    let backends = world.backends();
    let external = Ipv4Addr::new(192, 0, 2, 9);
    let outside = Frontend { address: FrontendAddress::External(external.into()), port: 80, scope: Scope::External };
    let inside = |frontend| Frontend { scope: Scope::Internal, ..frontend };
    let all = [cluster_ip(*VIP.ip(), 80), inside(node_port(PORT)), inside(outside)];
    let changes = [
        with(&all, &backends[..1], |_| {}),
        with(&[node_port(PORT), outside], &backends[1..], |spec| spec.name.external = true),
    ];
    world.datapath().apply_services(&changes).unwrap();
    let first = BTreeSet::from(["pod0".to_owned()]);
    for at in [VIP, SocketAddrV4::new(NODE, PORT), SocketAddrV4::new(external, 80)] {
        assert_eq!(names(&world, at, 10), first, "from inside, at {at}");
    }
    world.outside(|| {
        for _ in 0..10 {
            assert_eq!(call_tcp(&world.client, SocketAddrV4::new(NODE, PORT)).unwrap().0, "pod1");
        }
    });
}

#[test]
fn a_client_with_affinity_stays_with_its_backend_and_moves_when_that_goes() {
    let world = World::new(4);
    let affine = |backends: &[Backend]| {
        let change = with(&[cluster_ip(*VIP.ip(), 80)], backends, |spec| spec.affinity_timeout_s = 60);
        world.datapath().apply_services(&[change]).unwrap();
    };
    affine(&world.backends());
    let held = names(&world, VIP, 30);
    assert_eq!(held.len(), 1, "{held:?}");
    // Another namespace is another client: of eight, not all are sent to one backend by chance alone.
    let node: BTreeSet<String> = (0..30).map(|_| call_tcp(&world.node, VIP).unwrap().0).collect();
    assert_eq!(node.len(), 1, "{node:?}");
    let gone = held.first().unwrap();
    let left: Vec<Backend> = world
        .pods
        .iter()
        .zip(world.backends())
        .filter(|(pod, _)| pod.name != *gone)
        .map(|(_, backend)| backend)
        .collect();
    affine(&left);
    let next = names(&world, VIP, 30);
    assert_eq!(next.len(), 1, "{next:?}");
    assert_ne!(next, held);
}

#[test]
fn affinity_ends_with_its_time() {
    let world = World::new(4);
    let change = with(&[cluster_ip(*VIP.ip(), 80)], &world.backends(), |spec| spec.affinity_timeout_s = 1);
    world.datapath().apply_services(&[change]).unwrap();
    let held = names(&world, VIP, 5);
    // Each wait outlasts the time-out, so that each call is as a new client's.
    let moved = (0..20).any(|_| {
        std::thread::sleep(Duration::from_millis(1_100));
        names(&world, VIP, 1) != held
    });
    assert!(moved, "20 new choices among 4 backends were all {held:?}");
}

#[test]
fn datagrams_have_affinity_too() {
    let world = World::new(4);
    let change = match service("dns", Protocol::Udp, &[cluster_ip(*VIP.ip(), 80)], &world.backends()) {
        Change::Set(mut spec) => {
            Arc::make_mut(&mut spec).affinity_timeout_s = 60;
            Change::Set(spec)
        }
        other @ Change::Remove(_) => other,
    };
    world.datapath().apply_services(&[change]).unwrap();
    let held: BTreeSet<String> = (0..20).map(|_| ask_udp(&udp_socket(&world.pods[0].netns), VIP).unwrap().0).collect();
    assert_eq!(held.len(), 1, "{held:?}");
}

#[test]
fn the_port_of_a_service_cannot_be_bound_on_the_node() {
    let world = World::new(1);
    let change = service("web", Protocol::Tcp, &[node_port(PORT)], &world.backends());
    world.datapath().apply_services(&[change]).unwrap();
    let any = Ipv4Addr::UNSPECIFIED;
    let refused = world.node.enter(|| TcpListener::bind((any, PORT)).unwrap_err().kind()).unwrap();
    assert_eq!(refused, ErrorKind::AddrInUse);
    let mapped = world.node.enter(|| TcpListener::bind(("::", PORT)).unwrap_err().kind()).unwrap();
    assert_eq!(mapped, ErrorKind::AddrInUse);
    assert_eq!(counter(&world, Metric::BindRefused), 2);
    // Another protocol, another port, another namespace.
    world.node.enter(|| UdpSocket::bind((any, PORT)).unwrap()).unwrap();
    world.node.enter(|| TcpListener::bind((any, PORT + 1)).unwrap()).unwrap();
    world.pods[0].netns.enter(|| TcpListener::bind((any, PORT)).unwrap()).unwrap();
}
