//! What a node is told at start.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
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
    /// The node's own address, which it must have already.
    pub node_ip: Ipv4Addr,
    /// The interface that node ports are served on from outside; without one they are served to this node alone.
    pub link: Option<String>,
    /// Where pods' addresses come from; `None` takes the range that the control plane allocates.
    pub pod_cidr: Option<Ipv4Net>,
    /// The node's IPv6 address, where it has one that others reach it at.
    pub node_ip_v6: Option<Ipv6Addr>,
    /// Where pods' IPv6 addresses come from, where they have any.
    pub pod_cidr_v6: Option<Ipv6Net>,
    /// Where Services' addresses come from.
    pub service_cidr: Ipv4Net,
    /// OCI archives to import at start.
    pub images: Vec<PathBuf>,
    /// The image that holds each pod's namespaces.
    pub sandbox_image: String,
    /// The port of the kubelet's API on `node_ip`; 0 takes a free one.
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
            node_ip: Ipv4Addr::UNSPECIFIED,
            link: None,
            pod_cidr: None,
            node_ip_v6: None,
            pod_cidr_v6: None,
            service_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16),
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
        ensure!(!self.node_ip.is_unspecified(), "node_ip: it must be one of the node's own addresses");
        let service_cidr = self.service_cidr;
        if let Some(pod_cidr) = self.pod_cidr {
            ensure!(!overlap(pod_cidr, service_cidr), "pod_cidr: {pod_cidr} overlaps with service_cidr {service_cidr}");
        }
        let ranges = self.pod_cidr.map(|range| ("pod_cidr", range));
        for (field, range) in ranges.into_iter().chain([("service_cidr", service_cidr)]) {
            ensure!(!range.contains(&self.node_ip), "{field}: {range} holds the node's own address {}", self.node_ip);
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

    /// The ranges of pods' addresses.
    pub(crate) fn pod_cidrs(&self) -> Vec<IpNet> {
        self.pod_cidr.map(IpNet::V4).into_iter().chain(self.pod_cidr_v6.map(IpNet::V6)).collect()
    }

    /// The node's directory in every cgroup hierarchy.
    pub(crate) fn cgroup(&self) -> String {
        cgroup(&self.name)
    }

    /// The node's own addresses, of each family one at most.
    pub(crate) fn node_ips(&self) -> Vec<IpAddr> {
        let six = self.node_ip_v6.map(IpAddr::V6);
        std::iter::once(IpAddr::V4(self.node_ip)).chain(six).collect()
    }

    /// The node's directory in bpffs.
    pub(crate) fn pin_dir(&self) -> PathBuf {
        skep_bpf::pin_dir(&self.name)
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

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_option_is_named() {
        let good = || Options { node_ip: Ipv4Addr::new(192, 0, 2, 1), ..Options::default() };
        good().validate().unwrap();
        for (bad, field) in [
            (Options { name: "../x".to_owned(), ..good() }, "name"),
            (Options { name: "-a".to_owned(), ..good() }, "name"),
            (Options { name: String::new(), ..good() }, "name"),
            (Options { state_dir: PathBuf::from("x"), ..good() }, "state_dir"),
            (Options { node_ip: Ipv4Addr::UNSPECIFIED, ..good() }, "node_ip"),
            (
                Options { node_ip: Ipv4Addr::new(10, 42, 0, 9), pod_cidr: "10.42.0.0/24".parse().ok(), ..good() },
                "pod_cidr",
            ),
            (Options { node_ip: Ipv4Addr::new(10, 96, 0, 9), ..good() }, "service_cidr"),
            (Options { pod_cidr: "10.96.3.0/24".parse().ok(), ..good() }, "pod_cidr"),
            (Options { routing: RoutingMode::Vxlan, ..good() }, "link"),
            (Options { images: vec![PathBuf::from("/none")], ..good() }, "images"),
        ] {
            let error = bad.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field}: ")), "{error}");
        }
    }
}
