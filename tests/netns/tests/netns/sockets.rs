//! Services at the socket: ClusterIPs and node ports, TCP and UDP, from pods and from the node.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::Duration;

use skep_abi::Metric;
use skep_netmodel::{Backend, BackendState, Protocol};
use skep_netns::{NODE, POD_PORT, World, ask_udp, call_tcp, cluster_ip, counter, node_port, service, udp_socket};

const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 80);
const OTHER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 11), 80);

fn serve(world: &World, name: &str, protocol: Protocol, at: SocketAddrV4, backends: &[Backend]) {
    let change = service(name, protocol, &[cluster_ip(*at.ip(), at.port())], backends);
    world.datapath().apply_services(&[change]).unwrap();
}

#[test]
fn tcp_connections_spread_over_the_backends_and_show_the_service() {
    let world = World::new(4);
    serve(&world, "web", Protocol::Tcp, VIP, &world.backends());
    let mut hits: BTreeMap<String, u32> = BTreeMap::new();
    for from in [&world.pods[0].netns, &world.node] {
        for _ in 0..100 {
            let (name, _, stream) = call_tcp(from, VIP).unwrap();
            assert_eq!(stream.peer_addr().unwrap(), SocketAddr::V4(VIP));
            *hits.entry(name).or_default() += 1;
        }
    }
    assert_eq!(hits.len(), 4, "{hits:?}");
    assert!(hits.values().all(|&n| n >= 20), "{hits:?}");
}

#[test]
fn a_pod_sees_the_callers_own_address() {
    let world = World::new(2);
    serve(&world, "web", Protocol::Tcp, VIP, &world.backends()[1..]);
    let (name, peer, stream) = call_tcp(&world.pods[0].netns, VIP).unwrap();
    assert_eq!((name.as_str(), peer), ("pod1", stream.local_addr().unwrap()));
    assert_eq!(peer.ip(), world.pods[0].address);
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let world = World::new(1);
    serve(&world, "web", Protocol::Tcp, VIP, &world.backends());
    assert_eq!(call_tcp(&world.pods[0].netns, VIP).unwrap().0, "pod0");
}

#[test]
fn answers_on_an_unconnected_socket_come_from_the_service() {
    let world = World::new(4);
    serve(&world, "dns", Protocol::Udp, VIP, &world.backends());
    serve(&world, "ntp", Protocol::Udp, OTHER, &world.backends());
    let mut hits = BTreeMap::new();
    for _ in 0..60 {
        let socket = udp_socket(&world.pods[0].netns);
        let (name, _, source) = ask_udp(&socket, VIP).unwrap();
        assert_eq!(source, SocketAddr::V4(VIP));
        // As with connection tracking, a flow stays where it began.
        assert_eq!(ask_udp(&socket, VIP).unwrap().0, name);
        let (_, _, source) = ask_udp(&socket, OTHER).unwrap();
        assert_eq!(source, SocketAddr::V4(OTHER));
        let pod = SocketAddrV4::new(world.pods[1].address, POD_PORT);
        if name != "pod1" {
            let own = udp_socket(&world.pods[0].netns);
            assert_eq!(ask_udp(&own, pod).unwrap().2, SocketAddr::V4(pod));
        }
        *hits.entry(name).or_insert(0) += 1;
    }
    assert_eq!(hits.len(), 4, "{hits:?}");
}

#[test]
fn late_answers_of_two_services_keep_their_names() {
    let world = World::new(2);
    serve(&world, "a", Protocol::Udp, VIP, &world.backends()[..1]);
    serve(&world, "b", Protocol::Udp, OTHER, &world.backends()[1..]);
    let socket = udp_socket(&world.node);
    socket.send_to(b"who", VIP).unwrap();
    socket.send_to(b"who", OTHER).unwrap();
    let mut sources = [SocketAddr::V4(VIP); 2].map(|_| socket.recv_from(&mut [0; 64]).unwrap().1);
    sources.sort_unstable();
    assert_eq!(sources, [SocketAddr::V4(VIP), SocketAddr::V4(OTHER)]);
}

#[test]
fn a_connected_udp_socket_talks_to_the_service() {
    let world = World::new(3);
    serve(&world, "dns", Protocol::Udp, VIP, &world.backends());
    let socket = udp_socket(&world.pods[0].netns);
    socket.connect(VIP).unwrap();
    assert_eq!(socket.peer_addr().unwrap(), SocketAddr::V4(VIP));
    socket.send(b"who").unwrap();
    let mut buffer = [0; 64];
    assert_eq!(socket.recv_from(&mut buffer).unwrap().1, SocketAddr::V4(VIP));
    // Connected to a pod next, it must not show the service any more.
    let pod = SocketAddrV4::new(world.pods[1].address, POD_PORT);
    socket.connect(pod).unwrap();
    assert_eq!(socket.peer_addr().unwrap(), SocketAddr::V4(pod));
}

