//! An EndpointSlice, as far as a node balances over it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::ObjectName;
use crate::model::Problem;
use crate::service::is_anothers;
use crate::spec::{Backend, BackendState, Protocol};
use crate::traffic::{NodeIdentity, Place};

/// Label that names the Service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The usable backends of a slice, by port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    ports: Vec<SlicePort>,
    /// Addresses of its endpoints that are on this node.
    local: BTreeSet<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SlicePort {
    name: String,
    protocol: Protocol,
    backends: Vec<(Backend, Place)>,
}

impl Slice {
    /// Addresses of its endpoints that are on this node.
    pub(crate) fn local(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.local.iter().copied()
    }

    /// Its backends for a port of the Service, which is matched by name.
    pub(crate) fn backends<'a>(
        &'a self,
        name: &'a str,
        protocol: Protocol,
    ) -> impl Iterator<Item = (Backend, Place)> + 'a {
        let ports = self.ports.iter().filter(move |port| port.name == name && port.protocol == protocol);
        ports.flat_map(|port| port.backends.iter().copied())
    }
}

/// The Service that a slice belongs to.
pub(crate) fn service_of(slice: &EndpointSlice) -> Option<&str> {
    let labels = slice.metadata.labels.as_ref()?;
    if is_anothers(labels) {
        return None;
    }
    labels.get(SERVICE_NAME).map(String::as_str).filter(|name| !name.is_empty())
}

/// The backends of a slice, as seen from `node`.
pub(crate) fn decode_slice(
    slice: &EndpointSlice,
    name: &ObjectName,
    node: &NodeIdentity,
    problems: &mut Vec<Problem>,
) -> Slice {
    if !matches!(slice.address_type.as_str(), "IPv4" | "IPv6") {
        return Slice::default();
    }
    let mut endpoints = Vec::new();
    for (index, endpoint) in slice.endpoints.iter().flatten().enumerate() {
        let Some(state) = state_of(endpoint) else { continue };
        // Addresses of one endpoint are interchangeable, and no more than the first is ever used.
        let Some(text) = endpoint.addresses.first() else { continue };
        match text.parse() {
            Ok(address) => endpoints.push((state, address, Place::of(endpoint, node))),
            Err(_) => {
                problems.push(Problem::new("EndpointSlice", name, format!("endpoints[{index}].addresses[0]"), text));
            }
        }
    }
    let mut ports = Vec::new();
    for (index, port) in slice.ports.iter().flatten().enumerate() {
        let Some(number) = port.port else { continue };
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some(_) => continue,
        };
        let Some(number) = u16::try_from(number).ok().filter(|&number| number != 0) else {
            problems.push(Problem::new("EndpointSlice", name, format!("ports[{index}].port"), &number.to_string()));
            continue;
        };
        let backend = |&(state, address, place)| (Backend { state, address, port: number }, place);
        let backends = endpoints.iter().map(backend).collect();
        ports.push(SlicePort { name: port.name.clone().unwrap_or_default(), protocol, backends });
    }
    let here = endpoints.iter().filter(|(_, _, place)| place.is_local());
    Slice { local: here.map(|(_, address, _)| *address).collect(), ports }
}

/// Unknown counts as true for ready and serving, and as false for terminating.
fn state_of(endpoint: &Endpoint) -> Option<BackendState> {
    let conditions = endpoint.conditions.as_ref();
    let condition = |pick: fn(&k8s_openapi::api::discovery::v1::EndpointConditions) -> Option<bool>, default| {
        conditions.and_then(pick).unwrap_or(default)
    };
    if condition(|c| c.ready, true) {
        Some(BackendState::Active)
    } else if condition(|c| c.serving, true) && condition(|c| c.terminating, false) {
        Some(BackendState::Terminating)
    } else {
        None
    }
}
