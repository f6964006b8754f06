//! Pods of several nodes, both families, natively and through the tunnel.

use std::io::{Read as _, Write as _};
use std::net::IpAddr;

use skep_abi::Metric;
use skep_netmodel::RoutingMode::{self, Native, Vxlan};
use skep_netns::{Cluster, POD_PORT, Server, Setup, ask, call, datagrams, moved};

fn cluster(routing: RoutingMode) -> Cluster {
    Cluster::new(&Setup { routing, pods: 2, ..Setup::default() })
}

/// Every way between pods, with the addresses as they are.
fn all_reach_all(cluster: &Cluster) {
    for from in cluster.nodes.iter().flat_map(|node| &node.pods) {
        for to in cluster.nodes.iter().flat_map(|node| &node.pods) {
            for family in 0..2 {
                let (own, address) = (from.addresses[family], to.addresses[family]);
                let (name, peer, _) = call(&from.netns, address).unwrap();
                assert_eq!((name.as_str(), peer.ip()), (to.name.as_str(), own));
                let (name, peer) = ask(&datagrams(&from.netns, 0, address)).unwrap();
                assert_eq!((name.as_str(), peer.ip()), (to.name.as_str(), own));
            }
        }
    }
}

fn past_the_stacks(routing: RoutingMode, sent: Metric) {
    let cluster = cluster(routing);
    all_reach_all(&cluster);
    let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);
    for address in cluster.pod(1, 0).addresses {
        let socket = datagrams(&cluster.pod(0, 0).netns, 0, address);
        let rises = |node, metric| moved(node, metric, || (0..10).for_each(|_| drop(ask(&socket).unwrap()))).1;
        assert_eq!((rises(a, sent), rises(b, sent)), (10, 10), "both directions leave past the stack");
        assert_eq!((rises(a, Metric::RemoteDelivery), rises(b, Metric::RemoteDelivery)), (10, 10));
        assert_eq!((rises(a, Metric::PodToStack), rises(b, Metric::PodToStack)), (0, 0));
    }
    // Pods say to multicast routers which groups they are in, and nobody listens.
    let expected = |metric: Metric| !metric.is_drop() || metric == Metric::DropNotUnicast;
    let counters = a.datapath().inspect().counters().unwrap();
    assert!(counters.iter().all(|row| expected(row.metric) || row.packets == 0), "{counters:?}");
}

#[test]
fn pods_of_all_nodes_reach_each_other_natively() {
    past_the_stacks(Native, Metric::PodToLink);
}

#[test]
fn pods_of_all_nodes_reach_each_other_through_the_tunnel() {
    past_the_stacks(Vxlan, Metric::PodToTunnel);
}

#[test]
fn pods_of_all_nodes_reach_each_other_through_a_tunnel_over_ipv6() {
    let cluster = Cluster::new(&Setup { routing: Vxlan, over_ipv6: true, ..Setup::default() });
    let (node, to) = (&cluster.nodes[0], cluster.pod(1, 0));
    let row = node.datapath().inspect().remote(to.addresses[0]).unwrap().unwrap();
    assert_eq!((row.node, row.tunnel), (Some(cluster.nodes[1].spec.addresses[0]), true));
    assert!(row.node.unwrap().is_ipv6());
    assert_eq!(node.network.mtu(), 1430);
    all_reach_all(&cluster);
    call(&node.netns, to.addresses[0]).unwrap();
    let block = vec![7; 300_000];
    let (_, _, mut stream) = call(&cluster.pod(0, 0).netns, to.addresses[1]).unwrap();
    let mut writer = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&block).unwrap());
        stream.read_exact(&mut vec![0; block.len()]).unwrap();
    });
    assert_eq!(node.counter(Metric::PodToStack), 0);
}

