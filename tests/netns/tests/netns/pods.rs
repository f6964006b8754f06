//! Pod to pod, and pod to node, by their own addresses.

use std::net::{IpAddr, SocketAddrV4};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Ipv4RecvErr;
use skep_abi::Metric;
use skep_netns::{NODE, POD_PORT, Server, World, ask_udp, call_tcp, counter, udp_socket};

#[test]
fn pods_of_a_node_reach_each_other_past_its_stack() {
    let world = World::new(2);
    let to = SocketAddrV4::new(world.pods[1].address, POD_PORT);
    let before = counter(&world, Metric::LocalDelivery);
    let (name, peer, _) = call_tcp(&world.pods[0].netns, to).unwrap();
    assert_eq!((name.as_str(), peer.ip()), ("pod1", IpAddr::V4(world.pods[0].address)));
    assert_eq!(ask_udp(&udp_socket(&world.pods[0].netns), to).unwrap().0, "pod1");
    assert!(counter(&world, Metric::LocalDelivery) - before >= 6, "packets went through the stack");
}

#[test]
fn pods_and_their_node_reach_each_other() {
    let world = World::new(1);
    assert_eq!(call_tcp(&world.node, SocketAddrV4::new(world.pods[0].address, POD_PORT)).unwrap().0, "pod0");
    let _server = Server::start(&world.node, "node", 9000);
    let (name, peer, _) = call_tcp(&world.pods[0].netns, SocketAddrV4::new(NODE, 9000)).unwrap();
    assert_eq!((name.as_str(), peer.ip()), ("node", IpAddr::V4(world.pods[0].address)));
}

#[test]
fn a_packet_without_a_hop_left_is_answered_by_the_node() {
    let world = World::new(2);
    let socket = udp_socket(&world.pods[0].netns);
    // An ICMP error of this kind reaches an application that asks for it.
    setsockopt(&socket, Ipv4RecvErr, &true).unwrap();
    socket.set_ttl(1).unwrap();
    let to = SocketAddrV4::new(world.pods[1].address, POD_PORT);
    socket.connect(to).unwrap();
    socket.send(b"who").unwrap();
    let error = socket.recv(&mut [0; 64]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EHOSTUNREACH), "{error}");
    socket.set_ttl(2).unwrap();
    socket.send(b"who").unwrap();
    socket.recv(&mut [0; 64]).unwrap();
}
