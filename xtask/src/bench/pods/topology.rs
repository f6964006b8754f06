//! Two pods on one node, laid out as different systems lay them out.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use skep_testkit::cluster::{Cluster, state_dir};
use skep_testkit::{Netns, Side, connect};

use crate::build::Profile;
use crate::cluster;
use crate::demo::poll;
use crate::shell::{read, run};

const WITHIN: Duration = Duration::from_secs(60);
const PREFIX_LEN: u8 = 24;
/// The cluster whose pods are measured.
const BENCH: &str = "bench";

/// A client and a server that can reach each other.
pub(super) struct Pair {
    client: PathBuf,
    server: PathBuf,
    /// Where the server is reached.
    pub(super) server_address: Ipv4Addr,
    cluster: Option<Cluster>,
    _namespaces: Vec<Netns>,
}

impl Pair {
    /// A veth for each pod, and a route to each: what a node does at the least.
    pub(super) fn plain() -> Result<Pair> {
        let [node, client, server] = namespaces("plain")?;
        for (number, netns) in [(1, &client), (2, &server)] {
            let (gateway, own) = (Ipv4Addr::new(10, 43, number, 1), Ipv4Addr::new(10, 43, number, 2));
            let device = format!("veth{number}");
            connect(
                &Side { netns: &node, device: &device, address: (gateway, PREFIX_LEN) },
                &Side { netns, device: "eth0", address: (own, PREFIX_LEN) },
            )?;
            netns.ip(&["route", "add", "default", "via", &gateway.to_string()])?;
        }
        sysctl(&node, "net/ipv4/ip_forward")?;
        Ok(Pair::of(Ipv4Addr::new(10, 43, 2, 2), [node, client, server]))
    }

    /// A bridge whose frames pass iptables, as the classic plugins have it.
    pub(super) fn bridge() -> Result<Pair> {
        let [node, client, server] = namespaces("bridge")?;
        node.ip(&["link", "add", "cni0", "type", "bridge"])?;
        node.ip(&["addr", "add", "10.44.0.1/24", "dev", "cni0"])?;
        node.ip(&["link", "set", "cni0", "up"])?;
        for (number, netns) in [(2, &client), (3, &server)] {
            let device = format!("veth{number}");
            node.ip(&["link", "add", &device, "type", "veth", "peer", "name", "eth0", "netns", netns.name()])?;
            node.ip(&["link", "set", &device, "master", "cni0", "up"])?;
            netns.ip(&["addr", "add", &format!("10.44.0.{number}/24"), "dev", "eth0"])?;
            netns.ip(&["link", "set", "eth0", "up"])?;
            netns.ip(&["route", "add", "default", "via", "10.44.0.1"])?;
        }
        sysctl(&node, "net/ipv4/ip_forward")?;
        sysctl(&node, "net/bridge/bridge-nf-call-iptables")?;
        for rule in [
            &["-P", "FORWARD", "DROP"][..],
            &["-A", "FORWARD", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"],
            &["-A", "FORWARD", "-s", "10.44.0.0/24", "-j", "ACCEPT"],
            &["-A", "FORWARD", "-d", "10.44.0.0/24", "-j", "ACCEPT"],
        ] {
            run(node.command("iptables")?.args(rule))?;
        }
        Ok(Pair::of(Ipv4Addr::new(10, 44, 0, 3), [node, client, server]))
    }

    /// Two pods of a real cluster.
    pub(super) fn skep(profile: Profile) -> Result<Pair> {
        let cluster = cluster::start(BENCH, ([127, 0, 0, 1], 0).into(), profile)?;
        let client = pod(&cluster, "client")?;
        let server_address = pod(&cluster, "server")?;
        let (client, server) = (netns_of(client)?, netns_of(server_address)?);
        Ok(Pair { client, server, server_address, cluster: Some(cluster), _namespaces: Vec::new() })
    }

    fn of(server_address: Ipv4Addr, namespaces: [Netns; 3]) -> Pair {
        let [_, client, server] = &namespaces;
        let (client, server) = (client.path(), server.path());
        Pair { client, server, server_address, cluster: None, _namespaces: namespaces.into() }
    }

    /// A program as a process of the client.
    pub(super) fn on_client(&self, program: &Path) -> Command {
        enter(&self.client, program)
    }

    /// A program as a process of the server.
    pub(super) fn on_server(&self, program: &Path) -> Command {
        enter(&self.server, program)
    }

    /// Takes it down.
    pub(super) fn stop(self) -> Result<()> {
        self.cluster.map_or(Ok(()), Cluster::stop)
    }
}

fn enter(netns: &Path, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns.display())).arg(program);
    command
}

/// A node and two pods, whatever an interrupted run left of them gone.
fn namespaces(subject: &str) -> Result<[Netns; 3]> {
    let create = |part: &str| {
        let name = format!("skep-bench-{subject}-{part}");
        Netns::remove_stale(&name)?;
        Netns::create(&name)
    };
    Ok([create("node")?, create("client")?, create("server")?])
}

/// Switches a setting of the namespace on.
fn sysctl(netns: &Netns, name: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(name);
    netns.enter(|| std::fs::write(&path, "1"))?.with_context(|| format!("write {}", path.display()))
}

/// Makes a pod that does nothing, and returns its address.
fn pod(cluster: &Cluster, name: &str) -> Result<Ipv4Addr> {
    cluster.kubectl(&["run", name, "--image=skep-echo:v1", "--restart=Never", "--", "pause"])?;
    poll(&format!("the address of pod {name}"), WITHIN, || {
        let address = cluster.kubectl(&["get", "pod", name, "-o", "jsonpath={.status.podIP}"])?;
        Ok(address.parse().ok())
    })
}

/// The namespace, among those that containerd keeps, whose eth0 has the address.
fn netns_of(address: Ipv4Addr) -> Result<PathBuf> {
    let folder = state_dir(BENCH).join("containerd/state/io.containerd.grpc.v1.cri/netns");
    for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let text = read(enter(&path, Path::new("ip")).args(["-json", "addr", "show", "dev", "eth0"]))?;
        let links: Value = serde_json::from_str(&text).context("parse what ip printed")?;
        if links[0]["addr_info"].as_array().into_iter().flatten().any(|info| info["local"] == json!(address)) {
            return Ok(path);
        }
    }
    anyhow::bail!("no namespace has the address {address}")
}