/// Nodes and pods of other nodes, in both directions, without translation.
fn nodes_and_pods(routing: RoutingMode) {
    let cluster = cluster(routing);
    let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);
    let _server = Server::start_dual(&b.netns, "node2", POD_PORT);
    let pod = cluster.pod(0, 0);
    for family in 0..2 {
        let (name, peer, _) = call(&a.netns, pod.addresses[family]).unwrap();
        assert_eq!((name.as_str(), peer.ip()), (pod.name.as_str(), a.spec.addresses[family]), "a node to its own pod");
        let (name, peer, _) = call(&b.netns, pod.addresses[family]).unwrap();
        assert_eq!(
            (name.as_str(), peer.ip()),
            (pod.name.as_str(), b.spec.addresses[family]),
            "a node to another's pod"
        );
        let (name, peer, _) = call(&pod.netns, b.spec.addresses[family]).unwrap();
        assert_eq!((name.as_str(), peer.ip()), ("node2", pod.addresses[family]), "a pod to another node");
        let (name, peer, _) = call(&cluster.pod(1, 0).netns, b.spec.addresses[family]).unwrap();
        assert_eq!((name.as_str(), peer.ip()), ("node2", cluster.pod(1, 0).addresses[family]), "a pod to its own node");
    }
    assert_eq!(a.counter(Metric::MasqueradeForward) + b.counter(Metric::MasqueradeForward), 0);
}

#[test]
fn nodes_and_pods_reach_each_other_natively() {
    nodes_and_pods(Native);
}

#[test]
fn nodes_and_pods_reach_each_other_through_the_tunnel() {
    nodes_and_pods(Vxlan);
}

#[test]
fn traffic_outlives_the_daemons_and_meets_the_next_ones() {
    for routing in [Native, Vxlan] {
        let cluster = cluster(routing);
        let target = cluster.pod(1, 0);
        let mut streams: Vec<_> =
            target.addresses.iter().map(|&to| call(&cluster.pod(0, 0).netns, to).unwrap().2).collect();
        let rows = cluster.nodes[0].datapath().inspect().remotes().unwrap();
        cluster.nodes.iter().for_each(|node| node.kill());
        all_reach_all(&cluster);
        let echo = |streams: &mut Vec<std::net::TcpStream>| {
            for stream in streams {
                stream.write_all(b"ping").unwrap();
                stream.read_exact(&mut [0; 4]).unwrap();
            }
        };
        echo(&mut streams);
        cluster.nodes.iter().for_each(|node| node.revive().unwrap());
        echo(&mut streams);
        all_reach_all(&cluster);
        assert_eq!(cluster.nodes[0].datapath().inspect().remotes().unwrap(), rows);
    }
}

#[test]
fn a_pod_sends_only_from_its_own_addresses() {
    let cluster = cluster(Native);
    let (node, pod) = (&cluster.nodes[0], cluster.pod(0, 0));
    let spoof = |from: IpAddr, to: IpAddr| {
        let len = if from.is_ipv4() { 32 } else { 128 };
        let text = format!("{from}/{len}");
        let nodad = if from.is_ipv4() { &[][..] } else { &["nodad"][..] };
        pod.netns.ip(&[&["addr", "add", &text, "dev", "eth0"], nodad].concat()).unwrap();
        let socket = pod.netns.enter(|| std::net::UdpSocket::bind((from, 0)).unwrap()).unwrap();
        let (sent, dropped) = moved(node, Metric::DropSpoofed, || socket.send_to(b"who", (to, POD_PORT)));
        sent.unwrap();
        pod.netns.ip(&["addr", "del", &text, "dev", "eth0"]).unwrap();
        dropped
    };
    let neighbour = cluster.pod(0, 1).addresses;
    for to in [neighbour, cluster.pod(1, 0).addresses, node.spec.addresses.clone().try_into().unwrap()] {
        assert_eq!(spoof("10.42.1.77".parse().unwrap(), to[0]), 1);
        assert_eq!(spoof("192.0.2.1".parse().unwrap(), to[0]), 1);
        assert_eq!(spoof("fd00:42:1::77".parse().unwrap(), to[1]), 1);
    }
    // A neighbour's address is no better than anyone's.
    assert_eq!(spoof(neighbour[0], cluster.pod(1, 0).addresses[0]), 1);
    let socket = datagrams(&pod.netns, 0, neighbour[0]);
    ask(&socket).unwrap();
    // The right address behind another Ethernet address. Changing that makes the link forget its neighbours.
    pod.netns.ip(&["link", "set", "eth0", "address", "0a:70:00:00:00:01"]).unwrap();
    let held = cluster.block_on(node.network.attachments());
    let mac = held.iter().find(|one| one.pod_name == pod.name).unwrap().host_mac.to_string();
    pod.netns.ip(&["neigh", "replace", "169.254.1.1", "lladdr", &mac, "dev", "eth0", "nud", "permanent"]).unwrap();
    let (sent, dropped) = moved(node, Metric::DropSpoofed, || socket.send(b"who"));
    sent.unwrap();
    assert_eq!(dropped, 1);
}

