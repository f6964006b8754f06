//! Pods' packets that leave the cluster.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, UdpSocket};

use skep_abi::Metric;
use skep_netmodel::RoutingMode::{Native, Vxlan};
use skep_netns::{Cluster, OUTSIDE, OUTSIDE_V6, Setup, ask, call, datagrams, moved};

const OUTSIDES: [IpAddr; 2] = [OUTSIDE, OUTSIDE_V6];

fn ping(cluster: &Cluster, to: IpAddr, size: &str) -> bool {
    let mut command = cluster.pod(0, 0).netns.command("busybox").unwrap();
    let family = if to.is_ipv4() { "-4" } else { "-6" };
    command
        .args(["ping", family, "-c", "2", "-i", "0.1", "-W", "3", "-s", size, &to.to_string()])
        .output()
        .unwrap()
        .status
        .success()
}

#[test]
fn the_outside_sees_the_node() {
    for routing in [Native, Vxlan] {
        let cluster = Cluster::new(&Setup { routing, ..Setup::default() });
        let (node, pod) = (&cluster.nodes[0], cluster.pod(0, 0));
        for (family, to) in OUTSIDES.into_iter().enumerate() {
            let (name, peer, mut stream) = call(&pod.netns, to).unwrap();
            assert_eq!((name.as_str(), peer.ip()), ("outside", node.spec.addresses[family]));
            assert!((10_000..=29_999).contains(&peer.port()), "{peer}");
            let block: Vec<u8> = (0..1 << 20).map(|i: u32| (i >> 3) as u8).collect();
            let mut writer = stream.try_clone().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| writer.write_all(&block).unwrap());
                let mut echo = vec![0; block.len()];
                stream.read_exact(&mut echo).unwrap();
                assert!(echo == block, "the data differs");
            });
            let socket = datagrams(&pod.netns, 0, to);
            let (name, peer) = ask(&socket).unwrap();
            assert_eq!((name.as_str(), peer.ip()), ("outside", node.spec.addresses[family]));
            // Both ways in fragments.
            let mut echo = vec![0; 65_536];
            socket.send(&block[..20_000]).unwrap();
            assert_eq!(socket.recv(&mut echo).unwrap(), 20_000);
            assert!(echo[..20_000] == block[..20_000], "the datagram differs");
            for size in ["56", "4000"] {
                assert!(ping(&cluster, to, size), "ping {to} with {size} bytes");
            }
        }
        assert!(node.counter(Metric::MasqueradeReverse) > 10);
    }
}

#[test]
fn many_flows_to_one_place_never_meet() {
    let cluster = Cluster::new(&Setup { pods: 3, ports: Some(10_000..=10_499), ..Setup::default() });
    for to in OUTSIDES {
        let mut sockets: Vec<(usize, UdpSocket)> = Vec::new();
        let mut ports = BTreeSet::new();
        for number in 0..100u16 {
            for pod in 0..3 {
                // All pods use the same ports.
                let socket = datagrams(&cluster.pod(0, pod).netns, 10_000 + number, to);
                let (_, peer) = ask(&socket).unwrap();
                assert!(ports.insert(peer.port()), "{peer} stands for two flows");
                sockets.push((pod, socket));
            }
        }
        assert!(ports.contains(&10_000), "a port of the range is kept");
        // Each still has its own.
        for (_, socket) in &sockets {
            assert!(ports.remove(&ask(socket).unwrap().1.port()));
        }
    }
}

#[test]
fn without_a_free_port_a_flow_is_dropped_and_counted() {
    let cluster = Cluster::new(&Setup { ports: Some(10_000..=10_003), ..Setup::default() });
    let (node, pod) = (&cluster.nodes[0], cluster.pod(0, 0));
    let sockets: Vec<UdpSocket> = (0..4).map(|_| datagrams(&pod.netns, 0, OUTSIDE)).collect();
    sockets.iter().for_each(|socket| drop(ask(socket).unwrap()));
    let fifth = datagrams(&pod.netns, 0, OUTSIDE);
    let (sent, dropped) = moved(node, Metric::DropNatPorts, || fifth.send(b"who"));
    sent.unwrap();
    assert_eq!(dropped, 1);
    // Towards another port of the outside, all are free again.
    let (_, dropped) = moved(node, Metric::DropNatPorts, || {
        let socket = datagrams(&pod.netns, 0, OUTSIDE);
        socket.connect((OUTSIDE, 9)).unwrap();
        socket.send(b"who").unwrap();
    });
    assert_eq!(dropped, 0);
    sockets.iter().for_each(|socket| drop(ask(socket).unwrap()));
}

