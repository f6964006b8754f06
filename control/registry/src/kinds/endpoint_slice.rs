//! EndpointSlice.

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::endpoint;
use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::names;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const TOPOLOGY_LABELS_MAX: usize = 16;
const HINTS_MAX: usize = 8;

/// EndpointSlices.
pub(crate) struct EndpointSlices;

impl Kind for EndpointSlices {
    type Object = EndpointSlice;

    const SINGULAR: &'static str = "endpointslice";
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("AddressType", "IPv4, IPv6 or FQDN."),
        table::text("Ports", "Ports of every endpoint."),
        table::text("Endpoints", "Addresses of the endpoints."),
        table::AGE,
    ];

    fn default(object: &mut EndpointSlice) {
        for port in object.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
        }
    }

    fn validate(object: &EndpointSlice) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let path = Path::root("addressType");
        let kind = object.address_type.as_str();
        match kind {
            "IPv4" | "IPv6" | "FQDN" => {}
            "" => errors.required(&path, ""),
            other => errors.not_supported(&path, other, &["FQDN", "IPv4", "IPv6"]),
        }
        let path = Path::root("endpoints");
        let endpoints = object.endpoints.as_deref().unwrap_or_default();
        if endpoints.len() > ENDPOINTS_MAX {
            errors.too_many(&path, endpoints.len(), ENDPOINTS_MAX);
            return errors.into_vec();
        }
        for (i, endpoint) in endpoints.iter().enumerate() {
            validate_endpoint(&mut errors, &path.index(i), endpoint, kind);
        }
        validate_ports(&mut errors, object);
        errors.into_vec()
    }

    fn validate_update(new: &EndpointSlice, old: &EndpointSlice) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        if new.address_type != old.address_type {
            errors.invalid(&Path::root("addressType"), new.address_type.as_str(), "field is immutable");
        }
        errors.into_vec()
    }

    const GENERATIONS: bool = true;

    fn spec_changed(new: &EndpointSlice, old: &EndpointSlice) -> bool {
        new.ports != old.ports || new.endpoints != old.endpoints || new.address_type != old.address_type
    }

    fn row(object: &EndpointSlice, now: Timestamp) -> Vec<Cell> {
        let ports: Vec<String> = object
            .ports
            .iter()
            .flatten()
            .map(|port| port.port.map_or_else(|| "*".to_owned(), |port| port.to_string()))
            .collect();
        let addresses: Vec<String> =
            object.endpoints.iter().flatten().flat_map(|endpoint| endpoint.addresses.iter().cloned()).collect();
        vec![
            table::name(&object.metadata),
            Cell::from(object.address_type.as_str()),
            Cell::from(endpoint::abridged(&ports, "<unset>")),
            Cell::from(endpoint::abridged(&addresses, "<unset>")),
            table::age(&object.metadata, now),
        ]
    }
}

fn validate_endpoint(errors: &mut Errors, path: &Path<'_>, endpoint: &Endpoint, kind: &str) {
    let at = path.child("addresses");
    match endpoint.addresses.len() {
        0 => errors.required(&at, "must contain at least 1 address"),
        count if count > ADDRESSES_MAX => errors.too_many(&at, count, ADDRESSES_MAX),
        _ => {}
    }
    for (i, address) in endpoint.addresses.iter().enumerate() {
        validate_address(errors, &at.index(i), address, kind);
    }
    if let Some(hostname) = &endpoint.hostname {
        errors.invalid_each(&path.child("hostname"), hostname, names::dns1123_label(hostname));
    }
    if let Some(node) = &endpoint.node_name {
        errors.invalid_each(&path.child("nodeName"), node, names::dns1123_subdomain(node));
    }
    if let Some(topology) = &endpoint.deprecated_topology {
        let path = path.child("deprecatedTopology");
        if topology.len() > TOPOLOGY_LABELS_MAX {
            errors.too_many(&path, topology.len(), TOPOLOGY_LABELS_MAX);
        }
        crate::metadata::validate_labels(errors, &path, topology);
        if topology.contains_key("kubernetes.io/hostname") {
            errors.invalid(
                &path.key("kubernetes.io/hostname"),
                topology.get("kubernetes.io/hostname").cloned(),
                "kubernetes.io/hostname is not allowed in deprecatedTopology",
            );
        }
    }
    let hints = endpoint.hints.clone().unwrap_or_default();
    let zones: Vec<String> = hints.for_zones.into_iter().flatten().map(|zone| zone.name).collect();
    let nodes: Vec<String> = hints.for_nodes.into_iter().flatten().map(|node| node.name).collect();
    for (field, names) in [("hints.forZones", zones), ("hints.forNodes", nodes)] {
        let path = path.child(field);
        if names.len() > HINTS_MAX {
            errors.too_many(&path, names.len(), HINTS_MAX);
        }
        for (i, name) in names.iter().enumerate() {
            let path = path.index(i);
            if names.iter().take(i).any(|other| other == name) {
                errors.duplicate(&path.child("name"), name.as_str());
            }
            errors.invalid_each(&path.child("name"), name, crate::names::label_value(name));
        }
    }
}

