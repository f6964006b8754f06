//! A node, its pods, a client outside, and the node's datapath.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use skep_abi::Metric;
use skep_bpf::{Datapath, EndpointSpec, Options, detach_all};
use skep_testkit::{Cgroup, Netns, cgroup2_root};

use crate::Server;

/// The client's address, outside the node.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// The node's address.
pub const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
/// The port that servers in pods listen on.
pub const POD_PORT: u16 = 8080;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
pub(crate) static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A node with pods and a client.
pub struct World {
    /// The node's datapath; taking it out is the daemon's death.
    pub datapath: Option<Datapath>,
    /// The pods.
    pub pods: Vec<Pod>,
    /// The node's namespace.
    pub node: Netns,
    /// The client's namespace.
    pub client: Netns,
    pins: Pins,
    home: Home,
    cgroup: Cgroup,
    _lock: MutexGuard<'static, ()>,
}

/// A pod with a server.
pub struct Pod {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its name, which its server answers with.
    pub name: String,
    /// Interface index of the host side of its veth.
    pub ifindex: u32,
    /// Its server.
    pub server: Option<Server>,
    /// Its namespace.
    pub netns: Netns,
    host_mac: [u8; 6],
    pod_mac: [u8; 6],
}

/// Pins, taken down at the end.
pub(crate) struct Pins(pub(crate) PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = detach_all(&self.0) {
            eprintln!("left behind {}: {error}", self.0.display());
        }
    }
}

/// The cgroup that the process came from, and goes back to.
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn leave_for(cgroup: &Cgroup) -> Result<Self> {
        let text = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/")).context("no cgroup2 membership")?;
        let home = Self(cgroup2_root()?.join(path));
        fs::write(cgroup.procs(), "0").context("move into the test's cgroup")?;
        Ok(home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.0.join("cgroup.procs"), "0") {
            eprintln!("cannot go back to {}: {error}", self.0.display());
        }
    }
}

impl World {
    /// Makes one with so many pods, their servers running and the datapath attached.
    ///
    /// # Panics
    /// The host cannot: not root, no cgroup2, an old kernel; the error says which.
    pub fn new(pods: u8) -> Self {
        let lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        Self::build(pods, lock).unwrap_or_else(|error| panic!("no test world on this host: {error:#}"))
    }

