//! Services from outside of the cluster, at node ports and addresses of their own, with backends on this node and on others.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;

use skep_abi::Metric;
use skep_netmodel::RoutingMode::{self, Native, Vxlan};
use skep_netmodel::{Backend, Change, Frontend, FrontendAddress, Protocol, Scope, ServiceSpec};
use skep_netns::{
    Cluster, Member, OUTSIDE, OUTSIDE_V6, POD_PORT, Setup, ask, backend, call_at, datagrams_at, moved, node_port,
    service,
};

const PORT: u16 = 30_080;
/// Addresses that nobody has: an external IP and a load balancer's of each family.
const EXTERNAL: [&str; 2] = ["203.0.113.9", "2001:db8:9::9"];
const BALANCER: [&str; 2] = ["203.0.113.10", "2001:db8:9::10"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(address: FrontendAddress, port: u16) -> Frontend {
    Frontend { address, port, scope: Scope::External }
}

fn changed(change: Change, with: impl FnOnce(&mut ServiceSpec)) -> Change {
    match change {
        Change::Set(mut spec) => {
            with(Arc::make_mut(&mut spec));
            Change::Set(spec)
        }
        other @ Change::Remove(_) => other,
    }
}

/// Services over TCP and UDP in both families: at the node port, an external IP and a load balancer's address.
fn serve(node: &Member, backends: impl Fn(usize) -> Vec<Backend>, with: impl Fn(&mut ServiceSpec)) {
    let mut changes = Vec::new();
    for family in 0..2 {
        let frontends = [
            at(FrontendAddress::External(ip(EXTERNAL[family])), 80),
            at(FrontendAddress::Balancer(ip(BALANCER[family])), 80),
            node_port(PORT),
        ];
        for (name, protocol) in [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)] {
            let change = service(name, protocol, &frontends, &backends(family));
            changes.push(changed(change, |spec| {
                spec.name.v6 = family == 1;
                with(spec);
            }));
        }
    }
    node.datapath().apply_services(&changes).unwrap();
}

/// Where the services of a node are reached from outside.
fn places(cluster: &Cluster, node: usize, family: usize) -> [SocketAddr; 3] {
    let own = cluster.nodes[node].spec.addresses[family];
    for address in [EXTERNAL[family], BALANCER[family]] {
        let (flag, len) = if family == 0 { ("-4", 32) } else { ("-6", 128) };
        let via = own.to_string();
        cluster.outside.ip(&[flag, "route", "replace", &format!("{address}/{len}"), "via", &via]).unwrap();
    }
    [(own, PORT), (ip(EXTERNAL[family]), 80), (ip(BALANCER[family]), 80)].map(SocketAddr::from)
}

fn echo(stream: &mut TcpStream, len: usize) {
    let block: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&block).unwrap());
        let mut echo = vec![0; len];
        stream.read_exact(&mut echo).unwrap();
        assert!(echo == block, "the data differs");
    });
}

fn pods(cluster: &Cluster, node: usize) -> impl Fn(usize) -> Vec<Backend> + '_ {
    move |family| cluster.nodes[node].pods.iter().map(|pod| backend(pod.addresses[family], POD_PORT)).collect()
}

/// Every kind of address of a service, in both families and protocols, with its backend on node `to`.
fn all_reach_the_backend(routing: RoutingMode, to: usize) {
    let cluster = Cluster::new(&Setup { routing, ..Setup::default() });
    serve(&cluster.nodes[0], pods(&cluster, to), |_| {});
    for (family, outside) in [OUTSIDE, OUTSIDE_V6].into_iter().enumerate() {
        let own = cluster.nodes[0].spec.addresses[family];
        for place in places(&cluster, 0, family) {
            let (name, peer, mut stream) = call_at(&cluster.outside, place).unwrap();
            // A backend here sees the client; one elsewhere has to answer to the node.
            let seen = if to == 0 { outside } else { own };
            assert_eq!((name.as_str(), peer.ip()), (cluster.pod(to, 0).name.as_str(), seen), "{routing} {place}");
            assert_eq!(stream.peer_addr().unwrap(), place);
            echo(&mut stream, 1 << 20);
            let socket = datagrams_at(&cluster.outside, 0, place);
            let (name, peer) = ask(&socket).unwrap();
            assert_eq!((name.as_str(), peer.ip()), (cluster.pod(to, 0).name.as_str(), seen), "{routing} {place}");
            assert_eq!(ask(&socket).unwrap().1, peer);
        }
    }
    assert_eq!(cluster.nodes[0].counter(Metric::DropNoRoute), 0);
}

