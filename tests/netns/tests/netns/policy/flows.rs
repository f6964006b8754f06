//! Connections that are open while policy changes, and a pod that floods the flow tables.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, UdpSocket};
use std::time::Duration;

use serde_json::json;
use skep_abi::Metric;
use skep_bpf::Sweep;
use skep_netns::{call_tcp, counter};

use super::Stage;

const PATIENCE: Duration = Duration::from_secs(3);

#[test]
fn an_open_connection_follows_the_policy() {
    let mut stage = Stage::new();
    let from_b = json!({"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}]});
    let nobody = json!({"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Ingress", "Egress"]});
    let to = SocketAddrV4::new(stage.address("x", "a"), 80);
    // Older than any policy.
    let (_, _, mut older) = call_tcp(&stage.world.pods[1].netns, to).unwrap();
    stage.set_policy("x", "policy", &json!({"podSelector": {}, "ingress": [{}]}));
    stage.write();
    ping(&mut older).unwrap();
    stage.set_policy("x", "policy", &from_b);
    stage.write();
    let (_, _, mut stream) = call_tcp(&stage.world.pods[1].netns, to).unwrap();
    ping(&mut stream).unwrap();
    let flows = stage.world.datapath().inspect().flows().unwrap();
    let flow = flows.iter().find(|flow| flow.source_port == stream.local_addr().unwrap().port()).unwrap();
    assert_eq!((flow.state, flow.destination_port, flow.settled), ("established", 80, true));

    stage.set_policy("x", "policy", &nobody);
    stage.write();
    let before = counter(&stage.world, Metric::DropIngressPolicy);
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    ping(&mut stream).unwrap_err();
    assert!(counter(&stage.world, Metric::DropIngressPolicy) > before);
    let flows = stage.world.datapath().inspect().flows().unwrap();
    assert!(flows.iter().any(|flow| flow.state == "denied" && !flow.settled), "{flows:?}");

    // TCP sends again what was lost.
    stage.set_policy("x", "policy", &from_b);
    stage.write();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 4];
    stream.read_exact(&mut buffer).unwrap();
}

#[test]
fn a_pod_that_floods_takes_no_flow_of_its_neighbours() {
    let mut stage = Stage::new();
    // Replies of x/a pass by their flow alone: it may send nothing of its own accord.
    stage.set_policy(
        "x",
        "a",
        &json!({"podSelector": {"matchLabels": {"pod": "a"}},
        "policyTypes": ["Ingress", "Egress"], "ingress": [{}]}),
    );
    stage.write();
    let (_, _, mut stream) =
        call_tcp(&stage.world.pods[1].netns, SocketAddrV4::new(stage.address("x", "a"), 80)).unwrap();
    ping(&mut stream).unwrap();
    // 4 sockets to 60,000 ports of the same victim: each a flow that is allowed, and none is answered but by ICMP errors.
    let flooder = &stage.world.pods[4].netns;
    let victim = stage.address("x", "a");
    let size = skep_abi::CT_BRIEF.entries as usize;
    let mut sent = 0usize;
    flooder
        .enter(|| {
            for _ in 0..4 {
                let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
                for port in 1_000..61_000u16 {
                    sent += usize::from(socket.send_to(b"flood", (victim, port)).is_ok());
                }
            }
        })
        .unwrap();
    assert!(sent > 2 * size, "{sent} datagrams against a table of {size}");
    ping(&mut stream).unwrap();
    let flows = stage.world.datapath().inspect().flows().unwrap();
    let port = stream.local_addr().unwrap().port();
    assert!(flows.iter().any(|flow| flow.source_port == port && flow.settled), "the neighbour's flow is gone");
    let brief = flows.iter().filter(|flow| !flow.settled).count();
    assert!(brief > size / 2, "the flood was tracked: {brief}");
}

#[test]
fn fragments_and_errors_of_allowed_flows_pass() {
    let mut stage = Stage::new();
    stage.set_policy(
        "x",
        "a",
        &json!({"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Ingress", "Egress"],
        "egress": [{"ports": [{"port": 80, "protocol": "UDP"}, {"port": 4242, "protocol": "UDP"}]}]}),
    );
    stage.write();
    let socket = skep_netns::udp_socket(&stage.world.pods[0].netns);
    let to = stage.address("y", "a");
    socket.send_to(&[7; 1900], (to, 80)).unwrap();
    socket.recv(&mut [0; 64]).unwrap();
    socket.send_to(&[7; 1900], (to, 81)).unwrap();
    // Nobody listens on 4242, and the error that says so comes back to a pod that nothing else may reach.
    let socket = skep_netns::udp_socket(&stage.world.pods[0].netns);
    socket.connect((to, 4242)).unwrap();
    socket.send(b"who").unwrap();
    assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().raw_os_error(), Some(libc::ECONNREFUSED));
}

#[test]
fn the_sweep_forgets_the_silent_and_counts_the_rest() {
    let mut stage = Stage::new();
    stage.set_policy("x", "a", &json!({"podSelector": {}, "ingress": [{}]}));
    stage.write();
    let to = SocketAddrV4::new(stage.address("x", "a"), 80);
    let streams: Vec<_> = (0..5).map(|_| call_tcp(&stage.world.pods[3].netns, to).unwrap().2).collect();
    let mut sweep = Sweep::default();
    let round = stage.world.datapath().sweep_flows(&mut sweep, 1_000).unwrap();
    assert!(round.finished && round.seen >= 5 && round.deleted == 0, "{round:?}");
    drop(streams);
}

fn ping(stream: &mut std::net::TcpStream) -> std::io::Result<()> {
    stream.write_all(b"ping")?;
    stream.read_exact(&mut [0; 4])
}
