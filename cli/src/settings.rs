//! Settings that several verbs share.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use nix::sched::{CloneFlags, setns};
use skep_server::PodRange;

use crate::uplink;

/// What and how to log.
#[derive(clap::Args)]
pub(crate) struct Log {
    /// What to log, e.g. info or skep_agent=debug,info.
    #[arg(long, env = "SKEP_LOG", default_value = "info,openraft=warn")]
    log: String,
    /// Log as JSON lines.
    #[arg(long)]
    log_json: bool,
}

impl Log {
    pub(crate) fn init(&self) -> Result<()> {
        skep_telemetry::init(&skep_telemetry::Settings { json: self.log_json, filter: self.log.clone() })?;
        Ok(())
    }
}

/// The cluster's addresses and certificates.
#[derive(clap::Args)]
pub(crate) struct Cluster {
    /// Addresses for pods, from which each node gets a range: one of IPv4, one of IPv6, or both with a comma.
    #[arg(long, default_value = "10.42.0.0/16", value_delimiter = ',', value_name = "CIDR,…")]
    cluster_cidr: Vec<IpNet>,
    /// The length of the prefix of a node's range of IPv4.
    #[arg(long, default_value_t = 24, value_name = "LENGTH")]
    node_cidr_mask_size_ipv4: u8,
    /// The length of the prefix of a node's range of IPv6.
    #[arg(long, default_value_t = 64, value_name = "LENGTH")]
    node_cidr_mask_size_ipv6: u8,
    /// Addresses for Services: one range, or one of each address family with a comma, the default one first.
    #[arg(long, default_value = "10.96.0.0/16", value_delimiter = ',', value_name = "CIDR,…")]
    pub(crate) service_cidr: Vec<IpNet>,
    /// How long certificates are good that nodes ask for, e.g. 8760h.
    #[arg(long, default_value = "8760h", value_parser = duration, value_name = "TIME")]
    cluster_signing_duration: Duration,
}

impl Cluster {
    /// Settings of a control plane that nodes reach at `advertise`.
    pub(crate) fn control_plane(
        &self,
        state_dir: PathBuf,
        advertise: SocketAddr,
        names: Vec<String>,
    ) -> Result<skep_server::Options> {
        Ok(skep_server::Options {
            state_dir,
            advertise,
            service_cidrs: one_of_each("--service-cidr", &self.service_cidr)?.to_vec(),
            pod_ranges: self.pod_ranges()?,
            signing_lifetime: self.cluster_signing_duration,
            names,
        })
    }

    fn pod_ranges(&self) -> Result<Vec<PodRange>> {
        let range = |cluster: &IpNet| {
            let (flag, len) = match cluster {
                IpNet::V4(_) => ("ipv4", self.node_cidr_mask_size_ipv4),
                IpNet::V6(_) => ("ipv6", self.node_cidr_mask_size_ipv6),
            };
            PodRange::new(*cluster, len).with_context(|| format!("--cluster-cidr with --node-cidr-mask-size-{flag}"))
        };
        one_of_each("--cluster-cidr", &self.cluster_cidr)?.iter().map(range).collect()
    }
}

/// What a node is told besides its name and its cluster.
#[derive(clap::Args)]
pub(crate) struct Node {
    /// The node's addresses: one, or one of each family with a comma, the one first that it is known by [default: that of --link].
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS,…")]
    node_ip: Vec<IpAddr>,
    /// The node's interface to the outside [default: that of the default route].
    #[arg(long)]
    link: Option<String>,
    /// How packets get to other nodes' pods: native (as they are, by routes) or vxlan (in a tunnel).
    #[arg(long, default_value_t = skep_noded::RoutingMode::Native)]
    routing: skep_noded::RoutingMode,
    /// A prefix outside of the cluster that knows pods by their own addresses: packets there are not masqueraded; may be repeated.
    #[arg(long, value_name = "CIDR")]
    masquerade_except: Vec<IpNet>,
    /// An OCI archive to import at start; may be repeated.
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// The image that holds each pod's namespaces.
    #[arg(long, default_value = "docker.io/library/skep-pause:1")]
    sandbox_image: String,
    /// Leave pods and their network running when this ends; the next start adopts them.
    #[arg(long)]
    keep: bool,
}

impl Node {
    /// The link to the outside, the node's addresses, and whether all is left running at the end.
    pub(crate) fn place(&self) -> Result<(String, Vec<IpAddr>, bool)> {
        let link = self.link.clone().map_or_else(uplink::default_link, Ok)?;
        let node_ips = if self.node_ip.is_empty() { vec![uplink::address_of(&link)?] } else { self.node_ip.clone() };
        for ip in &node_ips {
            is_reached_from_pods("--node-ip", *ip).context("give the node's own address on --link")?;
        }
        Ok((link, node_ips, self.keep))
    }

    /// Settings of a node; the process must be in its namespace.
    pub(crate) fn options(
        &self,
        name: &str,
        state_dir: PathBuf,
        service_cidrs: &[IpNet],
    ) -> Result<skep_noded::Options> {
        let (link, node_ips, keep) = self.place()?;
        Ok(skep_noded::Options {
            name: name.to_owned(),
            state_dir,
            node_ips,
            link: Some(link),
            service_cidrs: one_of_each("--service-cidr", service_cidrs)?.to_vec(),
            images: self.images.clone(),
            sandbox_image: self.sandbox_image.clone(),
            routing: self.routing,
            masquerade_except: self.masquerade_except.clone(),
            teardown: !keep,
            ..Default::default()
        })
    }
}

/// An address that stands in objects for others to use: not one that means something else in each place.
pub(crate) fn is_reached_from_pods(flag: &str, ip: IpAddr) -> Result<()> {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let what = if ip.is_loopback() {
        "a loopback address"
    } else if ip.is_unspecified() {
        "no one address"
    } else if link_local {
        "a link-local address"
    } else if ip.is_multicast() {
        "a multicast address"
    } else {
        return Ok(());
    };
    bail!("{flag} {ip} is {what}, which pods cannot reach")
}

/// Ranges of which two are not of one family.
fn one_of_each<'a>(flag: &str, ranges: &'a [IpNet]) -> Result<&'a [IpNet]> {
    let families = |v4| ranges.iter().filter(|range| range.network().is_ipv4() == v4).count();
    if families(true) > 1 || families(false) > 1 {
        bail!("{flag}: one range of each address family at most");
    }
    Ok(ranges)
}

/// A number with a unit: 90s, 30m, 24h.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a time such as 90s, 30m or 24h");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let unit_s = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(bad()),
    };
    number.checked_mul(unit_s).map(Duration::from_secs).ok_or_else(bad)
}

/// Where a node or a cluster keeps its state unless told otherwise.
pub(crate) fn default_state_dir(name: &str) -> PathBuf {
    Path::new("/var/lib/skep").join(name)
}

pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!("listen on {address}: choose another address with --listen, or end what holds it (ss -ltnp)")
    })
}

/// Moves this thread, and those that it starts, into a network namespace. Sockets that are there stay where they were made.
pub(crate) fn enter(netns: Option<&Path>) -> Result<()> {
    let Some(path) = netns else { return Ok(()) };
    let file = File::open(path).with_context(|| format!("open network namespace {}", path.display()))?;
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET).with_context(|| format!("enter network namespace {}", path.display()))
}

/// Runs a future on a runtime of its own, whose threads are in this thread's namespace.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?.block_on(future)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        for bad in ["", "5", "m", "5d", "-1s", "99999999999999999999s", "9999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