/// Services: should be able to create a functioning NodePort service.
#[test]
fn a_backend_of_this_node_sees_the_client() {
    all_reach_the_backend(Native, 0);
}

/// Services: should be able to create a functioning NodePort service.
#[test]
fn a_backend_of_another_node_sees_the_node() {
    all_reach_the_backend(Native, 1);
}

#[test]
fn a_backend_of_another_node_is_reached_through_the_tunnel() {
    all_reach_the_backend(Vxlan, 1);
}

/// A datagram there and back.
fn exchange(socket: &UdpSocket, len: usize) {
    let block: Vec<u8> = (0..len).map(|i| (i / 7) as u8).collect();
    socket.send(&block).unwrap();
    let mut echo = vec![0; 65_536];
    let got = socket.recv(&mut echo).unwrap();
    assert!(echo[..got] == *block, "{}: a datagram of {len} bytes changes", socket.peer_addr().unwrap());
}

#[test]
fn the_fragments_of_a_datagram_reach_one_backend() {
    let cluster = Cluster::new(&Setup { pods: 3, ..Setup::default() });
    for to in 0..2 {
        serve(&cluster.nodes[0], pods(&cluster, to), |_| {});
        let all = (0..2).flat_map(|family| places(&cluster, 0, family)).collect::<Vec<_>>();
        for place in all {
            let socket = datagrams_at(&cluster.outside, 0, place);
            for len in [1_200usize, 8_000, 60_000] {
                exchange(&socket, len);
            }
        }
    }
}

#[test]
fn ranges_of_callers_close_the_load_balancers_address_alone() {
    let cluster = Cluster::new(&Setup::default());
    let node = &cluster.nodes[0];
    let open = ["192.168.77.0/24", "fd00:77::/64"];
    let other = ["198.51.100.0/24", "2001:db8:ffff::/64"];
    for (ranges, reached) in [(open, true), (other, false)] {
        serve(node, pods(&cluster, 1), |spec| {
            spec.sources = vec![ranges[usize::from(spec.name.v6)].parse().unwrap()];
        });
        for family in 0..2 {
            let [own, external, balancer] = places(&cluster, 0, family);
            for place in [own, external] {
                call_at(&cluster.outside, place).unwrap();
            }
            let socket = datagrams_at(&cluster.outside, 0, balancer);
            let (sent, dropped) = moved(node, Metric::DropSource, || socket.send(b"who"));
            sent.unwrap();
            assert_eq!(dropped, u64::from(!reached), "{balancer}");
            if reached {
                call_at(&cluster.outside, balancer).unwrap();
            }
        }
    }
}

/// Services: should fallback to local terminating endpoints ... with externalTrafficPolicy=Local; what is left then is dropped.
#[test]
fn where_all_backends_are_elsewhere_packets_are_dropped_and_not_refused() {
    let cluster = Cluster::new(&Setup::default());
    let node = &cluster.nodes[0];
    serve(node, |_| Vec::new(), |spec| spec.elsewhere = true);
    for family in 0..2 {
        for place in places(&cluster, 0, family) {
            let socket = datagrams_at(&cluster.outside, 0, place);
            let (sent, dropped) = moved(node, Metric::DropNoLocalBackend, || socket.send(b"who"));
            sent.unwrap();
            assert_eq!(dropped, 1, "{place}");
        }
    }
    assert_eq!(node.counter(Metric::Rejected), 0);
}

