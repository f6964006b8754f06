//! A Service, as far as a node translates it.

use k8s_openapi::api::core::v1::{Service, ServicePort};

use crate::model::Problem;
use crate::spec::{Frontend, FrontendAddress, Protocol, Scope};
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
            decoded.frontends.sort_unstable();
            decoded.frontends.dedup();
            Some(Port { affinity_timeout_s, ..decoded })
        })
        .collect()
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
        name: PortName { service: name.clone(), port: port.name.clone().unwrap_or_default() },
        protocol,
        frontends: frontends.collect(),
        affinity_timeout_s: 0,
    })
}

fn port_number(number: i32, field: String, name: &ObjectName, problems: &mut Vec<Problem>) -> Option<u16> {
    let valid = u16::try_from(number).ok().filter(|&port| port != 0);
    if valid.is_none() {
        problems.push(Problem::new("Service", name, field, &number.to_string()));
    }
    valid
}
