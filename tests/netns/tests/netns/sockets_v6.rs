//! IPv6 sockets of pods and of the node itself, translated where they are made.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use skep_abi::Metric;
use skep_netmodel::{Backend, Protocol};
use skep_netns::{Cluster, POD_PORT, Setup, backend, call_at, cluster_ip, datagrams_at, moved, node_port, service};

const VIP: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10)), 80);
const PORT: u16 = 30_080;

fn serve(cluster: &Cluster, backends: &[Backend]) {
    let change = |name, protocol| {
        let skep_netmodel::Change::Set(mut spec) =
            service(name, protocol, &[cluster_ip(VIP.ip(), VIP.port()), node_port(PORT)], backends)
        else {
            panic!("a service is set")
        };
        std::sync::Arc::make_mut(&mut spec).name.v6 = true;
        skep_netmodel::Change::Set(spec)
    };
    let changes = [change("tcp", Protocol::Tcp), change("udp", Protocol::Udp)];
    cluster.nodes[0].datapath().apply_services(&changes).unwrap();
}

fn everyone(cluster: &Cluster) -> Vec<Backend> {
    let pods = cluster.nodes.iter().flat_map(|node| &node.pods);
    pods.map(|pod| backend(pod.addresses[1], POD_PORT)).collect()
}

/// Granular Checks: Services should function for pod-Service and node-Service, http and udp, over IPv6.
#[test]
fn connections_and_datagrams_spread_over_all_backends() {
    let cluster = Cluster::new(&Setup { pods: 2, ..Setup::default() });
    serve(&cluster, &everyone(&cluster));
    let node = &cluster.nodes[0];
    node.inside(|| {
        for from in [&cluster.pod(0, 0).netns, &*node.netns] {
            let mut names = BTreeSet::new();
            for _ in 0..60 {
                let (name, _, stream) = call_at(from, VIP).unwrap();
                assert_eq!(stream.peer_addr().unwrap(), VIP);
                names.insert(name);
            }
            assert_eq!(names.len(), 4, "{names:?}");
            let connected = datagrams_at(from, 0, VIP);
            assert_eq!(connected.peer_addr().unwrap(), VIP);
            connected.send(b"who").unwrap();
            assert_eq!(connected.recv_from(&mut [0; 64]).unwrap().1, VIP);
            let socket = from.enter(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap()).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
            for _ in 0..3 {
                socket.send_to(b"who", VIP).unwrap();
                assert_eq!(socket.recv_from(&mut [0; 64]).unwrap().1, VIP);
            }
        }
    });
    assert_eq!(node.counter(Metric::ServiceForward), 0, "no packet was translated");
    assert!(node.counter(Metric::SendMsg) >= 6);
}

#[test]
fn node_ports_answer_at_the_nodes_addresses_and_its_loopback() {
    let cluster = Cluster::new(&Setup::default());
    serve(&cluster, &everyone(&cluster));
    let node = &cluster.nodes[0];
    node.inside(|| {
        for address in [node.spec.addresses[1], Ipv6Addr::LOCALHOST.into()] {
            call_at(&node.netns, (address, PORT).into()).unwrap();
        }
        let pod = &cluster.pod(0, 0).netns;
        call_at(pod, (node.spec.addresses[1], PORT).into()).unwrap();
        // Inside a pod, loopback is the pod's own.
        let error = call_at(pod, (Ipv6Addr::LOCALHOST, PORT).into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let taken = node.netns.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))).unwrap();
        assert_eq!(taken.unwrap_err().kind(), ErrorKind::AddrInUse);
        node.netns.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT + 1))).unwrap().unwrap();
        pod.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))).unwrap().unwrap();
    });
}

/// Services: should be rejected when no endpoints exist.
#[test]
fn without_a_backend_and_at_other_ports_it_is_refused_at_once() {
    let cluster = Cluster::new(&Setup::default());
    serve(&cluster, &[]);
    let node = &cluster.nodes[0];
    let other = SocketAddr::new(VIP.ip(), 81);
    for (to, metric) in [(VIP, Metric::DropNoBackend), (other, Metric::Rejected)] {
        let ((), refused) = moved(node, metric, || {
            node.inside(|| {
                for from in [&cluster.pod(0, 0).netns, &*node.netns] {
                    assert_eq!(call_at(from, to).unwrap_err().kind(), ErrorKind::ConnectionRefused);
                    let socket = from.enter(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap()).unwrap();
                    assert_eq!(socket.send_to(b"who", to).unwrap_err().kind(), ErrorKind::ConnectionRefused);
                }
            });
        });
        assert_eq!(refused, 4);
    }
}
