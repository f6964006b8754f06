//! Pods of this node as endpoints of its datapath.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use skep_abi::{Endpoint, Mac, NAME_ENDPOINT, Name, NameKey};

use crate::Error;
use crate::inspect::Maps;

/// A pod of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Its address.
    pub address: Ipv4Addr,
    /// Interface index of the host side of its veth.
    pub ifindex: u32,
    /// Ethernet address of the host side.
    pub host_mac: Mac,
    /// Ethernet address of the pod's side.
    pub pod_mac: Mac,
    /// `namespace/name`.
    pub pod: String,
}

/// Writes an endpoint with its `EP_*` flags; an address keeps its id. The name comes first, for whoever reads the tables.
pub(crate) fn upsert(maps: &Maps, spec: &EndpointSpec, flags: u32) -> Result<u32, Error> {
    let address = spec.address.into();
    let id = match maps.endpoints.get(&address)? {
        Some(held) => held.id,
        None => free_id(maps)?,
    };
    maps.names.put(&NameKey { kind: NAME_ENDPOINT, id }, &Name::new(&spec.pod))?;
    let endpoint = Endpoint { ifindex: spec.ifindex, id, host_mac: spec.host_mac, pod_mac: spec.pod_mac, flags };
    maps.endpoints.put(&address, &endpoint)?;
    Ok(id)
}

/// Removes an endpoint; gives back what it was.
pub(crate) fn remove(maps: &Maps, address: Ipv4Addr) -> Result<Option<Endpoint>, Error> {
    let Some(held) = maps.endpoints.get(&address.into())? else { return Ok(None) };
    maps.endpoints.delete(&address.into())?;
    maps.names.delete(&NameKey { kind: NAME_ENDPOINT, id: held.id })?;
    Ok(Some(held))
}

/// The lowest id that no endpoint has.
fn free_id(maps: &Maps) -> Result<u32, Error> {
    let taken: BTreeSet<u32> = maps.endpoints.dump()?.into_iter().map(|(_, endpoint)| endpoint.id).collect();
    let free = (1..).zip(&taken).find(|(id, taken)| id != *taken);
    Ok(free.map_or(taken.len() as u32 + 1, |(id, _)| id))
}
