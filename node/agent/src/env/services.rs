//! The environment variables that announce Services to containers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use kube::runtime::reflector::Store;

/// The Services of the cluster as the watch shows them.
pub(crate) type Services = Store<Service>;

/// The variables for a pod: those of its namespace's Services where links are enabled, and the API server's always.
pub(crate) fn service_links<'a>(
    services: impl Iterator<Item = &'a Service>,
    namespace: &str,
    enabled: bool,
) -> BTreeMap<String, String> {
    let mut vars = BTreeMap::new();
    for service in services {
        let home = service.metadata.namespace.as_deref().unwrap_or_default();
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let is_api = home == "default" && name == "kubernetes";
        if (enabled && home == namespace) || is_api {
            add(&mut vars, service, name);
        }
    }
    vars
}

fn add(vars: &mut BTreeMap<String, String>, service: &Service, name: &str) {
    let Some(spec) = &service.spec else { return };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { return };
    let Some(ports) = spec.ports.as_ref().filter(|ports| !ports.is_empty()) else { return };
    let prefix = name.replace('-', "_").to_uppercase();
    vars.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    vars.insert(format!("{prefix}_SERVICE_PORT"), ports[0].port.to_string());
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    for (index, port) in ports.iter().enumerate() {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let port_name = port_name.replace('-', "_").to_uppercase();
            vars.insert(format!("{prefix}_SERVICE_PORT_{port_name}"), port.port.to_string());
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        let stem = format!("{prefix}_PORT_{}_{protocol}", port.port);
        if index == 0 {
            vars.insert(format!("{prefix}_PORT"), url.clone());
        }
        vars.insert(format!("{stem}_PROTO"), protocol.to_lowercase());
        vars.insert(format!("{stem}_PORT"), port.port.to_string());
        vars.insert(format!("{stem}_ADDR"), ip.to_owned());
        vars.insert(stem, url);
    }
}
