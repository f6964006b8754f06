//! Pods' interfaces: made, checked, removed, and found again after a restart.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::{Mutex, watch};

use crate::cni;
use crate::ipam::Pools;
use crate::lease::{Attachment, Key, Leases, PortMapping};
use crate::link::{Link, Links, Pair};
use crate::mac::Mac;
use crate::netns::Netns;
use crate::sysctl;

/// What every pod's default routes point to. Nobody has these: the pod knows their MAC address for good.
const GATEWAY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
const GATEWAY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
/// How the interfaces that lead to pods are called on the node.
pub(crate) const HOST_PREFIX: &str = "skp";
/// The usual one of Ethernet.
const MTU_DEFAULT: u32 = 1500;

/// What the network of one node is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// The ranges that pods' addresses come from: one, or one of each family.
    pub pod_cidrs: Vec<IpNet>,
    /// What the node calls itself towards its pods and other nodes': addresses of its own, one of each family at most.
    pub node_ips: Vec<IpAddr>,
    /// The node's link to other nodes.
    pub link: Option<String>,
    /// Where the leases are kept.
    pub lease_file: PathBuf,
    /// The MTU of pods' interfaces; by default that of the node's link, or of the link which the default route leaves by, less
    /// `mtu_overhead`.
    pub mtu: Option<u32>,
    /// What a tunnel adds to pods' packets.
    pub mtu_overhead: u32,
    /// The node's network namespace; by default that of the calling thread.
    pub netns: Option<PathBuf>,
}

/// Whom attachments are told to before a pod is told of its network: the datapath.
pub trait Endpoints: Send + Sync + 'static {
    /// The pod's interface is there and carries no traffic yet. An error fails the ADD.
    ///
    /// # Errors
    /// The datapath's.
    fn attached(&self, attachment: &Attachment) -> anyhow::Result<()>;

    /// The pod's interface is about to go.
    ///
    /// # Errors
    /// The datapath's; the interface goes all the same.
    fn detached(&self, attachment: &Attachment) -> anyhow::Result<()>;
}

/// Why the node's network could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("node network: {what}")]
pub struct OpenError {
    what: String,
    #[source]
    source: io::Error,
}

/// A pod that asks for its interface.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) key: Key,
    pub(crate) netns: PathBuf,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) port_mappings: Vec<PortMapping>,
}

/// The node's side of the network. One call at a time: what they wait for, the kernel does one at a time as well.
pub struct Network {
    node: Netns,
    pub(crate) links: Links,
    pub(crate) node_ips: Vec<IpAddr>,
    mtu: u32,
    endpoints: Arc<dyn Endpoints>,
    state: Mutex<State>,
    ported: watch::Receiver<Vec<Attachment>>,
}

struct State {
    pools: Pools,
    leases: Leases,
    /// Those of the leases that have ports of the node.
    ported: watch::Sender<Vec<Attachment>>,
}

impl Network {
    /// Prepares the node's namespace, reads the leases, and brings them and the kernel together: interfaces that nobody
    /// holds a lease of are removed, and leases whose interface went with its pod. `endpoints` is told the rest.
    ///
    /// # Errors
    /// The namespace, the lease file or a setting of the kernel is not usable.
    pub async fn open(options: Options, endpoints: Arc<dyn Endpoints>) -> Result<Self, OpenError> {
        let at = |what: &str| {
            let what = what.to_owned();
            move |source: io::Error| OpenError { what, source }
        };
        let node = match &options.netns {
            Some(path) => Netns::open(path).map_err(at(&format!("namespace {}", path.display())))?,
            None => Netns::current().map_err(at("own namespace"))?,
        };
        let (link, v6) = (options.link.clone(), options.pod_cidrs.iter().any(|range| range.addr().is_ipv6()));
        let prepare = move || sysctl::prepare_node(link.as_deref(), v6);
        node.run(prepare).await.map_err(at("settings of the kernel"))?;
        let links = Links::connect(&node).await.map_err(at("netlink socket"))?;
        let mtu = match options.mtu {
            Some(mtu) => mtu,
            None => {
                uplink_mtu(&links, options.link.as_deref()).await.map_err(at("MTU of the uplink"))?
                    - options.mtu_overhead
            }
        };
        let lease_path = options.lease_file.clone();
        let (leases, last) =
            Leases::load(options.lease_file).map_err(at(&format!("lease file {}", lease_path.display())))?;
        let taken = leases.iter().flat_map(|lease| lease.addresses.iter().copied());
        let pools = Pools::new(&options.pod_cidrs, taken, &last);
        let (sender, ported) = watch::channel(Vec::new());
        let state = State { pools, leases, ported: sender };
        state.publish();
        let state = Mutex::new(state);
        let network = Network { node, links, node_ips: options.node_ips, mtu, endpoints, state, ported };
        network.adopt().await.map_err(at("interfaces of an earlier run"))?;
        Ok(network)
    }

