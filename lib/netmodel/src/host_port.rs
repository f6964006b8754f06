//! Ports of the node that lead to a pod: Kubernetes' `hostPort`, CNI's `portMappings`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::Problem;
use crate::spec::{Backend, BackendState, Frontend, FrontendAddress, Protocol, Scope, ServiceSpec};
use crate::{ObjectName, PortName};

/// What stands before the pod's name, so that no Service can have the whole.
const OWNER_PREFIX: &str = "pod/";

/// A pod with ports of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPorts {
    /// The pod's addresses: one, or one of each family.
    pub pod: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<HostPort>,
}

/// A port of the node that leads to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The one address of the node that has it; all of them where there is none.
    pub host_ip: Option<IpAddr>,
    /// The node's port.
    pub host_port: u16,
    /// The pod's.
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// By what a pod's ports of the node are known among Services.
pub(crate) fn owner(pod: &ObjectName) -> ObjectName {
    ObjectName::new(&pod.namespace, format!("{OWNER_PREFIX}{}", pod.name))
}

/// What the node should hold for a pod, by name. `node` are the addresses that callers know the node by; a port at an address that is none
/// of them is left out, since it would take what is meant for somebody else.
pub(crate) fn specs_of(
    pod: &ObjectName,
    held: &HostPorts,
    node: &[IpAddr],
    problems: &mut Vec<Problem>,
) -> BTreeMap<PortName, ServiceSpec> {
    let mut specs = BTreeMap::new();
    for (index, port) in held.ports.iter().enumerate() {
        let mut unusable = |field: &str, value: &str| {
            problems.push(Problem::new("Pod", pod, format!("host ports[{index}].{field}"), value));
        };
        let protocol = match port.protocol.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => {
                unusable("protocol", other);
                continue;
            }
        };
        if let Some(ip) = port.host_ip
            && !node.contains(&ip)
        {
            unusable("hostIP", &ip.to_string());
            continue;
        }
        let here: Vec<IpAddr> = port.host_ip.map_or_else(|| node.to_vec(), |ip| vec![ip]);
        for &address in &held.pod {
            let mut frontends: Vec<Frontend> = here
                .iter()
                .filter(|ip| ip.is_ipv4() == address.is_ipv4())
                .map(|&ip| Frontend {
                    address: FrontendAddress::External(ip),
                    port: port.host_port,
                    scope: Scope::External,
                })
                .collect();
            frontends.sort_unstable();
            frontends.dedup();
            if frontends.is_empty() {
                continue;
            }
            let name = name_of(pod, port, protocol, address.is_ipv6());
            let backends = vec![Backend { state: BackendState::Active, address, port: port.container_port }];
            let spec = ServiceSpec {
                name: name.clone(),
                protocol,
                frontends,
                backends,
                affinity_timeout_s: 0,
                elsewhere: false,
                sources: Vec::new(),
                maglev: false,
            };
            specs.insert(name, spec);
        }
    }
    specs
}

/// `PORT-PROTOCOL`, with the address behind it that the port is at alone: a pod has each of these once.
fn name_of(pod: &ObjectName, port: &HostPort, protocol: Protocol, v6: bool) -> PortName {
    let text = format!("{}-{}", port.host_port, protocol.to_string().to_ascii_lowercase());
    let port = port.host_ip.map_or_else(|| text.clone(), |ip| format!("{text}@{ip}"));
    PortName { service: owner(pod), port, external: false, v6 }
}