/// Services: should be rejected when no endpoints exist.
#[test]
fn without_a_backend_the_client_is_refused_at_once() {
    let cluster = Cluster::new(&Setup::default());
    serve(&cluster.nodes[0], |_| Vec::new(), |_| {});
    for family in 0..2 {
        for place in places(&cluster, 0, family) {
            assert_eq!(call_at(&cluster.outside, place).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{place}");
            let socket = datagrams_at(&cluster.outside, 0, place);
            socket.send(b"who").unwrap();
            assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{place}");
        }
    }
}

#[test]
fn a_backends_refusal_reaches_the_client() {
    let cluster = Cluster::new(&Setup::default());
    for to in 0..2 {
        let closed = |family| vec![backend(cluster.pod(to, 0).addresses[family], 9)];
        serve(&cluster.nodes[0], closed, |_| {});
        for family in 0..2 {
            for place in places(&cluster, 0, family) {
                let error = call_at(&cluster.outside, place).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{place}");
                let socket = datagrams_at(&cluster.outside, 0, place);
                socket.send(b"who").unwrap();
                assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{place}");
            }
        }
    }
}

/// Services: should have session affinity work for NodePort service.
#[test]
fn a_client_with_affinity_stays_with_its_backend() {
    let cluster = Cluster::new(&Setup { pods: 4, ..Setup::default() });
    let everyone = |family| [pods(&cluster, 0)(family), pods(&cluster, 1)(family)].concat();
    serve(&cluster.nodes[0], everyone, |spec| spec.affinity_timeout_s = 60);
    for family in 0..2 {
        let place = places(&cluster, 0, family)[0];
        let names: BTreeSet<String> = (0..20).map(|_| call_at(&cluster.outside, place).unwrap().0).collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }
    serve(&cluster.nodes[0], everyone, |_| {});
    let place = places(&cluster, 0, 0)[0];
    let names: BTreeSet<String> = (0..60).map(|_| call_at(&cluster.outside, place).unwrap().0).collect();
    assert!(names.len() > 4, "{names:?}");
}

#[test]
fn without_a_free_port_a_flow_is_dropped_and_counted() {
    let cluster = Cluster::new(&Setup { ports: Some(10_000..=10_003), ..Setup::default() });
    let node = &cluster.nodes[0];
    serve(node, pods(&cluster, 1), |_| {});
    let place = places(&cluster, 0, 0)[0];
    let sockets: Vec<UdpSocket> = (0..4).map(|_| datagrams_at(&cluster.outside, 0, place)).collect();
    sockets.iter().for_each(|socket| drop(ask(socket).unwrap()));
    let fifth = datagrams_at(&cluster.outside, 0, place);
    let (sent, dropped) = moved(node, Metric::DropNatPorts, || fifth.send(b"who"));
    sent.unwrap();
    assert_eq!(dropped, 1);
    sockets.iter().for_each(|socket| drop(ask(socket).unwrap()));
}

/// The same client and port through two services of one backend: cilium's known collision.
#[test]
fn two_services_of_one_backend_are_told_apart() {
    let cluster = Cluster::new(&Setup::default());
    serve(&cluster.nodes[0], pods(&cluster, 0), |_| {});
    for family in 0..2 {
        let [own, external, balancer] = places(&cluster, 0, family);
        let any = if family == 0 { ip("0.0.0.0") } else { ip("::") };
        let socket = cluster.outside.enter(|| UdpSocket::bind((any, 40_000)).unwrap()).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(3))).unwrap();
        for _ in 0..3 {
            for place in [own, external, balancer] {
                socket.send_to(b"who", place).unwrap();
                assert_eq!(socket.recv_from(&mut [0; 64]).unwrap().1, place);
            }
        }
    }
}

#[test]
fn connections_to_other_nodes_outlive_the_daemon() {
    let cluster = Cluster::new(&Setup::default());
    let node = &cluster.nodes[0];
    serve(node, pods(&cluster, 1), |_| {});
    let place = places(&cluster, 0, 0)[0];
    let (_, _, mut stream) = call_at(&cluster.outside, place).unwrap();
    node.kill();
    call_at(&cluster.outside, place).unwrap();
    node.revive().unwrap();
    echo(&mut stream, 1_000);
    // No backend is listed any more: what is open stays open.
    serve(node, |_| Vec::new(), |_| {});
    echo(&mut stream, 1_000);
}