    /// Every pod's interface.
    pub async fn attachments(&self) -> Vec<Attachment> {
        self.state.lock().await.leases.iter().cloned().collect()
    }

    /// The interfaces of pods that have ports of the node, now and whenever they change.
    #[must_use]
    pub fn ported(&self) -> watch::Receiver<Vec<Attachment>> {
        self.ported.clone()
    }

    /// The MTU of pods' interfaces.
    #[must_use]
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Removes every pod's interface.
    ///
    /// # Errors
    /// The first one that cannot be removed; the others are tried.
    pub async fn remove_all(&self) -> Result<(), cni::Error> {
        self.collect(&BTreeSet::new()).await
    }

    async fn adopt(&self) -> io::Result<()> {
        let mut state = self.state.lock().await;
        let links = self.links.list().await?;
        let leases: Vec<Attachment> = state.leases.iter().cloned().collect();
        for lease in leases {
            let there = |link: &Link| link.name == lease.host_ifname && link.index == lease.host_ifindex;
            if !links.iter().any(there) {
                tracing::info!(container_id = lease.container_id, addresses = ?lease.addresses, "lease of a pod that went");
                state.forget(&lease)?;
            } else if let Err(error) = self.endpoints.attached(&lease) {
                tracing::error!(addresses = ?lease.addresses, error = format!("{error:#}"), "endpoint is not programmed");
            }
        }
        for link in links.iter().filter(|link| link.name.starts_with(HOST_PREFIX)) {
            if !state.leases.iter().any(|lease| lease.host_ifindex == link.index) {
                tracing::info!(link = link.name, "interface of no pod is removed");
                self.links.delete(link.index).await?;
            }
        }
        Ok(())
    }

    /// Whether a pod could be attached now.
    pub(crate) async fn status(&self) -> Result<(), cni::Error> {
        let range = self.state.lock().await.pools.ranges();
        match self.links.get("lo").await {
            Ok(_) => Ok(()),
            Err(error) => Err(cni::Error::new(
                cni::Error::NOT_AVAILABLE,
                format!("network of {range} is not available"),
                error.to_string(),
            )),
        }
    }

    /// Gives the pod its interface. Asked again for the same one, it answers the same.
    pub(crate) async fn add(&self, pod: Pod) -> Result<Attachment, cni::Error> {
        let mut state = self.state.lock().await;
        if let Some(lease) = state.leases.get(&pod.key).cloned() {
            if lease.netns == pod.netns && self.examine(&lease).await.is_ok() {
                return Ok(lease);
            }
            self.detach(&mut state, &lease).await?;
        }
        let netns = Netns::open(&pod.netns)
            .map_err(|error| cni::Error::io(format!("network namespace {}", pod.netns.display()), &error))?;
        let addresses = state.pools.take().map_err(|range| {
            let details = format!("every address of {range} is in use");
            cni::Error::new(cni::Error::POOL_EXHAUSTED, "no address for the pod", details)
        })?;
        let mut attachment = self.describe(pod, addresses);
        let made = match self.attach(&mut attachment, &netns).await {
            Ok(()) => state.keep(&attachment).map_err(|error| cni::Error::io("lease file", &error)),
            Err(error) => Err(error),
        };
        if let Err(error) = made {
            self.undo(&attachment).await;
            state.pools.release(&attachment.addresses);
            return Err(error);
        }
        tracing::debug!(container_id = attachment.container_id, addresses = ?attachment.addresses, link = attachment.host_ifname, "pod attached");
        Ok(attachment)
    }

    /// Takes the interface away. One that is not there is as wanted.
    pub(crate) async fn delete(&self, key: &Key) -> Result<(), cni::Error> {
        let mut state = self.state.lock().await;
        match state.leases.get(key).cloned() {
            Some(lease) => self.detach(&mut state, &lease).await,
            None => Ok(()),
        }
    }

