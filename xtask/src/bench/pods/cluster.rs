//! Skep's own pods: a cluster of two nodes for each mode of routing.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use skep_testkit::fleet::{Fleet, Options};

use super::site::{Place, Pod, Site, enter};
use crate::build::Profile;
use crate::cluster;
use crate::demo::poll;
use crate::shell::read;

const WITHIN: Duration = Duration::from_secs(60);

/// A cluster, and its pods that are measured.
pub(super) struct Measured {
    pub(super) site: Site,
    fleet: Fleet,
}

impl Measured {
    /// Starts it.
    pub(super) fn start(name: &str, routing: &str, program: &Path, profile: Profile) -> Result<Measured> {
        let options = Options { node_args: vec!["--routing".to_owned(), routing.to_owned()], ..Options::default() };
        let fleet = Fleet::start(name, &cluster::parts(profile)?, options)?;
        let nodes = fleet.nodes();
        let [first, second] = nodes.as_slice() else { bail!("two nodes were asked for") };
        let pods = [pod(&fleet, "client", first)?, pod(&fleet, "near", first)?, pod(&fleet, "far", second)?];
        Ok(Measured { site: Site::open(pods, program, Vec::new())?, fleet })
    }

    /// Lays policies on every pod, of which the last alone lets the client in, and waits until it does.
    pub(super) fn restrict(&self, policies: usize) -> Result<()> {
        let closed = (1..policies).map(|number| {
            let source = Ipv4Addr::from(0xc0a8_0000 + u32::try_from(number).unwrap_or_default());
            policy(&format!("p{number}"), &json!({"ipBlock": {"cidr": format!("{source}/32")}}))
        });
        self.create(&closed.collect::<Vec<_>>())?;
        self.wait_reached(false)?;
        self.create(&[policy("open", &json!({"podSelector": {"matchLabels": {"run": "client"}}}))])?;
        self.wait_reached(true)
    }

    fn wait_reached(&self, wanted: bool) -> Result<()> {
        for place in Place::ALL {
            poll(&format!("policy at {}", self.site.server(place).address), WITHIN, || {
                Ok((self.site.is_reached(place) == wanted).then_some(()))
            })?;
        }
        Ok(())
    }

    fn create(&self, objects: &[Value]) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let path = std::env::temp_dir().join(format!("skep-bench-{}.json", std::process::id()));
        std::fs::write(&path, list.to_string()).with_context(|| format!("write {}", path.display()))?;
        let created = self.fleet.kubectl(&["create", "-f", &path.to_string_lossy()]);
        std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        created.map(|_| ())
    }
}

fn policy(name: &str, from: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [from]}]},
    })
}

/// Makes a pod that does nothing.
fn pod(fleet: &Fleet, name: &str, node: &str) -> Result<Pod> {
    let on_node = json!({"spec": {"nodeName": node}}).to_string();
    let overrides = format!("--overrides={on_node}");
    fleet.kubectl(&["run", name, "--image=skep-echo:v1", "--restart=Never", &overrides, "--", "pause"])?;
    let address = poll(&format!("the address of pod {name}"), WITHIN, || {
        let address = fleet.kubectl(&["get", "pod", name, "-o", "jsonpath={.status.podIP}"])?;
        Ok(address.parse().ok())
    })?;
    Ok(Pod { netns: netns_of(&fleet.node_dir(node), address)?, address })
}

/// The namespace, among those that a node's containerd keeps, whose eth0 has the address.
fn netns_of(node_dir: &Path, address: Ipv4Addr) -> Result<PathBuf> {
    let folder = node_dir.join("containerd/state/io.containerd.grpc.v1.cri/netns");
    for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let text = read(enter(&path, Path::new("ip")).args(["-json", "addr", "show", "dev", "eth0"]))?;
        let links: Value = serde_json::from_str(&text).context("parse what ip printed")?;
        if links[0]["addr_info"].as_array().into_iter().flatten().any(|info| info["local"] == json!(address)) {
            return Ok(path);
        }
    }
    bail!("no namespace has the address {address}")
}
