//! What a node is told at start.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use ipnet::{IpNet, Ipv4Net};
use skep_netmodel::RoutingMode;

/// The longest name: it becomes part of a cgroup's and a directory's name, and that of the Node object.
const NAME_LEN_MAX: usize = 63;

/// What a node is told at start. Nothing here changes while it runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The Node object's name, a DNS label; also in `/skep-NAME` (cgroups) and `skep/NAME` (bpffs).
    pub name: String,
    /// Holds `containerd/`, `run/`, `cni/`, `pods/` and `logs/`.
    pub state_dir: PathBuf,
    /// The node's own addresses, which it must have already: one, or one of each family, the one first that it is known by.
    pub node_ips: Vec<IpAddr>,
    /// The interface that node ports are served on from outside; without one they are served to this node alone.
    pub link: Option<String>,
    /// Where pods' addresses come from, one range or one of each family; none takes those that the control plane allocates.
    pub pod_cidrs: Vec<IpNet>,
    /// Where Services' addresses come from.
    pub service_cidrs: Vec<IpNet>,
    /// OCI archives to import at start.
    pub images: Vec<PathBuf>,
    /// The image that holds each pod's namespaces.
    pub sandbox_image: String,
    /// The port of the kubelet's API on the first of `node_ips`; 0 takes a free one.
    pub kubelet_port: u16,
    /// Labels of the Node object besides the well-known ones.
    pub labels: BTreeMap<String, String>,
    /// The most pods that the node takes.
    pub pods_max: u32,
    /// Name servers of pods with `dnsPolicy: ClusterFirst`; empty means the node's own.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// How packets get to other nodes' pods.
    pub routing: RoutingMode,
    /// Whether pods' packets leave the cluster under the node's address.
    pub masquerade: bool,
    /// Prefixes outside of the cluster that know pods by their own addresses: packets there are not masqueraded.
    pub masquerade_except: Vec<IpNet>,
    /// Whether pods, network and containerd end with the node, rather than being left for the next one.
    pub teardown: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "skep".to_owned(),
            state_dir: PathBuf::from("/var/lib/skep/skep"),
            node_ips: Vec::new(),
            link: None,
            pod_cidrs: Vec::new(),
            service_cidrs: vec![Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16).into()],
            images: Vec::new(),
            sandbox_image: "docker.io/library/skep-pause:1".to_owned(),
            kubelet_port: 10250,
            labels: BTreeMap::new(),
            pods_max: 110,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            routing: RoutingMode::Native,
            masquerade: true,
            masquerade_except: Vec::new(),
            teardown: false,
        }
    }
}

impl Options {
    /// # Errors
    /// The first option that cannot be, by name.
    pub(crate) fn validate(&self) -> Result<()> {
        validate_name(&self.name)?;
        ensure!(self.state_dir.is_absolute(), "state_dir: {:?} is not an absolute path", self.state_dir);
        ensure!(!self.node_ips.is_empty(), "node_ips: the node has at least one address");
        for ip in &self.node_ips {
            ensure!(!ip.is_unspecified(), "node_ips: {ip} is none of the node's own addresses");
        }
        for (field, families) in [
            ("node_ips", self.node_ips.iter().map(IpAddr::is_ipv4).collect::<Vec<_>>()),
            ("pod_cidrs", self.pod_cidrs.iter().map(|range| range.addr().is_ipv4()).collect()),
            ("service_cidrs", self.service_cidrs.iter().map(|range| range.addr().is_ipv4()).collect()),
        ] {
            let one_each = families.len() < 2 || (families.len() == 2 && families[0] != families[1]);
            ensure!(one_each, "{field}: one of each address family at most");
        }
        for range in &self.pod_cidrs {
            let other = self.service_cidrs.iter().find(|other| overlap(range, other));
            ensure!(other.is_none(), "pod_cidrs: {range} overlaps with service_cidrs {:?}", self.service_cidrs);
        }
        let pods = self.pod_cidrs.iter().map(|range| ("pod_cidrs", range));
        for (field, range) in pods.chain(self.service_cidrs.iter().map(|range| ("service_cidrs", range))) {
            let own = self.node_ips.iter().find(|ip| range.contains(*ip));
            ensure!(own.is_none(), "{field}: {range} holds the node's own address {own:?}");
        }
        ensure!(
            self.routing == RoutingMode::Native || self.link.is_some(),
            "link: a tunnel needs to know the link that its packets leave by"
        );
        ensure!(!self.sandbox_image.is_empty(), "sandbox_image: it must not be empty");
        for image in &self.images {
            ensure!(image.is_file(), "images: {} is not a file", image.display());
        }
        Ok(())
    }

    /// The node's directory in every cgroup hierarchy.
    pub(crate) fn cgroup(&self) -> String {
        cgroup(&self.name)
    }

    /// The node's directory in bpffs.
    pub(crate) fn pin_dir(&self) -> PathBuf {
        skep_bpf::pin_dir(&self.name)
    }

    /// The addresses by which a caller on the node knows it.
    pub(crate) fn known_addresses(&self) -> Vec<IpAddr> {
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        [&loopback[..], &self.node_ips].concat()
    }

    /// Where the plugin and the CLI reach the daemon.
    pub(crate) fn socket(&self) -> PathBuf {
        self.state_dir.join("run/skep.sock")
    }
}

/// # Errors
/// Not a DNS label: it could then not be part of a path either.
pub(crate) fn validate_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edges = !name.starts_with('-') && !name.ends_with('-');
    ensure!(
        !name.is_empty() && name.len() <= NAME_LEN_MAX && edges && name.bytes().all(fits),
        "name: {name:?} is not a DNS label: up to 63 of a-z, 0-9 and '-', with '-' neither first nor last"
    );
    Ok(())
}

pub(crate) fn cgroup(name: &str) -> String {
    format!("/skep-{name}")
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_option_is_named() {
        let ip = |text: &str| text.parse().unwrap();
        let good = || Options { node_ips: vec![ip("192.0.2.1")], ..Options::default() };
        good().validate().unwrap();
        let pods = |text: &str| vec![text.parse().unwrap()];
        for (bad, field) in [
            (Options { name: "../x".to_owned(), ..good() }, "name"),
            (Options { name: "-a".to_owned(), ..good() }, "name"),
            (Options { name: String::new(), ..good() }, "name"),
            (Options { state_dir: PathBuf::from("x"), ..good() }, "state_dir"),
            (Options { node_ips: Vec::new(), ..good() }, "node_ips"),
            (Options { node_ips: vec![ip("::")], ..good() }, "node_ips"),
            (Options { node_ips: vec![ip("192.0.2.1"), ip("192.0.2.2")], ..good() }, "node_ips"),
            (Options { node_ips: vec![ip("10.42.0.9")], pod_cidrs: pods("10.42.0.0/24"), ..good() }, "pod_cidrs"),
            (Options { node_ips: vec![ip("10.96.0.9")], ..good() }, "service_cidrs"),
            (Options { pod_cidrs: pods("10.96.3.0/24"), ..good() }, "pod_cidrs"),
            (Options { routing: RoutingMode::Vxlan, ..good() }, "link"),
            (Options { images: vec![PathBuf::from("/none")], ..good() }, "images"),
        ] {
            let error = bad.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field}: ")), "{error}");
        }
    }
}
