//! What Skep is held against: two nodes on a segment as Linux alone joins their pods.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};
use skep_testkit::{Netns, Side, connect};

use super::site::{Pod, Site};
use crate::shell::run;

const PREFIX_LEN: u8 = 24;
/// Which pods there are: a node's number and its own on it.
const PODS: [(u8, u8); 3] = [(1, 2), (1, 3), (2, 2)];

/// A veth for each pod, and a route to each: what a node does at the least.
pub(super) fn plain(program: &Path) -> Result<Site> {
    let segment = Segment::lay("plain", 43)?;
    let mut pods = Vec::new();
    for (node, number) in PODS {
        let (gateway, own) = (Ipv4Addr::new(169, 254, 1, number), segment.pod_address(node, number));
        let (netns, device) = (segment.pod(node, number)?, format!("veth{number}"));
        let host = segment.node(node);
        connect(
            &Side { netns: host, device: &device, address: (gateway, 32) },
            &Side { netns: &netns, device: "eth0", address: (own, 32) },
        )?;
        netns.ip(&["route", "add", &gateway.to_string(), "dev", "eth0"])?;
        netns.ip(&["route", "add", "default", "via", &gateway.to_string()])?;
        host.ip(&["route", "add", &own.to_string(), "dev", &device])?;
        pods.push((netns, own));
    }
    segment.open(pods, program)
}

/// On each node a bridge whose frames pass iptables, as the classic plugins have it.
pub(super) fn bridge(program: &Path) -> Result<Site> {
    let segment = Segment::lay("bridge", 44)?;
    for node in [1, 2] {
        let host = segment.node(node);
        host.ip(&["link", "add", "cni0", "type", "bridge"])?;
        host.ip(&["addr", "add", &format!("{}/{PREFIX_LEN}", segment.pod_address(node, 1)), "dev", "cni0"])?;
        host.ip(&["link", "set", "cni0", "up"])?;
        sysctl(host, "net/bridge/bridge-nf-call-iptables")?;
        let range = format!("10.{}.0.0/16", segment.second);
        for rule in [
            &["-P", "FORWARD", "DROP"][..],
            &["-A", "FORWARD", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"],
            &["-A", "FORWARD", "-s", &range, "-j", "ACCEPT"],
            &["-A", "FORWARD", "-d", &range, "-j", "ACCEPT"],
        ] {
            run(host.command("iptables")?.args(rule))?;
        }
    }
    let mut pods = Vec::new();
    for (node, number) in PODS {
        let (netns, host, device) = (segment.pod(node, number)?, segment.node(node), format!("veth{number}"));
        let own = segment.pod_address(node, number);
        host.ip(&["link", "add", &device, "type", "veth", "peer", "name", "eth0", "netns", netns.name()])?;
        host.ip(&["link", "set", &device, "master", "cni0", "up"])?;
        netns.ip(&["addr", "add", &format!("{own}/{PREFIX_LEN}"), "dev", "eth0"])?;
        netns.ip(&["link", "set", "eth0", "up"])?;
        netns.ip(&["route", "add", "default", "via", &segment.pod_address(node, 1).to_string()])?;
        pods.push((netns, own));
    }
    segment.open(pods, program)
}

/// Two nodes on a switch, each with a route to the other's pods.
struct Segment {
    subject: &'static str,
    /// Of the pods' addresses: `10.SECOND.NODE.POD`.
    second: u8,
    nodes: [Netns; 2],
    switch: Netns,
}

impl Segment {
    fn lay(subject: &'static str, second: u8) -> Result<Segment> {
        let switch = namespace(subject, "switch")?;
        switch.ip(&["link", "add", "br0", "type", "bridge"])?;
        switch.ip(&["link", "set", "br0", "up"])?;
        let nodes = [namespace(subject, "node1")?, namespace(subject, "node2")?];
        for (netns, number) in nodes.iter().zip(1_u8..) {
            let port = format!("node{number}");
            netns.ip(&["link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", switch.name()])?;
            switch.ip(&["link", "set", &port, "master", "br0", "up"])?;
            netns.ip(&["addr", "add", &format!("198.18.0.{number}/{PREFIX_LEN}"), "dev", "eth0"])?;
            netns.ip(&["link", "set", "eth0", "up"])?;
            let other = 3 - number;
            let range = format!("10.{second}.{other}.0/{PREFIX_LEN}");
            netns.ip(&["route", "add", &range, "via", &format!("198.18.0.{other}")])?;
            sysctl(netns, "net/ipv4/ip_forward")?;
        }
        Ok(Segment { subject, second, nodes, switch })
    }

    fn node(&self, number: u8) -> &Netns {
        &self.nodes[usize::from(number - 1)]
    }

    fn pod(&self, node: u8, number: u8) -> Result<Netns> {
        namespace(self.subject, &format!("pod{node}-{number}"))
    }

    fn pod_address(&self, node: u8, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.second, node, number)
    }

    fn open(self, pods: Vec<(Netns, Ipv4Addr)>, program: &Path) -> Result<Site> {
        let (mut namespaces, mut all) = (Vec::from(self.nodes), Vec::new());
        namespaces.push(self.switch);
        for (netns, address) in pods {
            all.push(Pod { netns: netns.path(), address });
            namespaces.push(netns);
        }
        let pods = all.try_into().ok().context("a client and two servers")?;
        Site::open(pods, program, namespaces)
    }
}

/// A new one, whatever an interrupted run left of it gone.
fn namespace(subject: &str, part: &str) -> Result<Netns> {
    let name = format!("skep-bench-{subject}-{part}");
    Netns::remove_stale(&name)?;
    Netns::create(&name)
}

/// Switches a setting of the namespace on.
fn sysctl(netns: &Netns, name: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(name);
    netns.enter(|| std::fs::write(&path, "1"))?.with_context(|| format!("write {}", path.display()))
}
