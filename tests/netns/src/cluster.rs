//! Nodes on a switch, their pods, and a host outside.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use skep_abi::Metric;
use skep_bpf::{Datapath, EndpointSpec, OVERLAY_VNI, Options, TUNNEL_PORT};
use skep_netmodel::{NodeSpec, RoutingMode, plan_routing};
use skep_network::{Attachment, CniRequest, Endpoints, Network, OVERHEAD_V4, OVERHEAD_V6, OVERLAY, ensure_overlay};
use skep_testkit::{Cgroup, Netns};
use tokio::runtime::Runtime;

use crate::Server;
use crate::world::{Home, NUMBER, ONE_AT_A_TIME, POD_PORT, Pins, split, write_sysctl};

/// The outside host's IPv4 address.
pub const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 77, 1));
/// Its IPv6 address.
pub const OUTSIDE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1));

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
const LINK: &str = "uplink";

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many nodes.
    pub nodes: u8,
    /// How many pods on each.
    pub pods: u8,
    /// How packets get from node to node.
    pub routing: RoutingMode,
    /// Whether nodes prefer to reach each other by IPv6.
    pub over_ipv6: bool,
    /// Prefixes that are not masqueraded although they are outside.
    pub listed: Vec<IpNet>,
    /// Ports of masqueraded flows; by default those of the datapath.
    pub ports: Option<std::ops::RangeInclusive<u16>>,
}

/// Nodes, their pods, and a host outside, which has a server on [`POD_PORT`].
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<Member>,
    /// The host outside.
    pub outside: Netns,
    /// The switch between all of them.
    pub switch: Netns,
    _outside_server: Server,
    _runtime: Runtime,
    _dir: tempfile::TempDir,
    _lock: MutexGuard<'static, ()>,
}

/// A node of a cluster.
pub struct Member {
    /// Its pods.
    pub pods: Vec<MemberPod>,
    /// Its place in the network.
    pub spec: NodeSpec,
    /// Its CNI side.
    pub network: Arc<Network>,
    /// Its namespace.
    pub netns: Arc<Netns>,
    datapath: Arc<Shared>,
    options: Options,
    _pins: Pins,
    cgroup: Cgroup,
}

/// A pod of a cluster, made by its node's CNI side, with a server on [`POD_PORT`].
pub struct MemberPod {
    /// Its name, which its server answers with.
    pub name: String,
    /// Its IPv4 address, and its IPv6 address.
    pub addresses: [IpAddr; 2],
    /// What its node's CNI side made.
    pub attachment: Attachment,
    /// Its namespace.
    pub netns: Netns,
    _server: Server,
}

/// The datapath, where the CNI side finds it.
struct Shared {
    netns: Arc<Netns>,
    datapath: std::sync::Mutex<Option<Arc<Datapath>>>,
}

impl Shared {
    fn get(&self) -> Arc<Datapath> {
        let held = self.datapath.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.as_ref().expect("the daemon lives"))
    }
}

impl Endpoints for Shared {
    fn attached(&self, attachment: &Attachment) -> Result<()> {
        let datapath = self.get();
        self.netns.enter(|| datapath.attach_pod_link(attachment.host_ifindex))??;
        datapath.upsert_endpoint(&EndpointSpec {
            addresses: attachment.addresses.clone(),
            ifindex: attachment.host_ifindex,
            host_mac: attachment.host_mac.0,
            pod_mac: attachment.pod_mac.0,
            pod: format!("{}/{}", attachment.pod_namespace, attachment.pod_name),
        })?;
        Ok(())
    }

    fn detached(&self, attachment: &Attachment) -> Result<()> {
        let datapath = self.get();
        datapath.remove_endpoint(&attachment.addresses)?;
        datapath.detach_pod_link(attachment.host_ifindex)?;
        Ok(())
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self { nodes: 2, pods: 1, routing: RoutingMode::Native, over_ipv6: false, listed: Vec::new(), ports: None }
    }
}

impl Cluster {
    /// Makes one.
    ///
    /// # Panics
    /// The host cannot; the error says why.
    pub fn new(setup: &Setup) -> Self {
        let lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        Self::build(setup, lock).unwrap_or_else(|error| panic!("no test cluster on this host: {error:#}"))
    }

