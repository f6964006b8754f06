//! Pods of this node as endpoints of its datapath.

use std::collections::BTreeSet;
use std::net::IpAddr;

use skep_abi::{Endpoint, Ip, Mac, NAME_ENDPOINT, Name, NameKey};

use crate::Error;
use crate::inspect::Maps;

/// A pod of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Its addresses, of one family or both.
    pub addresses: Vec<IpAddr>,
    /// Interface index of the host side of its veth.
    pub ifindex: u32,
    /// Ethernet address of the host side.
    pub host_mac: Mac,
    /// Ethernet address of the pod's side.
    pub pod_mac: Mac,
    /// `namespace/name`.
    pub pod: String,
}

/// Writes an endpoint with its `EP_*` flags, a row for each of its addresses; an address keeps its id. The name comes first, for whoever reads the tables.
pub(crate) fn upsert(maps: &Maps, spec: &EndpointSpec, flags: u32) -> Result<u32, Error> {
    let keys: Vec<Ip> = spec.addresses.iter().map(|&address| address.into()).collect();
    let id = match held(maps, &keys)?.first() {
        Some((_, held)) => held.id,
        None => free_id(maps)?,
    };
    maps.names.put(&NameKey { kind: NAME_ENDPOINT, id }, &Name::new(&spec.pod))?;
    let endpoint = Endpoint { ifindex: spec.ifindex, id, host_mac: spec.host_mac, pod_mac: spec.pod_mac, flags };
    for key in &keys {
        maps.endpoints.put(key, &endpoint)?;
    }
    Ok(id)
}

/// Removes an endpoint; `false` where none of its addresses was known.
pub(crate) fn remove(maps: &Maps, addresses: &[IpAddr]) -> Result<bool, Error> {
    let keys: Vec<Ip> = addresses.iter().map(|&address| address.into()).collect();
    let held = held(maps, &keys)?;
    for (key, _) in &held {
        maps.endpoints.delete(key)?;
    }
    for (_, endpoint) in &held {
        maps.names.delete(&NameKey { kind: NAME_ENDPOINT, id: endpoint.id })?;
    }
    Ok(!held.is_empty())
}

fn held(maps: &Maps, keys: &[Ip]) -> Result<Vec<(Ip, Endpoint)>, Error> {
    let mut held = Vec::new();
    for key in keys {
        held.extend(maps.endpoints.get(key)?.map(|endpoint| (*key, endpoint)));
    }
    Ok(held)
}

/// The lowest id that no endpoint has.
fn free_id(maps: &Maps) -> Result<u32, Error> {
    let taken: BTreeSet<u32> = maps.endpoints.dump()?.into_iter().map(|(_, endpoint)| endpoint.id).collect();
    let free = (1..).zip(&taken).find(|(id, taken)| id != *taken);
    Ok(free.map_or(taken.len() as u32 + 1, |(id, _)| id))
}