    /// # Errors
    /// Code 101 where the kernel does not hold what was given.
    pub(crate) async fn check(&self, key: &Key, netns: &Path) -> Result<Attachment, cni::Error> {
        let state = self.state.lock().await;
        let failed = |details: String| {
            cni::Error::new(cni::Error::CHECK_FAILED, format!("attachment of {}", key.container_id), details)
        };
        let lease = state.leases.get(key).ok_or_else(|| failed(format!("no lease for {}", key.ifname)))?;
        if lease.netns != netns {
            return Err(failed(format!("it is in {}", lease.netns.display())));
        }
        self.examine(lease).await.map_err(failed)?;
        Ok(lease.clone())
    }

    /// Removes every attachment that is not in `valid`.
    pub(crate) async fn collect(&self, valid: &BTreeSet<Key>) -> Result<(), cni::Error> {
        let mut state = self.state.lock().await;
        let stale: Vec<Attachment> =
            state.leases.iter().filter(|lease| !valid.contains(&lease.key())).cloned().collect();
        let mut outcome = Ok(());
        for lease in stale {
            let removed = self.detach(&mut state, &lease).await;
            outcome = outcome.and(removed);
        }
        outcome
    }

    fn describe(&self, pod: Pod, addresses: Vec<IpAddr>) -> Attachment {
        let first = addresses.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Attachment {
            host_ifname: host_ifname(&pod.key),
            container_id: pod.key.container_id,
            ifname: pod.key.ifname,
            pod_namespace: pod.namespace,
            pod_name: pod.name,
            pod_uid: pod.uid,
            netns: pod.netns,
            addresses,
            host_ifindex: 0,
            host_mac: Mac::of_host(first),
            pod_mac: Mac::of_pod(first),
            mtu: self.mtu,
            port_mappings: pod.port_mappings,
        }
    }

    async fn attach(&self, attachment: &mut Attachment, netns: &Netns) -> Result<(), cni::Error> {
        let failed = |what: &str| {
            let msg = format!("{what} for {}", attachment.container_id);
            move |error: io::Error| cni::Error::io(msg, &error)
        };
        let host_ifname = attachment.host_ifname.clone();
        // One of an ADD that was killed half way.
        if let Some(link) = self.links.get(&host_ifname).await.map_err(failed("link"))? {
            self.links.delete(link.index).await.map_err(failed("old link"))?;
        }
        let pair = Pair {
            host_ifname: &host_ifname,
            host_mac: attachment.host_mac,
            pod_ifname: &attachment.ifname,
            pod_mac: attachment.pod_mac,
            pod_netns: netns,
            mtu: attachment.mtu,
        };
        self.links.add_pair(&pair).await.map_err(failed("veth pair"))?;
        let link = self.links.get(&host_ifname).await.map_err(failed("link"))?;
        let index = link.ok_or_else(|| failed("link")(io::ErrorKind::NotFound.into()))?.index;
        self.attach_host_end(attachment, index).await.map_err(failed("node's end"))?;
        attach_pod_end(attachment, netns).await.map_err(failed("pod's end"))?;
        attachment.host_ifindex = index;
        self.endpoints.attached(attachment).map_err(|error| {
            cni::Error::new(cni::Error::IO, format!("datapath for {}", attachment.container_id), format!("{error:#}"))
        })
    }

    async fn attach_host_end(&self, attachment: &Attachment, index: u32) -> io::Result<()> {
        let name = attachment.host_ifname.clone();
        let v6 = attachment.addresses.iter().any(IpAddr::is_ipv6);
        self.node.run(move || sysctl::prepare_host_link(&name, v6)).await?;
        self.links.set_up(index).await?;
        for &address in &attachment.addresses {
            self.links.add_host_route(address, index, self.node_ip(address)).await?;
            self.links.add_neighbour(index, address, attachment.pod_mac).await?;
        }
        Ok(())
    }

    /// What the node calls itself towards an address.
    pub(crate) fn node_ip(&self, towards: IpAddr) -> Option<IpAddr> {
        self.node_ips.iter().find(|own| own.is_ipv4() == towards.is_ipv4()).copied()
    }

    async fn detach(&self, state: &mut State, lease: &Attachment) -> Result<(), cni::Error> {
        if let Err(error) = self.endpoints.detached(lease) {
            tracing::error!(addresses = ?lease.addresses, error = format!("{error:#}"), "endpoint stays programmed");
        }
        let failed = |error: io::Error| cni::Error::io(format!("removal of {}", lease.host_ifname), &error);
        if let Some(link) = self.links.get(&lease.host_ifname).await.map_err(failed)? {
            self.links.delete(link.index).await.map_err(failed)?;
        }
        state.forget(lease).map_err(|error| cni::Error::io("lease file", &error))
    }