#[test]
fn refusals_from_outside_reach_the_pod() {
    let cluster = Cluster::new(&Setup::default());
    for to in OUTSIDES {
        let socket = datagrams(&cluster.pod(0, 0).netns, 0, to);
        socket.connect((to, 9)).unwrap();
        socket.send(b"who").unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{to}");
        let connect = || std::net::TcpStream::connect((to, 9)).map(drop);
        let error = cluster.pod(0, 0).netns.enter(connect).unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{to}");
    }
}

#[test]
fn refusals_by_a_pod_reach_the_outside() {
    let cluster = Cluster::new(&Setup::default());
    for (family, to) in OUTSIDES.into_iter().enumerate() {
        let socket = datagrams(&cluster.pod(0, 0).netns, 0, to);
        let server = cluster.outside.enter(|| UdpSocket::bind((to, 9_000)).unwrap()).unwrap();
        server.set_read_timeout(Some(std::time::Duration::from_secs(3))).unwrap();
        socket.connect((to, 9_000)).unwrap();
        socket.send(b"who").unwrap();
        let (_, peer) = server.recv_from(&mut [0; 8]).unwrap();
        assert_eq!(peer.ip(), cluster.nodes[0].spec.addresses[family]);
        server.connect(peer).unwrap();
        drop(socket);
        server.send(b"late").unwrap();
        assert_eq!(server.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{to}");
    }
}

#[test]
fn listed_prefixes_see_the_pod_itself() {
    let listed = vec!["192.168.77.0/24".parse().unwrap(), "fd00:77::/64".parse().unwrap()];
    let cluster = Cluster::new(&Setup { listed, ..Setup::default() });
    cluster.outside.ip(&["route", "add", "10.42.1.0/24", "via", "192.168.77.11"]).unwrap();
    cluster.outside.ip(&["-6", "route", "add", "fd00:42:1::/64", "via", "fd00:77::11"]).unwrap();
    let pod = cluster.pod(0, 0);
    for (family, to) in OUTSIDES.into_iter().enumerate() {
        let (_, peer, _) = call(&pod.netns, to).unwrap();
        assert_eq!(peer.ip(), pod.addresses[family]);
        let (name, peer, _) = call(&cluster.outside, pod.addresses[family]).unwrap();
        assert_eq!((name.as_str(), peer.ip()), (pod.name.as_str(), to));
    }
}

#[test]
fn whoever_reaches_a_pod_by_its_address_is_answered_from_there() {
    let cluster = Cluster::new(&Setup::default());
    cluster.outside.ip(&["route", "add", "10.42.1.0/24", "via", "192.168.77.11"]).unwrap();
    cluster.outside.ip(&["-6", "route", "add", "fd00:42:1::/64", "via", "fd00:77::11"]).unwrap();
    let pod = cluster.pod(0, 0);
    for address in pod.addresses {
        let (name, _, mut stream) = call(&cluster.outside, address).unwrap();
        assert_eq!(name, pod.name);
        stream.write_all(b"ping").unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
    }
}

#[test]
fn masqueraded_flows_outlive_the_daemon() {
    let cluster = Cluster::new(&Setup::default());
    let node = &cluster.nodes[0];
    let (_, peer, mut stream) = call(&cluster.pod(0, 0).netns, OUTSIDE).unwrap();
    let socket = datagrams(&cluster.pod(0, 0).netns, 0, OUTSIDE_V6);
    let (_, udp_peer) = ask(&socket).unwrap();
    node.kill();
    call(&cluster.pod(0, 0).netns, OUTSIDE_V6).unwrap();
    node.revive().unwrap();
    stream.write_all(b"ping").unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    assert_eq!(ask(&socket).unwrap().1, udp_peer);
    assert_eq!(peer.ip(), node.spec.addresses[0]);
}
