//! Service tables against what they should hold.

use std::collections::BTreeMap;
use std::net::IpAddr;

use skep_netmodel::{Backend, BackendState, FrontendAddress, Scope, ServiceSpec};

use crate::{Difference, Dump, ServiceRow, decode_services};

/// Every service address whose list differs from what it should be. The order within a list is part of it.
pub fn verify_services<'a>(specs: impl IntoIterator<Item = &'a ServiceSpec>, held: &Dump) -> Vec<Difference> {
    let mut wanted: BTreeMap<String, String> = BTreeMap::new();
    for spec in specs {
        for frontend in &spec.frontends {
            let address = match frontend.address {
                FrontendAddress::Ip(IpAddr::V4(address)) | FrontendAddress::External(IpAddr::V4(address)) => {
                    address.to_string()
                }
                FrontendAddress::Ip(IpAddr::V6(_)) | FrontendAddress::External(IpAddr::V6(_)) => continue,
                FrontendAddress::Node => "0.0.0.0".to_owned(),
            };
            let scope = if frontend.scope == Scope::Internal { "internal" } else { "external" };
            let key = format!("{address}:{}/{} {scope}", frontend.port, spec.protocol);
            let list: Vec<String> = spec.backends.iter().filter(|one| one.address.is_ipv4()).map(backend).collect();
            wanted.insert(key, format!("{} to [{}]", spec.name, list.join(", ")));
        }
    }
    let rows = decode_services(held, |_| None);
    let found: BTreeMap<String, String> = rows.iter().map(row).collect();
    let mut differences = Vec::new();
    for (key, desired) in &wanted {
        let holds = found.get(key).cloned().unwrap_or_default();
        if holds != *desired {
            differences.push(Difference { table: "SVC_V4", key: key.clone(), desired: desired.clone(), held: holds });
        }
    }
    for (key, holds) in found.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
        differences.push(Difference { table: "SVC_V4", key: key.clone(), desired: String::new(), held: holds.clone() });
    }
    differences
}

fn backend(one: &Backend) -> String {
    let state = if one.state == BackendState::Terminating { " terminating" } else { "" };
    format!("{}:{}{state}", one.address, one.port)
}

fn row(row: &ServiceRow) -> (String, String) {
    let list: Vec<String> = row
        .backends
        .iter()
        .map(|one| {
            // A row of another service is another backend, wherever it leads.
            let strange = if one.service_id == row.id { "" } else { " of another service" };
            let state = if one.state == "terminating" { " terminating" } else { "" };
            format!("{}:{}{state}{strange}", one.address, one.port)
        })
        .collect();
    let key = format!("{}:{}/{} {}", row.address, row.port, row.protocol, row.scope);
    (key, format!("{} to [{}]", row.name, list.join(", ")))
}
