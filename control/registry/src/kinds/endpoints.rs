//! Endpoints.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, Endpoints};

use crate::endpoint;
use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::names;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

/// Endpoints objects.
pub(crate) struct EndpointsKind;

impl Kind for EndpointsKind {
    type Object = Endpoints;

    const CREATES_ON_UPDATE: bool = true;
    const SINGULAR: &'static str = "endpoints";
    const SHORT_NAMES: &'static [&'static str] = &["ep"];
    const COLUMNS: &'static [Column] =
        &[table::NAME, table::text("Endpoints", "Addresses and ports that are ready."), table::AGE];

    fn default(object: &mut Endpoints) {
        for port in object.subsets.iter_mut().flatten().flat_map(|subset| subset.ports.iter_mut().flatten()) {
            if port.protocol.as_deref().unwrap_or_default().is_empty() {
                port.protocol = Some("TCP".to_owned());
            }
        }
    }

    fn validate(object: &Endpoints) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let path = Path::root("subsets");
        for (i, subset) in object.subsets.iter().flatten().enumerate() {
            let path = path.index(i);
            let ready = subset.addresses.as_deref().unwrap_or_default();
            let not_ready = subset.not_ready_addresses.as_deref().unwrap_or_default();
            if ready.is_empty() && not_ready.is_empty() {
                errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
            }
            for (field, addresses) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
                for (i, address) in addresses.iter().enumerate() {
                    validate_address(&mut errors, &path.child(field).index(i), address);
                }
            }
            let ports = subset.ports.as_deref().unwrap_or_default();
            for (i, port) in ports.iter().enumerate() {
                validate_port(&mut errors, &path.child("ports").index(i), port, ports.len() > 1);
            }
        }
        errors.into_vec()
    }

    fn row(object: &Endpoints, now: Timestamp) -> Vec<Cell> {
        let mut list = Vec::new();
        for subset in object.subsets.iter().flatten() {
            let ips: Vec<&str> = subset.addresses.iter().flatten().map(|address| address.ip.as_str()).collect();
            let ports = subset.ports.as_deref().unwrap_or_default();
            if ports.is_empty() {
                list.extend(ips.iter().map(|ip| (*ip).to_owned()));
            }
            for port in ports {
                list.extend(ips.iter().map(|ip| match ip.contains(':') {
                    true => format!("[{ip}]:{}", port.port),
                    false => format!("{ip}:{}", port.port),
                }));
            }
        }
        let endpoints = endpoint::abridged(&list, "<none>");
        vec![table::name(&object.metadata), Cell::from(endpoints), table::age(&object.metadata, now)]
    }
}

fn validate_address(errors: &mut Errors, path: &Path<'_>, address: &EndpointAddress) {
    endpoint::validate_ip(errors, &path.child("ip"), &address.ip);
    if let Some(hostname) = address.hostname.as_deref().filter(|hostname| !hostname.is_empty()) {
        errors.invalid_each(&path.child("hostname"), hostname, names::dns1123_label(hostname));
    }
    if let Some(node) = &address.node_name {
        errors.invalid_each(&path.child("nodeName"), node, names::dns1123_subdomain(node));
    }
}

fn validate_port(errors: &mut Errors, path: &Path<'_>, port: &EndpointPort, name_required: bool) {
    match port.name.as_deref().unwrap_or_default() {
        "" if name_required => errors.required(&path.child("name"), ""),
        "" => {}
        name => errors.invalid_each(&path.child("name"), name, names::dns1123_label(name)),
    }
    if let Some(detail) = names::port_number(port.port) {
        errors.invalid(&path.child("port"), port.port, detail);
    }
    endpoint::validate_protocol(errors, &path.child("protocol"), port.protocol.as_deref());
    endpoint::validate_app_protocol(errors, &path.child("appProtocol"), port.app_protocol.as_deref());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn faults_have_their_paths_and_rows_are_short() {
        let mut object: Endpoints = crate::decode::decode(json!({"metadata": {"name": "e"}, "subsets": [
            {"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"name": "a", "port": 80}, {"port": 0}]},
            {}]}))
        .unwrap()
        .0;
        EndpointsKind::default(&mut object);
        let fields: Vec<String> = EndpointsKind::validate(&object).into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["subsets[0].ports[1].name", "subsets[0].ports[1].port", "subsets[1]"]);
        let row = EndpointsKind::row(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(row)[1], "10.0.0.1:80,10.0.0.2:80,10.0.0.1:0 + 1 more...");
    }
}
