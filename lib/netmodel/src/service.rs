//! A Service, as far as a node translates it.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort};

use crate::model::Problem;
use crate::spec::{Frontend, FrontendAddress, Protocol, Scope};
use crate::traffic::Policy;
use crate::{ObjectName, PortName};

/// Label by which a Service says that another proxy serves it.
const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// Affinity time-out where the Service has affinity and names none, in seconds.
const AFFINITY_TIMEOUT_DEFAULT_S: u32 = 10_800;

/// A port of a Service without its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: PortName,
    pub(crate) protocol: Protocol,
    pub(crate) frontends: Vec<Frontend>,
    pub(crate) affinity_timeout_s: u32,
    /// Where callers inside the cluster are sent.
    pub(crate) internal: Policy,
    /// Where callers from outside are sent.
    pub(crate) external: Policy,
}

/// The ports that a node translates: none for headless and `ExternalName` Services, and for those of another proxy.
pub(crate) fn decode_service(service: &Service, name: &ObjectName, problems: &mut Vec<Problem>) -> Vec<Port> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let foreign = service.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(SERVICE_PROXY_NAME));
    if foreign || spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let mut addresses = Vec::new();
    let listed = spec.cluster_ips.as_deref().filter(|ips| !ips.is_empty());
    let single = spec.cluster_ip.as_slice();
    for (index, text) in listed.unwrap_or(single).iter().enumerate() {
        match text.parse() {
            Ok(address) => addresses.push(address),
            Err(_) if text.is_empty() || text == "None" => return Vec::new(),
            Err(_) => problems.push(Problem::new("Service", name, format!("spec.clusterIPs[{index}]"), text)),
        }
    }
    if addresses.is_empty() {
        return Vec::new();
    }
    let affinity_timeout_s = match spec.session_affinity.as_deref() {
        Some("ClientIP") => spec
            .session_affinity_config
            .as_ref()
            .and_then(|config| config.client_ip.as_ref()?.timeout_seconds)
            .and_then(|seconds| u32::try_from(seconds).ok())
            .unwrap_or(AFFINITY_TIMEOUT_DEFAULT_S),
        _ => 0,
    };
    let external = external_addresses(service, name, problems);
    let internal = Policy::of(spec.internal_traffic_policy.as_deref());
    let policy = Policy::of(spec.external_traffic_policy.as_deref());
    let ports = spec.ports.iter().flatten().enumerate();
    ports
        .filter_map(|(index, port)| {
            let mut decoded = decode_port(port, index, name, problems)?;
            let number = port_number(port.port, format!("spec.ports[{index}].port"), name, problems)?;
            decoded.frontends.extend(addresses.iter().map(|&ip| Frontend {
                address: FrontendAddress::Ip(ip),
                port: number,
                scope: Scope::External,
            }));
            let outside = external.iter().map(|&ip| Frontend {
                address: FrontendAddress::External(ip),
                port: number,
                scope: Scope::External,
            });
            decoded.frontends.extend(outside);
            decoded.frontends.sort_unstable();
            decoded.frontends.dedup();
            Some(Port { affinity_timeout_s, internal, external: policy, ..decoded })
        })
        .collect()
}

/// External IPs and the load balancer's addresses, of those whose mode is that the node serves them.
fn external_addresses(service: &Service, name: &ObjectName, problems: &mut Vec<Problem>) -> Vec<IpAddr> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let listed = spec.external_ips.iter().flatten().enumerate();
    let mut texts: Vec<(String, &str)> =
        listed.map(|(index, text)| (format!("spec.externalIPs[{index}]"), text.as_str())).collect();
    if spec.type_.as_deref() == Some("LoadBalancer") {
        let closed = spec.load_balancer_source_ranges.iter().flatten().find(|range| !is_everyone(range));
        if let Some(range) = closed {
            // Served, these addresses would be open to all.
            problems.push(Problem::new("Service", name, "spec.loadBalancerSourceRanges".to_owned(), range));
        } else {
            let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let ingress = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten().enumerate();
            let served = ingress.filter(|(_, ingress)| matches!(ingress.ip_mode.as_deref(), None | Some("VIP")));
            texts.extend(served.filter_map(|(index, ingress)| {
                Some((format!("status.loadBalancer.ingress[{index}].ip"), ingress.ip.as_deref()?))
            }));
        }
    }
    let mut addresses = Vec::new();
    for (field, text) in texts {
        match text.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => problems.push(Problem::new("Service", name, field, text)),
        }
    }
    addresses
}

fn is_everyone(range: &str) -> bool {
    matches!(range.trim(), "0.0.0.0/0" | "::/0")
}

/// Name, protocol and node port.
fn decode_port(port: &ServicePort, index: usize, name: &ObjectName, problems: &mut Vec<Problem>) -> Option<Port> {
    let protocol = match port.protocol.as_deref() {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some(other) => {
            problems.push(Problem::new("Service", name, format!("spec.ports[{index}].protocol"), other));
            return None;
        }
    };
    let node_port = port.node_port.filter(|&number| number != 0);
    let field = format!("spec.ports[{index}].nodePort");
    let node_port = node_port.and_then(|number| port_number(number, field, name, problems));
    let frontends =
        node_port.map(|port| Frontend { address: FrontendAddress::Node, port, scope: Scope::External }).into_iter();
    Some(Port {
        name: PortName { service: name.clone(), port: port.name.clone().unwrap_or_default(), external: false },
        protocol,
        frontends: frontends.collect(),
        affinity_timeout_s: 0,
        internal: Policy::default(),
        external: Policy::default(),
    })
}

fn port_number(number: i32, field: String, name: &ObjectName, problems: &mut Vec<Problem>) -> Option<u16> {
    let valid = u16::try_from(number).ok().filter(|&port| port != 0);
    if valid.is_none() {
        problems.push(Problem::new("Service", name, field, &number.to_string()));
    }
    valid
}
