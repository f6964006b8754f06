//! What the node gave to which sandbox, on disk, so that a restarted daemon knows.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use crate::mac::Mac;

/// A pod's end of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The sandbox, as the container runtime names it.
    pub container_id: String,
    /// The interface's name inside of the pod.
    pub ifname: String,
    /// The pod's namespace, from the runtime; empty where the runtime says none.
    #[serde(default)]
    pub pod_namespace: String,
    /// The pod's name, likewise.
    #[serde(default)]
    pub pod_name: String,
    /// The pod's uid, likewise.
    #[serde(default)]
    pub pod_uid: String,
    /// The file that stands for the pod's network namespace.
    pub netns: PathBuf,
    /// The pod's addresses: one, or one of each family.
    #[serde(alias = "address", deserialize_with = "one_or_many")]
    pub addresses: Vec<IpAddr>,
    /// The interface on the node that leads to the pod.
    pub host_ifname: String,
    /// Its index.
    pub host_ifindex: u32,
    /// Its MAC address, the pod's gateway.
    pub host_mac: Mac,
    /// The MAC address of the interface inside of the pod.
    pub pod_mac: Mac,
    /// The MTU of both.
    pub mtu: u32,
    /// The node's ports that lead to the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port_mappings: Vec<PortMapping>,
}

/// A port of the node that leads to a pod: CNI's `portMappings`, Kubernetes' `hostPort`. containerd writes the names of its fields with
/// capitals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// The node's port.
    #[serde(alias = "HostPort")]
    pub host_port: u16,
    /// The pod's.
    #[serde(alias = "ContainerPort")]
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    #[serde(alias = "Protocol", default = "tcp")]
    pub protocol: String,
    /// The one address of the node that has the port; all where there is none.
    #[serde(
        rename = "hostIP",
        alias = "HostIP",
        default,
        deserialize_with = "address_or_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub host_ip: Option<IpAddr>,
}

fn tcp() -> String {
    "tcp".to_owned()
}

/// Runtimes send an empty text, or an unspecified address, where no address was named.
fn address_or_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpAddr>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    let address: IpAddr = text.parse().map_err(serde::de::Error::custom)?;
    Ok(Some(address).filter(|address| !address.is_unspecified()))
}

impl Attachment {
    pub(crate) fn key(&self) -> Key {
        Key { container_id: self.container_id.clone(), ifname: self.ifname.clone() }
    }
}

/// What CNI tells attachments apart by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The sandbox.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface's name inside of the pod.
    pub ifname: String,
}

/// Also reads the one address, or none, of files that know one family only.
fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Held {
        Many(Vec<IpAddr>),
        One(IpAddr),
        None,
    }
    Ok(match Held::deserialize(from)? {
        Held::Many(addresses) => addresses,
        Held::One(address) => vec![address],
        Held::None => Vec::new(),
    })
}

/// The leases in memory, each change written through.
#[derive(Debug)]
pub(crate) struct Leases {
    path: PathBuf,
    held: BTreeMap<Key, Attachment>,
}

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    #[serde(default, deserialize_with = "one_or_many")]
    last: Vec<IpAddr>,
    leases: Vec<Attachment>,
}

impl Leases {
    /// The leases in the file and the last addresses that were given; none where there is no file.
    pub(crate) fn load(path: PathBuf) -> io::Result<(Self, Vec<IpAddr>)> {
        let stored = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Stored::default(),
            Err(error) => return Err(error),
        };
        let held = stored.leases.into_iter().map(|lease| (lease.key(), lease)).collect();
        Ok((Leases { path, held }, stored.last))
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Attachment> {
        self.held.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Attachment> {
        self.held.values()
    }

    pub(crate) fn put(&mut self, lease: Attachment, last: Vec<IpAddr>) -> io::Result<()> {
        let (key, mut next) = (lease.key(), self.held.clone());
        next.insert(key, lease);
        self.commit(next, last)
    }

    pub(crate) fn remove(&mut self, key: &Key, last: Vec<IpAddr>) -> io::Result<()> {
        let mut next = self.held.clone();
        next.remove(key);
        self.commit(next, last)
    }

    /// Memory follows the disk: a lease that could not be written was never given.
    fn commit(&mut self, next: BTreeMap<Key, Attachment>, last: Vec<IpAddr>) -> io::Result<()> {
        let stored = Stored { last, leases: next.values().cloned().collect() };
        let bytes = serde_json::to_vec_pretty(&stored).map_err(io::Error::other)?;
        replace(&self.path, &bytes)?;
        self.held = next;
        Ok(())
    }
}

/// Readers see the old content or the new, also after a loss of power.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = dir.join(format!(".{name}.new"));
    let mut out = File::create(&fresh)?;
    out.write_all(content)?;
    out.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn leases_of_one_family_are_read_and_written_as_of_both() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leases.json");
        let lease = r#"{"containerId":"c","ifname":"eth0","netns":"/run/netns/x","address":"10.42.0.5","hostIfname":"skp1",
            "hostIfindex":7,"hostMac":"0a:68:0a:2a:00:05","podMac":"0a:70:0a:2a:00:05","mtu":1500}"#;
        fs::write(&path, format!(r#"{{"last":"10.42.0.5","leases":[{lease}]}}"#)).unwrap();
        let (mut leases, last) = Leases::load(path.clone()).unwrap();
        assert_eq!(last, ["10.42.0.5".parse::<IpAddr>().unwrap()]);
        let mut held = leases.iter().next().unwrap().clone();
        held.addresses.push("fd00::5".parse().unwrap());
        leases.put(held.clone(), held.addresses.clone()).unwrap();
        let (again, last) = Leases::load(path.clone()).unwrap();
        assert_eq!((again.get(&held.key()), last), (Some(&held), held.addresses.clone()));
        fs::write(&path, r#"{"last":null,"leases":[]}"#).unwrap();
        assert_eq!(Leases::load(path).unwrap().1, [] as [IpAddr; 0]);
    }
}