    fn build(setup: &Setup, lock: MutexGuard<'static, ()>) -> Result<Self> {
        let tag = format!("skr{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let switch = Netns::create(&format!("{tag}-sw"))?;
        switch.ip(&["link", "add", "br0", "type", "bridge"])?;
        switch.ip(&["link", "set", "br0", "up"])?;
        let outside = Netns::create(&format!("{tag}-out"))?;
        plug(&switch, &outside, "out", &[OUTSIDE, OUTSIDE_V6])?;
        let mut nodes = Vec::new();
        for number in 1..=setup.nodes {
            nodes.push(Member::create(setup, &tag, number, &switch, dir.path().into(), &runtime)?);
        }
        let specs: Vec<NodeSpec> = nodes.iter().map(|node| node.spec.clone()).collect();
        for node in &mut nodes {
            let spec = plan_routing(&specs, &node.spec.name, setup.routing, &setup.listed);
            anyhow::ensure!(spec.problems.is_empty(), "{:?}", spec.problems);
            node.datapath().sync_remotes(&spec.remotes)?;
            let applied = runtime.block_on(node.network.sync_routes(&spec.routes, OVERLAY_VNI))?;
            anyhow::ensure!(applied.refused.is_empty(), "{:?}", applied.refused);
            let again = runtime.block_on(node.network.sync_routes(&spec.routes, OVERLAY_VNI))?;
            anyhow::ensure!((again.written, again.removed) == (0, 0), "written again: {again:?}");
            for pod in 1..=setup.pods {
                node.add_pod(&tag, pod, &runtime)?;
            }
        }
        let server = Server::start_dual(&outside, "outside", POD_PORT);
        Ok(Self { nodes, outside, switch, _outside_server: server, _runtime: runtime, _dir: dir, _lock: lock })
    }

    /// A pod, by node and number, both from 0.
    pub fn pod(&self, node: usize, pod: usize) -> &MemberPod {
        &self.nodes[node].pods[pod]
    }

    /// Runs something of the CNI side.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self._runtime.block_on(future)
    }
}

impl Member {
    fn create(setup: &Setup, tag: &str, number: u8, switch: &Netns, dir: PathBuf, runtime: &Runtime) -> Result<Self> {
        let name = format!("node{number}");
        let netns = Arc::new(Netns::create(&format!("{tag}-{name}"))?);
        let addresses = [
            IpAddr::V4(Ipv4Addr::new(192, 168, 77, 10 + number)),
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0x10 + u16::from(number))),
        ];
        plug(switch, &netns, &name, &addresses)?;
        let pod_cidrs: Vec<IpNet> =
            vec![format!("10.42.{number}.0/24").parse()?, format!("fd00:42:{number}::/64").parse()?];
        let mut spec = NodeSpec { name: name.clone(), addresses: addresses.to_vec(), pod_cidrs };
        if setup.over_ipv6 {
            spec.addresses.reverse();
        }
        let cgroup = Cgroup::create(&format!("{tag}-{name}"))?;
        let pins = Pins(skep_bpf::pin_dir(&format!("{tag}-{name}")));
        let mut options = Options::new(&pins.0, cgroup.path());
        options.link = Some(LINK.to_owned());
        options.masquerade.addresses = addresses.to_vec();
        options.addresses = addresses.to_vec();
        if let Some(ports) = &setup.ports {
            options.masquerade.ports = ports.clone();
        }
        let mut overhead = 0;
        if setup.routing == RoutingMode::Vxlan {
            overhead = if setup.over_ipv6 { OVERHEAD_V6 } else { OVERHEAD_V4 };
            runtime.block_on(ensure_overlay(Some(&netns.path()), LINK, TUNNEL_PORT, overhead))?;
            options.overlay = Some(OVERLAY.to_owned());
        }
        let datapath = netns.enter(|| Datapath::open(&options))??;
        datapath.set_node_addresses(&[&addresses[..], &[Ipv6Addr::LOCALHOST.into()]].concat())?;
        let shared =
            Arc::new(Shared { netns: Arc::clone(&netns), datapath: std::sync::Mutex::new(Some(Arc::new(datapath))) });
        let network = skep_network::Options {
            pod_cidrs: spec.pod_cidrs.clone(),
            node_ips: spec.addresses.clone(),
            link: Some(LINK.to_owned()),
            lease_file: dir.join(&name).join("leases.json"),
            mtu: None,
            mtu_overhead: overhead,
            netns: Some(netns.path()),
        };
        let endpoints: Arc<dyn Endpoints> = Arc::clone(&shared) as _;
        let network = Arc::new(runtime.block_on(Network::open(network, endpoints))?);
        write_sysctl(&netns, "net/ipv4/icmp_ratelimit", "0")?;
        write_sysctl(&netns, "net/ipv6/icmp/ratelimit", "0")?;
        Ok(Self { pods: Vec::new(), spec, network, netns, datapath: shared, options, _pins: pins, cgroup })
    }

    fn add_pod(&mut self, tag: &str, number: u8, runtime: &Runtime) -> Result<()> {
        let name = format!("{}-pod{number}", self.spec.name);
        let netns = Netns::create(&format!("{tag}-{name}"))?;
        let request = CniRequest {
            command: "ADD".to_owned(),
            container_id: name.clone(),
            netns: netns.path(),
            ifname: "eth0".to_owned(),
            args: format!("K8S_POD_NAMESPACE=test;K8S_POD_NAME={name}"),
            config: br#"{"cniVersion":"1.1.0"}"#.to_vec(),
        };
        let answer = runtime.block_on(skep_network::handle_cni(&self.network, &request))?;
        let again = runtime.block_on(skep_network::handle_cni(&self.network, &request))?;
        anyhow::ensure!(answer == again, "a second ADD answers something else");
        let answer: serde_json::Value = serde_json::from_str(&answer)?;
        let address = |at: usize| -> Result<IpAddr> {
            let text = answer["ips"][at]["address"].as_str().context("no address")?;
            Ok(text.parse::<IpNet>()?.addr())
        };
        let server = Server::start_dual(&netns, &name, POD_PORT);
        let attachments = runtime.block_on(self.network.attachments());
        let attachment = attachments.into_iter().find(|one| one.pod_name == name).context("no attachment")?;
        let addresses = [address(0)?, address(1)?];
        self.pods.push(MemberPod { name, addresses, attachment, netns, _server: server });
        Ok(())
    }

    /// Its datapath.
    ///
    /// # Panics
    /// The daemon is dead.
    pub fn datapath(&self) -> Arc<Datapath> {
        self.datapath.get()
    }

    /// Runs `f` while the process is one of the node's: sockets made meanwhile are translated.
    ///
    /// # Panics
    /// The process cannot be moved.
    pub fn inside<T>(&self, f: impl FnOnce() -> T) -> T {
        let _home = Home::leave_for(&self.cgroup).expect("move into the node's cgroup");
        f()
    }

    /// The daemon's death.
    pub fn kill(&self) {
        *self.datapath.datapath.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A new daemon.
    ///
    /// # Errors
    /// The datapath's own.
    pub fn revive(&self) -> Result<()> {
        let datapath = self.netns.enter(|| Datapath::open(&self.options))??;
        *self.datapath.datapath.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(datapath));
        Ok(())
    }

    /// The value of a counter.
    ///
    /// # Panics
    /// It cannot be read.
    pub fn counter(&self, metric: Metric) -> u64 {
        let rows = self.datapath().inspect().counters().expect("read counters");
        rows.iter().find(|row| row.metric == metric).map_or(0, |row| row.packets)
    }
}