    async fn undo(&self, attachment: &Attachment) {
        if attachment.host_ifindex != 0
            && let Err(error) = self.endpoints.detached(attachment)
        {
            tracing::debug!(error = format!("{error:#}"), "endpoint was not programmed");
        }
        match self.links.get(&attachment.host_ifname).await {
            Ok(Some(link)) => {
                if let Err(error) = self.links.delete(link.index).await {
                    tracing::warn!(link = link.name, %error, "link left behind");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(link = attachment.host_ifname, %error, "link left behind"),
        }
    }

    /// Compares an attachment with the kernel.
    async fn examine(&self, lease: &Attachment) -> Result<(), String> {
        let link = self.links.get(&lease.host_ifname).await.map_err(|error| error.to_string())?;
        if link.is_none_or(|link| link.index != lease.host_ifindex) {
            return Err(format!("link {} is gone", lease.host_ifname));
        }
        let netns = Netns::open(&lease.netns).map_err(|error| format!("{}: {error}", lease.netns.display()))?;
        let inside = Links::connect(&netns).await.map_err(|error| error.to_string())?;
        let link = inside.get(&lease.ifname).await.map_err(|error| error.to_string())?;
        let Some(link) = link else { return Err(format!("{} is gone", lease.ifname)) };
        if link.mac != Some(lease.pod_mac) {
            return Err(format!("{} has another MAC address: {:?}", lease.ifname, link.mac));
        }
        let addresses = inside.addresses(link.index).await.map_err(|error| error.to_string())?;
        match lease.addresses.iter().find(|address| !addresses.contains(address)) {
            Some(address) => Err(format!("{} does not have the address {address}", lease.ifname)),
            None => Ok(()),
        }
    }
}

impl State {
    fn keep(&mut self, attachment: &Attachment) -> io::Result<()> {
        self.leases.put(attachment.clone(), self.pools.last())?;
        self.publish();
        Ok(())
    }

    fn forget(&mut self, lease: &Attachment) -> io::Result<()> {
        self.leases.remove(&lease.key(), self.pools.last())?;
        self.pools.release(&lease.addresses);
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        let ported = self.leases.iter().filter(|lease| !lease.port_mappings.is_empty());
        let next: Vec<Attachment> = ported.cloned().collect();
        self.ported.send_if_modified(|held| {
            let changed = *held != next;
            *held = next;
            changed
        });
    }
}

/// What a pod's default route of the family of `address` points to.
pub(crate) const fn gateway(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { GATEWAY_V4 } else { GATEWAY_V6 }
}

/// The MTU of the node's link, or of the one that the default route leaves by.
async fn uplink_mtu(links: &Links, link: Option<&str>) -> io::Result<u32> {
    if let Some(name) = link
        && let Some(link) = links.get(name).await?
    {
        return Ok(link.mtu);
    }
    Ok(links.uplink_mtu().await?.unwrap_or(MTU_DEFAULT))
}

/// Loopback, addresses, gateways and default routes inside of the pod.
async fn attach_pod_end(attachment: &Attachment, netns: &Netns) -> io::Result<()> {
    let name = attachment.ifname.clone();
    let v6 = attachment.addresses.iter().any(IpAddr::is_ipv6);
    netns.run(move || sysctl::prepare_pod_link(&name, v6)).await?;
    let inside = Links::connect(netns).await?;
    if let Some(loopback) = inside.get("lo").await? {
        inside.set_up(loopback.index).await?;
    }
    let link = inside.get(&attachment.ifname).await?.ok_or(io::ErrorKind::NotFound)?;
    inside.set_up(link.index).await?;
    for &address in &attachment.addresses {
        let gateway = gateway(address);
        inside.add_address(link.index, address).await?;
        inside.add_neighbour(link.index, gateway, attachment.host_mac).await?;
        inside.add_host_route(gateway, link.index, None).await?;
        inside.add_default_route(gateway, link.index).await?;
    }
    Ok(())
}

/// A name of 14 bytes out of what tells attachments apart (FNV-1a, 64 bits, the upper 44 of them).
fn host_ifname(key: &Key) -> String {
    let bytes = key.container_id.bytes().chain([0]).chain(key.ifname.bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{HOST_PREFIX}{:011x}", hash >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_are_stable_and_short() {
        let key = |container_id: &str| Key { container_id: container_id.to_owned(), ifname: "eth0".to_owned() };
        let name = host_ifname(&key("a"));
        assert_eq!(name.len(), 14);
        assert_eq!(name, host_ifname(&key("a")));
        assert_ne!(name, host_ifname(&key("b")));
    }
}
