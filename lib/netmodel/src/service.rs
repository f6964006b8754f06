//! A Service, as far as a node translates it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};

use crate::model::Problem;
use crate::spec::{Frontend, FrontendAddress, Protocol, Scope};
use crate::traffic::Policy;
use crate::{ObjectName, PortName};

/// Label by which a Service says that another proxy serves it.
const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Label of what no proxy serves.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Annotation that says how flows from outside are spread over backends: `random`, which is the default, or `maglev`.
const ALGORITHM: &str = "service.skep.io/lb-algorithm";

/// Affinity time-out where the Service has affinity and names none, in seconds.
const AFFINITY_TIMEOUT_DEFAULT_S: u32 = 10_800;

/// A Service without its backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// Its ports, once for each family that it has.
    pub(crate) ports: Vec<Port>,
    /// Where a load balancer asks whether this node has backends.
    pub(crate) health_port: Option<u16>,
}

/// A port of a Service, in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: PortName,
    pub(crate) protocol: Protocol,
    pub(crate) frontends: Vec<Frontend>,
    pub(crate) affinity_timeout_s: u32,
    /// Who may call the load balancer's addresses; empty for everyone.
    pub(crate) sources: Vec<IpNet>,
    /// Whether every node sends a flow from outside to the same backend.
    pub(crate) maglev: bool,
    /// Where callers inside the cluster are sent.
    pub(crate) internal: Policy,
    /// Where callers from outside are sent.
    pub(crate) external: Policy,
}

/// Whether labels of a Service or a slice say that it is not for this proxy.
pub(crate) fn is_anothers(labels: &BTreeMap<String, String>) -> bool {
    labels.contains_key(SERVICE_PROXY_NAME) || labels.contains_key(HEADLESS)
}

/// What a node translates: nothing for headless and `ExternalName` Services, and for those of another proxy.
pub(crate) fn decode_service(service: &Service, name: &ObjectName, problems: &mut Vec<Problem>) -> Decoded {
    let Some(spec) = &service.spec else { return Decoded::default() };
    let foreign = service.metadata.labels.as_ref().is_some_and(is_anothers);
    if foreign || spec.type_.as_deref() == Some("ExternalName") {
        return Decoded::default();
    }
    let mut addresses: Vec<FrontendAddress> = Vec::new();
    let listed = spec.cluster_ips.as_deref().filter(|ips| !ips.is_empty());
    let single = spec.cluster_ip.as_slice();
    for (index, text) in listed.unwrap_or(single).iter().enumerate() {
        match text.parse() {
            Ok(address) => addresses.push(FrontendAddress::Ip(address)),
            Err(_) if text.is_empty() || text == "None" => return Decoded::default(),
            Err(_) => problems.push(Problem::new("Service", name, format!("spec.clusterIPs[{index}]"), text)),
        }
    }
    let has = |v4: bool| addresses.iter().any(|address| address.ip().is_some_and(|ip| ip.is_ipv4() == v4));
    let families: Vec<bool> = [true, false].into_iter().filter(|&v4| has(v4)).collect();
    let affinity_timeout_s = match spec.session_affinity.as_deref() {
        Some("ClientIP") => spec
            .session_affinity_config
            .as_ref()
            .and_then(|config| config.client_ip.as_ref()?.timeout_seconds)
            .and_then(|seconds| u32::try_from(seconds).ok())
            .unwrap_or(AFFINITY_TIMEOUT_DEFAULT_S),
        _ => 0,
    };
    addresses.extend(external_addresses(spec, service, name, problems));
    let (mut sources, open) = source_ranges(spec, name, problems);
    if !open {
        // Served, these addresses would be open to those whom a range was meant to keep out.
        addresses.retain(|address| !matches!(address, FrontendAddress::Balancer(_)));
        sources.clear();
    }
    let maglev = is_maglev(service, name, problems);
    let mut ports = Vec::new();
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let Some(decoded) = decode_port(port, index, name, problems) else { continue };
        let Some(number) = port_number(port.port, format!("spec.ports[{index}].port"), name, problems) else {
            continue;
        };
        for &v4 in &families {
            let own = addresses.iter().filter(|address| address.ip().is_some_and(|ip| ip.is_ipv4() == v4));
            let own = own.map(|&address| Frontend { address, port: number, scope: Scope::External });
            let mut frontends: Vec<Frontend> = decoded.frontends.iter().copied().chain(own).collect();
            frontends.sort_unstable();
            frontends.dedup();
            ports.push(Port {
                name: PortName { v6: !v4, ..decoded.name.clone() },
                frontends,
                affinity_timeout_s,
                maglev,
                sources: sources.iter().copied().filter(|range| range.addr().is_ipv4() == v4).collect(),
                internal: Policy::of(spec.internal_traffic_policy.as_deref()),
                external: Policy::of(spec.external_traffic_policy.as_deref()),
                protocol: decoded.protocol,
            });
        }
    }
    Decoded { ports, health_port: health_port(spec, name, problems) }
}

