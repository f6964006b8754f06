//! From a Service and its pods to endpoints, grouped by what can share a slice.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone};

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

/// Who an endpoint is meant for, by the Service's `trafficDistribution` (KEP-4444, KEP-3015).
fn hints(service: &Service, node: Option<&str>, zone: Option<&str>) -> Option<EndpointHints> {
    let distribution = service.spec.as_ref()?.traffic_distribution.as_deref()?;
    let for_zones = zone.map(|zone| vec![ForZone { name: zone.to_owned() }]);
    let for_nodes = node.map(|node| vec![ForNode { name: node.to_owned() }]);
    let hints = match distribution {
        "PreferClose" | "PreferSameZone" => EndpointHints { for_zones, for_nodes: None },
        "PreferSameNode" => EndpointHints { for_zones, for_nodes },
        _ => return None,
    };
    (hints != EndpointHints::default()).then_some(hints)
}

fn endpoint(service: &Service, pod: &Pod, addresses: Vec<String>, zones: &HashMap<String, String>) -> Endpoint {
    let serving = pod::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let node_name = pod::node_name(pod).map(str::to_owned);
    let zone = node_name.as_ref().and_then(|node| zones.get(node)).cloned();
    // A terminating pod is never ready, for readers that know no other condition.
    let ready = publishes_not_ready(service) || (serving && !terminating);
    Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: endpoint_hostname(service, pod),
        hints: if ready { hints(service, node_name.as_deref(), zone.as_deref()) } else { None },
        zone,
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ServiceSpec;

    use super::*;

    #[test]
    fn hints_follow_the_traffic_distribution() {
        let hints = |distribution: &str, zone| {
            let spec = ServiceSpec { traffic_distribution: Some(distribution.to_owned()), ..ServiceSpec::default() };
            let service = Service { spec: Some(spec), ..Service::default() };
            let hints = hints(&service, Some("n"), zone).unwrap_or_default();
            let nodes = hints.for_nodes.unwrap_or_default().into_iter().map(|node| node.name);
            let zones = hints.for_zones.unwrap_or_default().into_iter().map(|zone| zone.name);
            (zones.collect::<Vec<_>>().concat(), nodes.collect::<Vec<_>>().concat())
        };
        let pair = |zone: &str, node: &str| (zone.to_owned(), node.to_owned());
        assert_eq!(hints("PreferClose", Some("z")), pair("z", ""));
        assert_eq!(hints("PreferSameZone", None), pair("", ""));
        assert_eq!(hints("PreferSameNode", Some("z")), pair("z", "n"));
        assert_eq!(hints("", Some("z")), pair("", ""));
    }
}
