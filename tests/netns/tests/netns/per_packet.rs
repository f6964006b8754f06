//! Pods whose sockets no hook sees, as virtual machines and sandboxes with a stack of their own: their packets are translated.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};

use skep_abi::Metric;
use skep_netmodel::RoutingMode::{self, Native, Vxlan};
use skep_netmodel::{Backend, Protocol};
use skep_netns::{
    Cluster, POD_PORT, Setup, ask, backend, call_at, cluster_ip, datagrams_at, moved, node_port, service,
};
use skep_testkit::Netns;

const VIPS: [&str; 2] = ["10.96.0.10", "fd00:96::10"];
const PORT: u16 = 30_080;

fn vip(family: usize, port: u16) -> SocketAddr {
    SocketAddr::new(VIPS[family].parse().unwrap(), port)
}

/// Services in both families and protocols on every node.
fn serve(cluster: &Cluster, backends: impl Fn(usize) -> Vec<Backend>) {
    let mut changes = Vec::new();
    for family in 0..2 {
        let frontends = [cluster_ip(vip(family, 80).ip(), 80), node_port(PORT)];
        for (name, protocol) in [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)] {
            let skep_netmodel::Change::Set(mut spec) = service(name, protocol, &frontends, &backends(family)) else {
                panic!("a service is set")
            };
            std::sync::Arc::make_mut(&mut spec).name.v6 = family == 1;
            changes.push(skep_netmodel::Change::Set(spec));
        }
    }
    for node in &cluster.nodes {
        node.datapath().apply_services(&changes).unwrap();
    }
}

fn ping(from: &Netns, to: IpAddr) -> bool {
    let family = if to.is_ipv4() { "-4" } else { "-6" };
    let mut command = from.command("busybox").unwrap();
    command
        .args(["ping", family, "-c", "2", "-i", "0.1", "-W", "3", &to.to_string()])
        .output()
        .unwrap()
        .status
        .success()
}

/// From pod 0 of node 0 to the service's address; what the backend sees of the caller.
fn reach(routing: RoutingMode, node: usize, pod: usize) {
    let cluster = Cluster::new(&Setup { routing, pods: 2, ..Setup::default() });
    let (caller, target) = (cluster.pod(0, 0), cluster.pod(node, pod));
    serve(&cluster, |family| vec![backend(target.addresses[family], POD_PORT)]);
    let itself = caller.name == target.name;
    for family in 0..2 {
        let to = vip(family, 80);
        // Services: should preserve source pod IP for traffic thru service cluster IP. A pod cannot answer to itself by its own address.
        let seen = if itself { cluster.nodes[0].spec.addresses[family] } else { caller.addresses[family] };
        let (name, peer, mut stream) = call_at(&caller.netns, to).unwrap();
        assert_eq!((name.as_str(), peer.ip()), (target.name.as_str(), seen), "{to}");
        assert_eq!(stream.peer_addr().unwrap(), to);
        let block = vec![7; 300_000];
        let mut writer = stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&block).unwrap());
            stream.read_exact(&mut vec![0; block.len()]).unwrap();
        });
        let (name, peer) = ask(&datagrams_at(&caller.netns, 0, to)).unwrap();
        assert_eq!((name.as_str(), peer.ip()), (target.name.as_str(), seen), "{to}");
        for node in &cluster.nodes {
            let to = SocketAddr::new(node.spec.addresses[family], PORT);
            assert_eq!(call_at(&caller.netns, to).unwrap().0, target.name, "{to}");
        }
    }
    assert!(cluster.nodes[0].counter(Metric::ServiceForward) > 10);
}

#[test]
fn a_backend_of_this_node_is_reached() {
    reach(Native, 0, 1);
}

#[test]
fn a_backend_of_another_node_is_reached() {
    reach(Native, 1, 0);
}

#[test]
fn a_backend_of_another_node_is_reached_through_the_tunnel() {
    reach(Vxlan, 1, 0);
}

/// Services: should be able to connect to itself through its own service (hairpin).
#[test]
fn a_pod_reaches_itself_through_its_service() {
    reach(Native, 0, 0);
}

/// Services: should be rejected when no endpoints exist.
#[test]
fn without_a_backend_and_at_other_ports_it_is_refused_at_once() {
    let cluster = Cluster::new(&Setup::default());
    serve(&cluster, |_| Vec::new());
    let pod = cluster.pod(0, 0);
    for family in 0..2 {
        for port in [80, 81] {
            let to = vip(family, port);
            let refused = |error: std::io::Error| assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{to}");
            let (_, leaked) = moved(&cluster.nodes[0], Metric::MasqueradeForward, || {
                refused(call_at(&pod.netns, to).unwrap_err());
                let socket = datagrams_at(&pod.netns, 0, to);
                socket.send(b"who").unwrap();
                refused(socket.recv(&mut [0; 8]).unwrap_err());
            });
            assert_eq!(leaked, 0);
        }
    }
}

#[test]
fn a_services_address_answers_ping() {
    let cluster = Cluster::new(&Setup::default());
    serve(&cluster, |_| Vec::new());
    for family in 0..2 {
        assert!(ping(&cluster.pod(0, 0).netns, vip(family, 0).ip()));
    }
    assert_eq!(cluster.nodes[0].counter(Metric::Echo), 4);
}