/// Conntrack: should be able to preserve UDP traffic when server pod cycles for a ClusterIP service.
#[test]
fn a_socket_to_a_backend_that_is_gone_is_destroyed_and_no_other() {
    let world = World::new(3);
    serve(&world, "dns", Protocol::Udp, VIP, &world.backends()[..1]);
    serve(&world, "ntp", Protocol::Udp, OTHER, &world.backends()[..1]);
    let connected = |to: SocketAddrV4| {
        let socket = udp_socket(&world.pods[2].netns);
        socket.connect(to).unwrap();
        socket.send(b"who").unwrap();
        socket.recv(&mut [0; 64]).unwrap();
        socket
    };
    let direct = SocketAddrV4::new(world.pods[0].address, POD_PORT);
    let (stale, others) = (connected(VIP), [connected(OTHER), connected(direct)]);
    assert!(world.datapath().take_gone().is_empty());
    serve(&world, "dns", Protocol::Udp, VIP, &world.backends()[1..2]);
    let gone = world.datapath().take_gone();
    assert_eq!(gone.len(), 1);
    let destroy = |netns: &skep_testkit::Netns| {
        netns.enter(|| world.datapath().inspect().destroy_stale_sockets(&gone).unwrap()).unwrap()
    };
    assert_eq!((destroy(&world.node), destroy(&world.pods[2].netns)), (0, 1));
    assert_eq!(stale.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
    // The program connects anew, and is answered.
    let (name, ..) = ask_udp(&udp_socket(&world.pods[2].netns), VIP).unwrap();
    assert_eq!(name, "pod1");
    for socket in &others {
        socket.send(b"who").unwrap();
        socket.recv(&mut [0; 64]).unwrap();
    }
}

#[test]
fn protocols_do_not_mix() {
    let world = World::new(2);
    serve(&world, "tcp", Protocol::Tcp, VIP, &world.backends()[..1]);
    serve(&world, "udp", Protocol::Udp, VIP, &world.backends()[1..]);
    assert_eq!(call_tcp(&world.node, VIP).unwrap().0, "pod0");
    assert_eq!(ask_udp(&udp_socket(&world.node), VIP).unwrap().0, "pod1");
}

#[test]
fn without_a_backend_it_is_refused_at_once() {
    let world = World::new(1);
    serve(&world, "tcp", Protocol::Tcp, VIP, &[]);
    serve(&world, "udp", Protocol::Udp, VIP, &[]);
    let before = counter(&world, Metric::DropNoBackend);
    for from in [&world.pods[0].netns, &world.node] {
        assert_eq!(call_tcp(from, VIP).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(udp_socket(from).send_to(b"who", VIP).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(udp_socket(from).connect(VIP).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    assert_eq!(counter(&world, Metric::DropNoBackend) - before, 6);
}

#[test]
fn terminating_backends_serve_only_while_no_other_does() {
    let world = World::new(2);
    let mut backends = world.backends();
    backends[0].state = BackendState::Terminating;
    serve(&world, "web", Protocol::Tcp, VIP, &backends);
    for _ in 0..20 {
        assert_eq!(call_tcp(&world.node, VIP).unwrap().0, "pod1");
    }
    serve(&world, "web", Protocol::Tcp, VIP, &backends[..1]);
    assert_eq!(call_tcp(&world.node, VIP).unwrap().0, "pod0");
}

#[test]
fn node_ports_answer_at_the_nodes_addresses_and_its_loopback() {
    let world = World::new(2);
    let change = service("web", Protocol::Tcp, &[node_port(30_080)], &world.backends());
    world.datapath().apply_services(&[change]).unwrap();
    let at = |ip| SocketAddrV4::new(ip, 30_080);
    call_tcp(&world.node, at(NODE)).unwrap();
    call_tcp(&world.node, at(Ipv4Addr::LOCALHOST)).unwrap();
    call_tcp(&world.pods[0].netns, at(NODE)).unwrap();
    // Inside a pod, loopback is the pod's own.
    let error = call_tcp(&world.pods[0].netns, at(Ipv4Addr::LOCALHOST)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn ipv6_sockets_reach_services_by_mapped_addresses() {
    let world = World::new(2);
    serve(&world, "tcp", Protocol::Tcp, VIP, &world.backends());
    serve(&world, "udp", Protocol::Udp, VIP, &world.backends());
    let mapped = SocketAddr::from((VIP.ip().to_ipv6_mapped(), VIP.port()));
    let (stream, unconnected, connected) = world.pods[0]
        .netns
        .enter(|| {
            let bind = || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
            (TcpStream::connect(mapped).unwrap(), bind(), bind())
        })
        .unwrap();
    assert_eq!(stream.peer_addr().unwrap(), mapped);
    for socket in [&unconnected, &connected] {
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    }
    unconnected.send_to(b"who", mapped).unwrap();
    assert_eq!(unconnected.recv_from(&mut [0; 64]).unwrap().1, mapped);
    connected.connect(mapped).unwrap();
    assert_eq!(connected.peer_addr().unwrap(), mapped);
    connected.send(b"who").unwrap();
    assert_eq!(connected.recv_from(&mut [0; 64]).unwrap().1, mapped);
}
