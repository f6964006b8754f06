//! Prefixes of the cluster: pods and nodes, wherever they are.

use std::net::IpAddr;

use ipnet::IpNet;
use skep_abi::{Ip, NAME_NODE, Name, NameKey, PrefixKey, REMOTE_NODE, REMOTE_PODS, REMOTE_TUNNEL, Remote};
use skep_datapath::{RemoteHeld, plan_remotes};
use skep_netmodel::RemoteSpec;

use crate::Error;
use crate::inspect::{Inspector, Maps};

/// A prefix of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteRow {
    /// The prefix.
    pub prefix: IpNet,
    /// Address of the node that has it; `None` for a prefix that an operator listed.
    pub node: Option<IpAddr>,
    /// Name of that node; empty where the kernel has no name for its id.
    pub name: String,
    /// Whether the addresses are pods'.
    pub pods: bool,
    /// Whether the address is the node's own.
    pub is_node: bool,
    /// Whether packets go there through the tunnel.
    pub tunnel: bool,
}

/// Writes names, then prefixes, and then removes what is stale.
pub(crate) fn sync(maps: &Maps, specs: &[RemoteSpec]) -> Result<usize, Error> {
    let held = RemoteHeld {
        remotes: maps.ipcache.dump()?,
        names: maps
            .names
            .dump()?
            .into_iter()
            .filter(|(key, _)| key.kind == NAME_NODE)
            .map(|(key, name)| (key.id, name.as_str().to_owned()))
            .collect(),
        capacity: maps.ipcache.info()?.max_entries,
    };
    let plan = plan_remotes(specs, &held)?;
    for (id, name) in &plan.names {
        maps.names.put(&NameKey { kind: NAME_NODE, id: *id }, &Name::new(name))?;
    }
    for (key, remote) in &plan.remotes {
        maps.ipcache.put(key, remote)?;
    }
    for key in &plan.removed {
        maps.ipcache.delete(key)?;
    }
    for &id in &plan.removed_names {
        maps.names.delete(&NameKey { kind: NAME_NODE, id })?;
    }
    Ok(plan.remotes.len() + plan.removed.len())
}

impl Inspector {
    /// Prefixes of the cluster, sorted.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn remotes(&self) -> Result<Vec<RemoteRow>, Error> {
        let names = self.names(NAME_NODE)?;
        let mut rows: Vec<RemoteRow> = self
            .maps
            .ipcache
            .dump()?
            .into_iter()
            .filter_map(|(key, remote)| {
                let name = names.get(&remote.id).cloned().unwrap_or_default();
                Some(row(prefix(&key)?, &remote, name))
            })
            .collect();
        rows.sort_unstable_by_key(|row| row.prefix);
        Ok(rows)
    }

    /// The prefix that an address is in, as the programs find it: the longest.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn remote(&self, address: IpAddr) -> Result<Option<RemoteRow>, Error> {
        let rows = self.remotes()?;
        Ok(rows.into_iter().filter(|row| row.prefix.contains(&address)).max_by_key(|row| row.prefix.prefix_len()))
    }
}

fn row(prefix: IpNet, remote: &Remote, name: String) -> RemoteRow {
    RemoteRow {
        prefix,
        node: (remote.node != Ip::NONE).then(|| remote.node.into()),
        name,
        pods: remote.flags & REMOTE_PODS != 0,
        is_node: remote.flags & REMOTE_NODE != 0,
        tunnel: remote.flags & REMOTE_TUNNEL != 0,
    }
}

fn prefix(key: &PrefixKey) -> Option<IpNet> {
    let address = IpAddr::from(key.addr);
    let bits = if address.is_ipv4() { key.bits.checked_sub(Ip::MAPPED_BITS)? } else { key.bits };
    IpNet::new(address, u8::try_from(bits).ok()?).ok()
}
