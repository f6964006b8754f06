//! From a Service and its pods to endpoints, grouped by what can share a slice.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

use super::plan::Observed;
use crate::pod;
use crate::service::{
    addresses, endpoint_hostname, primary_family_is_ipv6, protocol, publishes_not_ready, target_port,
};

/// What all endpoints of a slice have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    /// `IPv4` or `IPv6`.
    pub(crate) address_type: String,
    pub(crate) ports: Vec<Port>,
}

/// A port of an endpoint, in an order that does not depend on the Service's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    name: String,
    port: Option<i32>,
    protocol: String,
    app_protocol: Option<String>,
}

impl Group {
    /// The group of an existing slice.
    pub(crate) fn of(address_type: &str, ports: &[EndpointPort]) -> Self {
        let mut ports: Vec<_> = ports
            .iter()
            .map(|port| Port {
                name: port.name.clone().unwrap_or_default(),
                port: port.port,
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                app_protocol: port.app_protocol.clone(),
            })
            .collect();
        ports.sort();
        Self { address_type: address_type.to_owned(), ports }
    }

    /// The ports as a slice has them.
    pub(crate) fn endpoint_ports(&self) -> Vec<EndpointPort> {
        self.ports
            .iter()
            .map(|port| EndpointPort {
                name: Some(port.name.clone()),
                port: port.port,
                protocol: Some(port.protocol.clone()),
                app_protocol: port.app_protocol.clone(),
            })
            .collect()
    }
}

/// The address types that a Service's slices have.
pub(crate) fn address_types(service: &Service) -> Vec<String> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    if !families.is_empty() {
        return families;
    }
    let family = if primary_family_is_ipv6(service) { "IPv6" } else { "IPv4" };
    vec![family.to_owned()]
}

/// The endpoints that there should be.
pub(crate) fn endpoints(observed: &Observed) -> BTreeMap<Group, Vec<Endpoint>> {
    let mut groups: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    let types = address_types(&observed.service);
    for pod in observed.pods.iter().filter(|pod| !pod::is_terminal(pod)) {
        for address_type in &types {
            let own: Vec<_> = addresses(pod).filter(|ip| is_of_type(ip, address_type)).map(str::to_owned).collect();
            if own.is_empty() {
                continue;
            }
            let group = Group { address_type: address_type.clone(), ports: ports(&observed.service, pod) };
            groups.entry(group).or_default().push(endpoint(&observed.service, pod, own, &observed.zones));
        }
    }
    groups
}

fn is_of_type(ip: &str, address_type: &str) -> bool {
    match ip.parse::<IpAddr>() {
        Ok(ip) => ip.is_ipv4() == (address_type == "IPv4"),
        Err(_) => false,
    }
}

fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut ports: Vec<_> = ports
        .filter_map(|port| {
            Some(Port {
                name: port.name.clone().unwrap_or_default(),
                port: Some(target_port(port, pod)?),
                protocol: protocol(port).to_owned(),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    ports.sort();
    ports
}

fn endpoint(service: &Service, pod: &Pod, addresses: Vec<String>, zones: &HashMap<String, String>) -> Endpoint {
    let serving = pod::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let node_name = pod::node_name(pod).map(str::to_owned);
    Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            // A terminating pod is never ready, for readers that know no other condition.
            ready: Some(publishes_not_ready(service) || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: endpoint_hostname(service, pod),
        zone: node_name.as_ref().and_then(|node| zones.get(node)).cloned(),
        node_name,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}
