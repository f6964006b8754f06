//! Node ports from outside the node.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use skep_abi::Metric;
use skep_netmodel::{Backend, Protocol};
use skep_netns::{CLIENT, NODE, Server, World, ask_udp, backend, call_tcp, counter, node_port, service, udp_socket};

const AT: SocketAddrV4 = SocketAddrV4::new(NODE, 30_080);

fn serve(world: &World, backends: &[Backend]) {
    let changes = [
        service("tcp", Protocol::Tcp, &[node_port(30_080)], backends),
        service("udp", Protocol::Udp, &[node_port(30_080)], backends),
    ];
    world.datapath().apply_services(&changes).unwrap();
}

#[test]
fn connections_spread_and_pods_see_the_client() {
    let world = World::new(3);
    serve(&world, &world.backends());
    world.outside(|| {
        let mut hits: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..90 {
            let (name, peer, mut stream) = call_tcp(&world.client, AT).unwrap();
            assert_eq!(peer.ip(), IpAddr::V4(CLIENT));
            assert_eq!(stream.peer_addr().unwrap(), SocketAddr::V4(AT));
            stream.write_all(b"ping").unwrap();
            let mut echo = [0; 4];
            stream.read_exact(&mut echo).unwrap();
            *hits.entry(name).or_default() += 1;
        }
        assert_eq!(hits.len(), 3, "{hits:?}");
    });
    assert!(counter(&world, Metric::NodePortForward) >= 90 * 3);
    assert!(counter(&world, Metric::NodePortReverse) >= 90 * 3);
}

#[test]
fn bulk_data_survives_translation() {
    let world = World::new(1);
    serve(&world, &world.backends());
    world.outside(|| {
        let (_, _, mut stream) = call_tcp(&world.client, AT).unwrap();
        let block: Vec<u8> = (0..60_000u32).map(|i| i as u8).collect();
        for _ in 0..20 {
            stream.write_all(&block).unwrap();
            let mut echo = vec![0; block.len()];
            stream.read_exact(&mut echo).unwrap();
            assert_eq!(echo, block);
        }
    });
}

#[test]
fn a_udp_flow_keeps_its_backend_until_that_is_gone() {
    let world = World::new(3);
    serve(&world, &world.backends());
    world.outside(|| {
        let mut hits = BTreeMap::new();
        for _ in 0..40 {
            let socket = udp_socket(&world.client);
            let (name, peer, source) = ask_udp(&socket, AT).unwrap();
            assert_eq!((peer.ip(), source), (IpAddr::V4(CLIENT), SocketAddr::V4(AT)));
            assert_eq!(ask_udp(&socket, AT).unwrap().0, name);
            *hits.entry(name).or_insert(0) += 1;
        }
        assert_eq!(hits.len(), 3, "{hits:?}");
        let socket = udp_socket(&world.client);
        let (name, _, _) = ask_udp(&socket, AT).unwrap();
        let others: Vec<Backend> =
            world.pods.iter().filter(|pod| pod.name != name).map(|pod| backend(pod.address, 8080)).collect();
        serve(&world, &others);
        let (next, _, source) = ask_udp(&socket, AT).unwrap();
        assert_ne!(next, name);
        assert_eq!(source, SocketAddr::V4(AT));
        assert_eq!(ask_udp(&socket, AT).unwrap().0, next);
    });
}

#[test]
fn an_open_connection_outlives_its_backends_listing() {
    let world = World::new(2);
    serve(&world, &world.backends()[..1]);
    world.outside(|| {
        let (_, _, mut stream) = call_tcp(&world.client, AT).unwrap();
        serve(&world, &world.backends()[1..]);
        stream.write_all(b"ping").unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(call_tcp(&world.client, AT).unwrap().0, "pod1");
    });
}

#[test]
fn a_backend_in_the_nodes_own_network_answers() {
    let world = World::new(0);
    let _server = Server::start(&world.node, "node", 9000);
    serve(&world, &[backend(NODE, 9000)]);
    world.outside(|| {
        assert_eq!(call_tcp(&world.client, AT).unwrap().0, "node");
        let (name, _, source) = ask_udp(&udp_socket(&world.client), AT).unwrap();
        assert_eq!((name.as_str(), source), ("node", SocketAddr::V4(AT)));
    });
}

#[test]
fn without_a_backend_or_a_service_the_client_is_refused_at_once() {
    let world = World::new(0);
    serve(&world, &[]);
    world.outside(|| {
        for port in [30_080, 30_081] {
            let to = SocketAddrV4::new(NODE, port);
            assert_eq!(call_tcp(&world.client, to).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            let socket = udp_socket(&world.client);
            socket.connect(to).unwrap();
            socket.send(b"who").unwrap();
            assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
    });
}
