//! Datagrams in parts, and SCTP, to and from a pod that policy selects, in both families.

use std::net::{IpAddr, UdpSocket};
use std::os::fd::FromRawFd as _;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{from_value, json};
use skep_abi::{Metric, PROTO_SCTP};
use skep_netmodel::PolicyModel;
use skep_netns::{Cluster, Member, POD_PORT, Setup, datagrams, datagrams_at};
use skep_testkit::{Netns, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const SCTP_PORT: u16 = 9;

/// A node of two pods. The second may be asked by UDP and SCTP at one port each, and sends nothing of its own accord.
fn stage() -> Cluster {
    let cluster = Cluster::new(&Setup { nodes: 1, pods: 2, ..Setup::default() });
    let mut model = PolicyModel::new([]);
    model.set_complete();
    model.upsert_namespace(&from_value::<Namespace>(json!({"metadata": {"name": "x"}})).unwrap());
    for (name, pod) in ["asks", "answers"].into_iter().zip(&cluster.nodes[0].pods) {
        let ips: Vec<_> = pod.addresses.iter().map(|address| json!({"ip": address.to_string()})).collect();
        let object = json!({"metadata": {"namespace": "x", "name": name, "labels": {"pod": name}},
            "spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Running", "podIPs": ips}});
        pod.addresses.into_iter().for_each(|address| model.attach(address, "x", name));
        model.upsert_pod(&from_value::<Pod>(object).unwrap());
    }
    let policy = json!({"metadata": {"namespace": "x", "name": "p"}, "spec": {
        "podSelector": {"matchLabels": {"pod": "answers"}}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"port": POD_PORT, "protocol": "UDP"}, {"port": SCTP_PORT, "protocol": "SCTP"}]}]}});
    model.upsert_policy(&from_value::<NetworkPolicy>(policy).unwrap());
    let delta = model.take_delta();
    assert_eq!(delta.problems, []);
    cluster.nodes[0].datapath().apply_policy(&delta, model.state()).unwrap();
    cluster
}

#[test]
fn fragments_go_with_the_first_of_them() {
    let cluster = stage();
    let (node, asks) = (&cluster.nodes[0], &cluster.pod(0, 0).netns);
    for to in cluster.pod(0, 1).addresses {
        let socket = datagrams(asks, 0, to);
        let block: Vec<u8> = (0..20_000).map(|i| (i / 7) as u8).collect();
        for _ in 0..3 {
            socket.send(&block).unwrap();
            let mut echo = vec![0; 65_536];
            assert_eq!(socket.recv(&mut echo).unwrap(), block.len(), "{to}");
            assert!(echo[..block.len()] == block, "{to}: the datagram changes");
        }
        let other = datagrams_at(asks, 0, (to, 9_999).into());
        let first = node.counter(Metric::DropIngressPolicy);
        // 13 of 1,500 bytes at most follow the first.
        rises(node, Metric::DropFragment, 13, || {
            other.send(&block).unwrap();
        });
        assert_eq!(node.counter(Metric::DropIngressPolicy) - first, 1, "{to}");
    }
}

#[test]
fn sctp_is_policed_by_its_ports() {
    let cluster = stage();
    let (node, asks, answers) = (&cluster.nodes[0], cluster.pod(0, 0), cluster.pod(0, 1));
    for family in 0..2 {
        let (from, to) = (asks.addresses[family], answers.addresses[family]);
        let (here, there) = (raw(&asks.netns, from), raw(&answers.netns, to));
        here.send_to(&packet(1_000, SCTP_PORT), (to, 0)).unwrap();
        assert_eq!(ports(&there, to), (1_000, SCTP_PORT));
        // An answer passes by its flow, and nothing else does.
        there.send_to(&packet(SCTP_PORT, 1_000), (from, 0)).unwrap();
        assert_eq!(ports(&here, from), (SCTP_PORT, 1_000));
        rises(node, Metric::DropEgressPolicy, 1, || {
            there.send_to(&packet(SCTP_PORT, 1_001), (from, 0)).unwrap();
        });
        rises(node, Metric::DropIngressPolicy, 1, || {
            here.send_to(&packet(1_000, SCTP_PORT + 1), (to, 0)).unwrap();
        });
    }
}

/// Waits until a counter of the node has risen by so much: packets may be handled a moment after they were sent.
fn rises(node: &Member, metric: Metric, by: u64, f: impl FnOnce()) {
    let before = node.counter(metric);
    f();
    wait_until(metric.name(), Duration::from_secs(60), || Ok(node.counter(metric) - before >= by)).unwrap();
}

/// A socket that sends and gets SCTP as it is: the kernel need not know the protocol.
fn raw(netns: &Netns, own: IpAddr) -> UdpSocket {
    let domain = if own.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let open = || {
        // SAFETY: the call takes no pointer; the descriptor is owned from here on.
        unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(PROTO_SCTP)) }
    };
    let fd = netns.enter(open).unwrap();
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor is new, and nobody else's.
    let socket = unsafe { UdpSocket::from_raw_fd(fd) };
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A header (RFC 9260, 3.1) and an empty chunk, with a checksum that nobody verifies.
fn packet(from: u16, to: u16) -> Vec<u8> {
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0; 8], &[1, 0, 0, 4]].concat()
}

/// Source and destination port of the next packet. IPv4 comes with its header.
fn ports(socket: &UdpSocket, own: IpAddr) -> (u16, u16) {
    let mut buffer = [0; 256];
    let len = socket.recv(&mut buffer).unwrap();
    let at = if own.is_ipv4() { 20 } else { 0 };
    assert!(len >= at + 4);
    let port = |at| u16::from_be_bytes([buffer[at], buffer[at + 1]]);
    (port(at), port(at + 2))
}
