//! Ports of the node that lead to one of its pods.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use skep_netmodel::{Frontend, FrontendAddress, Protocol, Scope};
use skep_netns::{Cluster, OUTSIDE, OUTSIDE_V6, POD_PORT, Setup, ask, backend, call_at, datagrams_at, service};

/// Outside of the range of node ports.
const PORT: u16 = 9_053;
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// A pod's port of the node, over TCP and UDP and in both families: for callers outside, on the node, in other pods and in the pod
/// itself. A pod's own loopback stays its own.
#[test]
fn a_nodes_port_leads_to_its_pod() {
    let cluster = Cluster::new(&Setup { pods: 2, ..Setup::default() });
    let (node, pod, other) = (&cluster.nodes[0], cluster.pod(0, 0), cluster.pod(0, 1));
    for family in 0..2 {
        let own = node.spec.addresses[family];
        let frontends = [own, LOOPBACK[family]].map(|ip| Frontend {
            address: FrontendAddress::External(ip),
            port: PORT,
            scope: Scope::External,
        });
        let backends = [backend(pod.addresses[family], POD_PORT)];
        let changes = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)]
            .map(|(name, protocol)| service(&format!("pod/{name}"), protocol, &frontends, &backends));
        node.datapath().apply_services(&changes).unwrap();

        let at = SocketAddr::new(own, PORT);
        let (name, peer, stream) = call_at(&cluster.outside, at).unwrap();
        assert_eq!((name.as_str(), peer.ip()), (pod.name.as_str(), [OUTSIDE, OUTSIDE_V6][family]));
        assert_eq!(stream.peer_addr().unwrap(), at);
        assert_eq!(ask(&datagrams_at(&cluster.outside, 0, at)).unwrap().0, pod.name);
        // Of another node, whose sockets know nothing of this node's ports.
        assert_eq!(call_at(&cluster.pod(1, 0).netns, at).unwrap().0, pod.name);
        node.inside(|| {
            for caller in [&node.netns, &other.netns, &pod.netns] {
                assert_eq!(call_at(caller, at).unwrap().0, pod.name);
                assert_eq!(ask(&datagrams_at(caller, 0, at)).unwrap().0, pod.name);
            }
            let loopback = SocketAddr::new(LOOPBACK[family], PORT);
            assert_eq!(call_at(&node.netns, loopback).unwrap().0, pod.name);
            assert_eq!(ask(&datagrams_at(&node.netns, 0, loopback)).unwrap().0, pod.name);
            assert_eq!(call_at(&other.netns, loopback).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        });
    }
    let rows = node.datapath().inspect().services().unwrap();
    assert!(rows.iter().all(|row| row.kind == "HostPort"), "{rows:?}");
}
