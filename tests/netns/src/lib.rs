//! Hosts as namespaces, real packets through the real programs.
//!
//! [`World`] is a node with pods and a client outside, each a network namespace, and the node's datapath. The process itself moves
//! into the node's cgroup, so that its sockets are those of the node's pods. Worlds exist one at a time: a lock sees to that.
//!
//! ```text
//!   client 192.168.77.1 ──veth── uplink 192.168.77.2 node ──veth── 10.42.0.2 pod 0
//!                                                         ──veth── 10.42.0.3 pod 1 …
//! ```
//!
//! [`Cluster`] is several nodes on a switch, with pods of both families that the real CNI side made, and a host outside:
//!
//! ```text
//!   pod 10.42.1.1 ──veth── node 192.168.77.11 ──┐
//!   pod 10.42.2.1 ──veth── node 192.168.77.12 ──┤ switch
//!                       outside 192.168.77.1  ──┘
//! ```

mod churn;
mod cluster;
mod probe;
mod server;
mod service;
mod world;

pub use churn::{Churn, Churned};
pub use cluster::{
    Cluster, Member, MemberPod, OUTSIDE, OUTSIDE_V6, Setup, ask, call, call_at, datagrams, datagrams_at, moved,
};
pub use probe::{Try, try_all};
pub use server::Server;
pub use service::{backend, cluster_ip, node_port, service};
pub use world::{CLIENT, NODE, POD_PORT, Pod, World, ask_udp, call_tcp, counter, udp_socket};