/// Joins a namespace to the switch.
fn plug(switch: &Netns, netns: &Netns, port: &str, addresses: &[IpAddr]) -> Result<()> {
    switch.ip(&["link", "add", port, "type", "veth", "peer", "name", LINK, "netns", netns.name()])?;
    switch.ip(&["link", "set", port, "master", "br0", "up"])?;
    for address in addresses {
        let text = format!("{address}/{}", if address.is_ipv4() { 24 } else { 64 });
        let nodad = if address.is_ipv4() { &[][..] } else { &["nodad"][..] };
        netns.ip(&[&["addr", "add", &text, "dev", LINK], nodad].concat())?;
    }
    netns.ip(&["link", "set", LINK, "up"])
}

/// Calls a server; gives back who answered, the caller as the server saw it, and the connection.
///
/// # Errors
/// No connection, or no answer in time.
///
/// # Panics
/// The namespace is gone.
pub fn call(from: &Netns, to: IpAddr) -> std::io::Result<(String, SocketAddr, TcpStream)> {
    call_at(from, SocketAddr::new(to, POD_PORT))
}

/// As [`call`], at any port.
///
/// # Errors
/// As for [`call`].
///
/// # Panics
/// As for [`call`].
pub fn call_at(from: &Netns, to: SocketAddr) -> std::io::Result<(String, SocketAddr, TcpStream)> {
    let connect = || TcpStream::connect_timeout(&to, PATIENCE);
    let stream = from.enter(connect).expect("enter the caller's namespace")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::with_capacity(64, &stream).read_line(&mut line)?;
    let (name, peer) = split(&line)?;
    Ok((name, peer, stream))
}

/// A UDP socket that talks to a server, from a port or from any (0).
///
/// # Panics
/// None can be had.
pub fn datagrams(from: &Netns, own_port: u16, to: IpAddr) -> UdpSocket {
    datagrams_at(from, own_port, SocketAddr::new(to, POD_PORT))
}

/// As [`datagrams`], to any port.
///
/// # Panics
/// As for [`datagrams`].
pub fn datagrams_at(from: &Netns, own_port: u16, to: SocketAddr) -> UdpSocket {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = from.enter(|| UdpSocket::bind((any, own_port)).expect("bind")).expect("enter the namespace");
    socket.set_read_timeout(Some(PATIENCE)).expect("set a time-out");
    from.enter(|| socket.connect(to)).expect("enter the namespace").expect("connect");
    socket
}

/// Asks a server by a datagram; gives back who answered, and the caller as the server saw it.
///
/// # Errors
/// Refused, or no answer in time.
pub fn ask(socket: &UdpSocket) -> std::io::Result<(String, SocketAddr)> {
    socket.send(b"who")?;
    let mut buffer = [0; 256];
    let len = socket.recv(&mut buffer)?;
    split(&String::from_utf8_lossy(&buffer[..len]))
}

/// How much a counter of a node rises while `f` runs.
pub fn moved<T>(node: &Member, metric: Metric, f: impl FnOnce() -> T) -> (T, u64) {
    let before = node.counter(metric);
    let result = f();
    (result, node.counter(metric) - before)
}