fn validate_address(errors: &mut Errors, path: &Path<'_>, address: &str, kind: &str) {
    match (kind, names::ip(address)) {
        ("FQDN", _) => errors.invalid_each(path, address, names::dns1123_subdomain(address)),
        ("IPv4", Ok(ip)) if !ip.is_ipv4() => errors.invalid(path, address, "must be an IPv4 address"),
        ("IPv6", Ok(ip)) if !ip.is_ipv6() => errors.invalid(path, address, "must be an IPv6 address"),
        ("IPv4" | "IPv6", _) => endpoint::validate_ip(errors, path, address),
        _ => {}
    }
}

fn validate_ports(errors: &mut Errors, slice: &EndpointSlice) {
    let path = Path::root("ports");
    let ports = slice.ports.as_deref().unwrap_or_default();
    if ports.len() > PORTS_MAX {
        errors.too_many(&path, ports.len(), PORTS_MAX);
        return;
    }
    let mut seen = std::collections::BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            errors.invalid_each(&path.child("name"), name, names::dns1123_label(name));
        }
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        if let Some((number, detail)) = port.port.and_then(|number| Some((number, names::port_number(number)?))) {
            errors.invalid(&path.child("port"), number, detail);
        }
        endpoint::validate_protocol(errors, &path.child("protocol"), port.protocol.as_deref());
        endpoint::validate_app_protocol(errors, &path.child("appProtocol"), port.app_protocol.as_deref());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(value: Value) -> EndpointSlice {
        let mut slice = crate::decode::decode(value).unwrap().0;
        EndpointSlices::default(&mut slice);
        slice
    }

    fn text(value: Value) -> Vec<String> {
        let errors = EndpointSlices::validate(&slice(value));
        errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
    }

    #[test]
    fn good_ones_pass_with_defaults() {
        let value = json!({"addressType": "IPv4", "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["10.42.0.2"], "conditions": {"ready": true}}]});
        assert!(text(value.clone()).is_empty());
        let port = serde_json::to_value(slice(value).ports).unwrap();
        assert_eq!(port, json!([{"name": "", "port": 80, "protocol": "TCP"}]));
    }

    #[test]
    fn faults_read_as_upstream() {
        assert_eq!(text(json!({"addressType": ""})), ["addressType: Required value"]);
        assert_eq!(
            text(json!({"addressType": "x"})),
            ["addressType: Unsupported value: \"x\": supported values: \"FQDN\", \"IPv4\", \"IPv6\""]
        );
        let value = json!({"addressType": "IPv4", "ports": [{"name": "a", "port": 0}, {"name": "a", "protocol": "x"}],
            "endpoints": [{"addresses": []}, {"addresses": ["::2", "1.2.3"]}]});
        assert_eq!(
            text(value),
            [
                "endpoints[0].addresses: Required value: must contain at least 1 address",
                "endpoints[1].addresses[0]: Invalid value: \"::2\": must be an IPv4 address",
                "endpoints[1].addresses[1]: Invalid value: \"1.2.3\": must be a valid IP address, (e.g. 10.9.8.7 or \
                 2001:db8::ffff)",
                "ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "ports[1].name: Duplicate value: \"a\"",
                "ports[1].protocol: Unsupported value: \"x\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ]
        );
    }

    #[test]
    fn the_address_type_stays_and_content_has_generations() {
        let (a, b) = (slice(json!({"addressType": "IPv4"})), slice(json!({"addressType": "IPv6"})));
        assert_eq!(EndpointSlices::validate_update(&a, &b)[0].message, "Invalid value: \"IPv4\": field is immutable");
        assert!(EndpointSlices::spec_changed(&a, &b));
    }
}
