//! Service tables against what they should hold.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use skep_abi::SVC_ADDRESS;
use skep_netmodel::{Backend, BackendState, FrontendAddress, Scope, ServiceSpec};

use crate::{Difference, Dump, ServiceRow, decode_services};

/// What is held for an address that refuses what its services do not have.
const WHOLE: &str = "refuses what is not a service's";

/// Every service address whose list differs from what it should be. The order within a list is part of it.
pub fn verify_services<'a>(specs: impl IntoIterator<Item = &'a ServiceSpec>, held: &Dump) -> Vec<Difference> {
    let mut wanted: BTreeMap<String, String> = BTreeMap::new();
    for spec in specs {
        for frontend in &spec.frontends {
            let any: IpAddr = if spec.name.v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            let address = frontend.address.ip().unwrap_or(any);
            let scope = if frontend.scope == Scope::Internal { "internal" } else { "external" };
            let key = format!("{address} {}/{} {scope}", frontend.port, spec.protocol);
            let list: Vec<String> = spec.backends.iter().map(backend).collect();
            let closed = matches!(frontend.address, FrontendAddress::Balancer(_));
            let mut sources: Vec<String> = spec.sources.iter().filter(|_| closed).map(ToString::to_string).collect();
            sources.sort_unstable();
            let slots = if frontend.is_by_table() { spec.maglev_slots() } else { 0 };
            let rest = format!("{}{}", only_from(&sources), by_table(slots, true));
            wanted.insert(key, format!("{} to [{}]{rest}", spec.name, list.join(", ")));
            if frontend.address.is_internal() {
                wanted.insert(format!("{address} as a whole"), WHOLE.to_owned());
            }
        }
    }
    let rows = decode_services(held, |_| None);
    let whole = held.heads.iter().filter(|(_, head)| head.flags & SVC_ADDRESS != 0);
    let whole = whole.map(|(key, _)| (format!("{} as a whole", key.addr), WHOLE.to_owned()));
    let found: BTreeMap<String, String> = rows.iter().map(row).chain(whole).collect();
    let mut differences = Vec::new();
    for (key, desired) in &wanted {
        let holds = found.get(key).cloned().unwrap_or_default();
        if holds != *desired {
            differences.push(Difference { table: "SVC", key: key.clone(), desired: desired.clone(), held: holds });
        }
    }
    for (key, holds) in found.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
        differences.push(Difference { table: "SVC", key: key.clone(), desired: String::new(), held: holds.clone() });
    }
    differences
}

fn only_from(sources: &[String]) -> String {
    if sources.is_empty() { String::new() } else { format!(" only from {}", sources.join(", ")) }
}

fn by_table(slots: u32, right: bool) -> String {
    match (slots, right) {
        (0, _) => String::new(),
        (slots, true) => format!(" by {slots} slots"),
        (slots, false) => format!(" by {slots} slots of another list"),
    }
}

fn backend(one: &Backend) -> String {
    let state = if one.state == BackendState::Terminating { " terminating" } else { "" };
    format!("{}{state}", SocketAddr::new(one.address, one.port))
}

fn row(row: &ServiceRow) -> (String, String) {
    let list: Vec<String> = row
        .backends
        .iter()
        .map(|one| {
            // A row of another service is another backend, wherever it leads.
            let strange = if one.service_id == row.id { "" } else { " of another service" };
            let state = if one.state == "terminating" { " terminating" } else { "" };
            format!("{}{state}{strange}", SocketAddr::new(one.address, one.port))
        })
        .collect();
    let key = format!("{} {}/{} {}", row.address, row.port, row.protocol, row.scope);
    let rest = format!("{}{}", only_from(&row.sources), by_table(row.maglev_slots, row.maglev_right));
    (key, format!("{} to [{}]{rest}", row.name, list.join(", ")))
}