    fn build(pods: u8, lock: MutexGuard<'static, ()>) -> Result<Self> {
        let tag = format!("skt{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let cgroup = Cgroup::create(&tag)?;
        let home = Home::leave_for(&cgroup)?;
        let node = Netns::create(&format!("{tag}-node"))?;
        let client = Netns::create(&format!("{tag}-client"))?;
        let side = |netns, device, address| skep_testkit::Side { netns, device, address: (address, 24) };
        skep_testkit::connect(&side(&node, "uplink", NODE), &side(&client, "eth0", CLIENT))?;
        write_sysctl(&node, "net/ipv4/ip_forward", "1")?;
        let mut world = Self {
            datapath: None,
            pods: Vec::new(),
            node,
            client,
            pins: Pins(skep_bpf::pin_dir(&tag)),
            home,
            cgroup,
            _lock: lock,
        };
        world.open()?;
        for number in 0..pods {
            let pod = Pod::create(&world.node, &tag, number)?;
            world.pods.push(pod);
            world.adopt_pod(usize::from(number))?;
        }
        Ok(world)
    }

    /// The datapath.
    ///
    /// # Panics
    /// The daemon is dead.
    pub fn datapath(&self) -> &Datapath {
        self.datapath.as_ref().expect("the daemon lives")
    }

    /// Where it is pinned.
    pub fn pin_dir(&self) -> &Path {
        &self.pins.0
    }

    /// How it is opened.
    pub fn options(&self) -> Options {
        let mut options = Options::new(&self.pins.0, self.cgroup.path());
        options.link = Some("uplink".to_owned());
        options.addresses = vec![NODE.into()];
        options
    }

    /// Starts the daemon, anew or again.
    ///
    /// # Errors
    /// The datapath's own.
    pub fn open(&mut self) -> Result<()> {
        let options = self.options();
        let datapath = self.node.enter(|| Datapath::open(&options))??;
        datapath.set_node_addresses(&[NODE.into()])?;
        self.datapath = Some(datapath);
        Ok(())
    }

    /// Tells the datapath of a pod.
    ///
    /// # Errors
    /// The datapath's own.
    pub fn adopt_pod(&self, number: usize) -> Result<()> {
        let pod = &self.pods[number];
        self.datapath().upsert_endpoint(&EndpointSpec {
            addresses: vec![pod.address.into()],
            ifindex: pod.ifindex,
            host_mac: pod.host_mac,
            pod_mac: pod.pod_mac,
            pod: format!("test/{}", pod.name),
        })?;
        self.node.enter(|| self.datapath().attach_pod_link(pod.ifindex))??;
        Ok(())
    }

    /// Runs `f` while the process is in no cgroup of the node's, as the client's process is in life: sockets made meanwhile are not
    /// translated.
    ///
    /// # Panics
    /// The process cannot be moved.
    pub fn outside<T>(&self, f: impl FnOnce() -> T) -> T {
        fs::write(self.home.0.join("cgroup.procs"), "0").expect("leave the node's cgroup");
        let result = f();
        fs::write(self.cgroup.procs(), "0").expect("come back to the node's cgroup");
        result
    }

    /// Every pod's server, as backends.
    pub fn backends(&self) -> Vec<skep_netmodel::Backend> {
        self.pods.iter().map(|pod| crate::backend(pod.address, POD_PORT)).collect()
    }
}

impl Pod {
    fn create(node: &Netns, tag: &str, number: u8) -> Result<Self> {
        let netns = Netns::create(&format!("{tag}-pod{number}"))?;
        let (name, device) = (format!("pod{number}"), format!("veth{number}"));
        let address = Ipv4Addr::new(10, 42, 0, number + 2);
        let (host_mac, pod_mac) = ([2, 0x5e, 0, 0, 1, number], [2, 0x5e, 0, 0, 2, number]);
        let (host, own) = (mac_text(host_mac), mac_text(pod_mac));
        node.ip(&[
            "link",
            "add",
            &device,
            "address",
            &host,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "address",
            &own,
            "netns",
            netns.name(),
        ])?;
        let gateway = "169.254.1.1";
        for args in [
            &["addr", "add", &format!("{address}/32"), "dev", "eth0"][..],
            &["link", "set", "eth0", "up"],
            &["route", "add", gateway, "dev", "eth0", "scope", "link"],
            &["route", "add", "default", "via", gateway, "dev", "eth0"],
            &["neigh", "add", gateway, "lladdr", &host, "dev", "eth0", "nud", "permanent"],
        ] {
            netns.ip(args)?;
        }
        node.ip(&["link", "set", &device, "up"])?;
        node.ip(&["route", "add", &format!("{address}/32"), "dev", &device, "scope", "link"])?;
        node.ip(&["neigh", "add", &address.to_string(), "lladdr", &own, "dev", &device, "nud", "permanent"])?;
        let ifindex = node.enter(|| nix::net::if_::if_nametoindex(device.as_str()))??;
        let server = Some(Server::start(&netns, &name, POD_PORT));
        Ok(Self { address, name, ifindex, server, netns, host_mac, pod_mac })
    }
}

/// Calls a TCP service from a namespace; gives back who answered, the caller as the server saw it, and the connection.
///
/// # Errors
/// No connection, or no answer in time.
pub fn call_tcp(from: &Netns, to: SocketAddrV4) -> std::io::Result<(String, SocketAddr, TcpStream)> {
    let stream = from.enter(|| TcpStream::connect(to)).expect("enter the caller's namespace")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::with_capacity(64, &stream).read_line(&mut line)?;
    let (name, peer) = split(&line)?;
    Ok((name, peer, stream))
}

/// A UDP socket of a namespace.
///
/// # Panics
/// None can be had.
pub fn udp_socket(from: &Netns) -> UdpSocket {
    let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bind");
    let socket = from.enter(bind).expect("enter the caller's namespace");
    socket.set_read_timeout(Some(PATIENCE)).expect("set a time-out");
    socket
}

/// Sends a datagram and waits for the answer; gives back who answered, the caller as the server saw it, and the answer's source.
///
/// # Errors
/// Refused, or no answer in time.
pub fn ask_udp(socket: &UdpSocket, to: SocketAddrV4) -> std::io::Result<(String, SocketAddr, SocketAddr)> {
    socket.send_to(b"who", to)?;
    let mut buffer = [0; 256];
    let (len, source) = socket.recv_from(&mut buffer)?;
    let (name, peer) = split(&String::from_utf8_lossy(&buffer[..len]))?;
    Ok((name, peer, source))
}

pub(crate) fn split(line: &str) -> std::io::Result<(String, SocketAddr)> {
    let bad = || std::io::Error::other(format!("unexpected answer {line:?}"));
    let (name, peer) = line.trim().split_once(' ').ok_or_else(bad)?;
    Ok((name.to_owned(), peer.parse().map_err(|_| bad())?))
}

/// The value of a counter.
///
/// # Panics
/// It cannot be read.
pub fn counter(world: &World, metric: Metric) -> u64 {
    let rows = world.datapath().inspect().counters().expect("read counters");
    rows.iter().find(|row| row.metric == metric).map_or(0, |row| row.packets)
}

pub(crate) fn write_sysctl(netns: &Netns, path: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(path);
    netns.enter(|| fs::write(&path, value))?.with_context(|| format!("write {}", path.display()))
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