#[test]
fn no_neighbour_is_asked_for_on_a_pods_link() {
    let cluster = cluster(Native);
    all_reach_all(&cluster);
    let node = &cluster.nodes[0];
    call(&node.netns, cluster.pod(0, 0).addresses[1]).unwrap();
    // Whoever is asked for gets an entry that is not permanent, be it that there was no answer.
    let asked = |netns: &skep_testkit::Netns, device: &str| -> Vec<String> {
        let output = netns.command("ip").unwrap().args(["neigh", "show", "nud", "all"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines =
            text.lines().filter(|line| line.contains(device) && !line.contains("PERMANENT") && !line.contains("NOARP"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(asked(&node.netns, "dev skp"), [] as [&str; 0]);
    assert_eq!(asked(&cluster.pod(0, 0).netns, "dev eth0"), [] as [&str; 0]);
}

#[test]
fn routes_follow_the_nodes() {
    let cluster = cluster(Native);
    let node = &cluster.nodes[0];
    let sync = |specs: &[skep_netmodel::NodeSpec]| {
        let spec = skep_netmodel::plan_routing(specs, "node1", Native, &[]);
        node.datapath().sync_remotes(&spec.remotes).unwrap();
        cluster.block_on(node.network.sync_routes(&spec.routes, 0)).unwrap()
    };
    let (own, other) = (node.spec.clone(), cluster.nodes[1].spec.clone());
    let (pod, far) = (cluster.pod(0, 0), cluster.pod(1, 0));
    assert_eq!(sync(std::slice::from_ref(&own)).removed, 2);
    assert!(node.datapath().inspect().remotes().unwrap().iter().all(|row| row.name == "node1"));
    call(&pod.netns, far.addresses[0]).unwrap_err();
    // The node comes back with another range, and one that is not on the switch cannot be reached.
    let strange = skep_netmodel::NodeSpec {
        name: "node3".to_owned(),
        addresses: vec!["203.0.113.9".parse().unwrap()],
        pod_cidrs: vec!["10.42.3.0/24".parse().unwrap()],
    };
    let applied = sync(&[own, other, strange]);
    assert_eq!((applied.written, applied.removed, applied.refused.len()), (2, 0, 1));
    assert_eq!(applied.refused[0].to_string(), "route to 10.42.3.0/24 via 203.0.113.9");
    call(&pod.netns, far.addresses[0]).unwrap();
    let row = node.datapath().inspect().remote(far.addresses[1]).unwrap().unwrap();
    assert_eq!((row.name.as_str(), row.pods, row.tunnel), ("node2", true, false));
}

#[test]
fn an_address_of_no_pod_is_unreachable_at_once() {
    let cluster = cluster(Native);
    for to in ["10.42.1.99", "10.42.2.99", "fd00:42:1::99", "fd00:42:2::99"] {
        let error = call(&cluster.pod(0, 0).netns, to.parse().unwrap()).unwrap_err();
        assert!(
            matches!(error.raw_os_error(), Some(libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EACCES)),
            "{to}: {error}"
        );
    }
}