/// Whether the Service asks for a Maglev table.
fn is_maglev(service: &Service, name: &ObjectName, problems: &mut Vec<Problem>) -> bool {
    let annotations = service.metadata.annotations.as_ref();
    match annotations.and_then(|all| all.get(ALGORITHM)).map(String::as_str) {
        Some("maglev") => true,
        None | Some("random") => false,
        Some(other) => {
            problems.push(Problem::new("Service", name, format!("metadata.annotations[{ALGORITHM}]"), other));
            false
        }
    }
}

/// Where a load balancer asks, for Services that keep to the node that a packet came to.
fn health_port(spec: &ServiceSpec, name: &ObjectName, problems: &mut Vec<Problem>) -> Option<u16> {
    let asked =
        spec.type_.as_deref() == Some("LoadBalancer") && spec.external_traffic_policy.as_deref() == Some("Local");
    let number = spec.health_check_node_port.filter(|&number| asked && number != 0)?;
    port_number(number, "spec.healthCheckNodePort".to_owned(), name, problems)
}

/// The prefixes that may call a load balancer's addresses, none for everyone; and `false` where one cannot be read.
fn source_ranges(spec: &ServiceSpec, name: &ObjectName, problems: &mut Vec<Problem>) -> (Vec<IpNet>, bool) {
    let mut ranges = Vec::new();
    let mut whole = true;
    if spec.type_.as_deref() == Some("LoadBalancer") {
        for (index, text) in spec.load_balancer_source_ranges.iter().flatten().enumerate() {
            match text.trim().parse::<IpNet>() {
                Ok(range) => ranges.push(range.trunc()),
                Err(_) => {
                    let field = format!("spec.loadBalancerSourceRanges[{index}]");
                    problems.push(Problem::new("Service", name, field, text));
                    whole = false;
                }
            }
        }
    }
    ranges.sort_unstable();
    ranges.dedup();
    if ranges.iter().any(|range| range.prefix_len() == 0) && ranges.iter().all(|range| range.prefix_len() == 0) {
        ranges.clear();
    }
    (ranges, whole)
}

/// External IPs and the load balancer's addresses, of those whose mode is that the node serves them.
fn external_addresses(
    spec: &ServiceSpec,
    service: &Service,
    name: &ObjectName,
    problems: &mut Vec<Problem>,
) -> Vec<FrontendAddress> {
    let mut addresses = Vec::new();
    for (index, text) in spec.external_ips.iter().flatten().enumerate() {
        match text.parse() {
            Ok(address) => addresses.push(FrontendAddress::External(address)),
            Err(_) => problems.push(Problem::new("Service", name, format!("spec.externalIPs[{index}]"), text)),
        }
    }
    if spec.type_.as_deref() != Some("LoadBalancer") {
        return addresses;
    }
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten().enumerate();
    for (index, ingress) in ingress.filter(|(_, one)| matches!(one.ip_mode.as_deref(), None | Some("VIP"))) {
        let Some(text) = ingress.ip.as_deref() else { continue };
        match text.parse() {
            Ok(address) => addresses.push(FrontendAddress::Balancer(address)),
            Err(_) => {
                let field = format!("status.loadBalancer.ingress[{index}].ip");
                problems.push(Problem::new("Service", name, field, text));
            }
        }
    }
    addresses
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
        name: PortName {
            service: name.clone(),
            port: port.name.clone().unwrap_or_default(),
            external: false,
            v6: false,
        },
        protocol,
        frontends: frontends.collect(),
        affinity_timeout_s: 0,
        sources: Vec::new(),
        maglev: false,
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
