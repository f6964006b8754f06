use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Taint;

/// What the agent is told at start. Nothing here changes while it runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Node object's name.
    pub node_name: String,
    /// The node's own address: reported in its status, used by host-network pods and as `status.hostIP`.
    pub node_ip: IpAddr,
    /// One more address, of the other family, where the node has one.
    pub second_node_ip: Option<IpAddr>,
    /// Written to `spec.podCIDRs` where they are not set; none leaves them to the control plane.
    pub pod_cidrs: Vec<String>,
    /// Holds `pods/` (volumes) and `logs/`. Must be an absolute path.
    pub root_dir: PathBuf,
    /// The node's directory in every cgroup hierarchy, for example `/skep-demo`; pods go to `pods/pod<uid>` below it.
    pub cgroup_parent: String,
    /// The runtime's CRI socket.
    pub cri_socket: PathBuf,
    /// Labels added to the Node besides the well-known ones.
    pub labels: BTreeMap<String, String>,
    /// Taints that the Node has when it is first created.
    pub register_taints: Vec<Taint>,
    /// The `pods` capacity.
    pub pods_max: u32,
    /// Settings of the HTTPS server. They must require client certificates. Without them no server is started.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The HTTPS server's port on `node_ip`; 0 takes a free one, which the Node's status then tells.
    pub kubelet_port: u16,
    /// Name servers of pods with `dnsPolicy: ClusterFirst`; empty means the node's own.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// What the Node reports as `nodeInfo.kubeletVersion`.
    pub version: String,
}

impl Options {
    /// Settings with everything that has a default at its default.
    pub fn new(node_name: impl Into<String>, node_ip: IpAddr, root_dir: PathBuf, cri_socket: PathBuf) -> Self {
        let node_name = node_name.into();
        Self {
            cgroup_parent: format!("/skep-{node_name}"),
            node_name,
            node_ip,
            second_node_ip: None,
            pod_cidrs: Vec::new(),
            root_dir,
            cri_socket,
            labels: BTreeMap::new(),
            register_taints: Vec::new(),
            pods_max: 110,
            tls: None,
            kubelet_port: 0,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            version: "v1.37.0+skep".to_owned(),
        }
    }

    /// All addresses of the node.
    pub(crate) fn node_ips(&self) -> Vec<IpAddr> {
        std::iter::once(self.node_ip).chain(self.second_node_ip).collect()
    }

    /// The directory of a pod's volumes, hosts file and termination messages.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root_dir.join("pods").join(uid)
    }

    /// The directory of a pod's container logs.
    pub(crate) fn log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.root_dir.join("logs/pods").join(format!("{namespace}_{name}_{uid}"))
    }

    /// The pod's cgroup, relative to the hierarchies' mount points.
    pub(crate) fn pod_cgroup(&self, uid: &str) -> String {
        format!("{}/pods/pod{uid}", self.cgroup_parent.trim_end_matches('/'))
    }
}
