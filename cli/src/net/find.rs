//! Which rows a target names.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use skep_observe::v1;

/// `NAMESPACE/NAME[:PORT]`, `ADDRESS[:PORT[/PROTOCOL]]`, or `node:PORT` for a node port.
///
/// # Errors
/// An address with a port that is none.
pub(super) fn services(rows: Vec<v1::Service>, target: &str) -> Result<Vec<v1::Service>> {
    let wanted = Wanted::parse(target)?;
    Ok(rows.into_iter().filter(|row| wanted.matches(row)).collect())
}

/// `ADDRESS`, `NAMESPACE/NAME`, or the interface's name.
pub(super) fn endpoints(rows: Vec<v1::Endpoint>, target: &str) -> Vec<v1::Endpoint> {
    rows.into_iter().filter(|row| row.address == target || row.pod == target || row.link == target).collect()
}

/// `ADDRESS` finds the longest prefix that it is in, as a packet would; `PREFIX` and `NODE` find what is equal.
pub(super) fn remotes(rows: Vec<v1::Remote>, target: &str) -> Vec<v1::Remote> {
    if let Ok(address) = target.parse::<IpAddr>() {
        let prefix =
            |row: &v1::Remote| row.prefix.parse::<ipnet::IpNet>().ok().filter(|prefix| prefix.contains(&address));
        let longest = rows.into_iter().filter_map(|row| Some((prefix(&row)?.prefix_len(), row)));
        return longest.max_by_key(|(len, _)| *len).map(|(_, row)| row).into_iter().collect();
    }
    rows.into_iter().filter(|row| row.prefix == target || row.node == target).collect()
}

enum Wanted<'a> {
    Name(&'a str),
    Frontend { address: Ipv4Addr, port: Option<u32>, protocol: Option<&'a str> },
}

impl<'a> Wanted<'a> {
    fn parse(target: &'a str) -> Result<Self> {
        let (rest, protocol) = match target.rsplit_once('/') {
            Some((rest, protocol)) if matches!(protocol.to_ascii_uppercase().as_str(), "TCP" | "UDP") => {
                (rest, Some(protocol))
            }
            _ => (target, None),
        };
        let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
        let address = match host {
            "node" => Some(Ipv4Addr::UNSPECIFIED),
            other => other.parse().ok(),
        };
        let Some(address) = address else { return Ok(Wanted::Name(target)) };
        let port = port.map(|port| port.parse::<u16>().with_context(|| format!("{port:?} in {target} is not a port")));
        Ok(Wanted::Frontend { address, port: port.transpose()?.map(u32::from), protocol })
    }

    fn matches(&self, row: &v1::Service) -> bool {
        match self {
            Wanted::Name(name) => {
                // A Service's lists, the one for callers from outside too.
                let held = row.name.strip_suffix(" (external)").unwrap_or(&row.name);
                held == *name || held.rsplit_once(':').is_some_and(|(service, _)| service == *name)
            }
            Wanted::Frontend { address, port, protocol } => {
                row.address.parse() == Ok(*address)
                    && port.is_none_or(|port| row.port == port)
                    && protocol.is_none_or(|protocol| row.protocol.eq_ignore_ascii_case(protocol))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_finds_the_longest_prefix() {
        let row = |prefix: &str, node: &str| v1::Remote {
            prefix: prefix.to_owned(),
            node: node.to_owned(),
            ..v1::Remote::default()
        };
        let rows =
            vec![row("10.42.0.0/16", ""), row("10.42.1.0/24", "a"), row("192.168.0.1/32", "a"), row("fd00::/64", "b")];
        let found =
            |target: &str| -> Vec<String> { remotes(rows.clone(), target).into_iter().map(|row| row.prefix).collect() };
        assert_eq!(found("10.42.1.9"), ["10.42.1.0/24"]);
        assert_eq!(found("10.42.9.9"), ["10.42.0.0/16"]);
        assert_eq!(found("fd00::9"), ["fd00::/64"]);
        assert_eq!(found("a").len(), 2);
        assert_eq!(found("10.42.1.0/24").len(), 1);
        assert!(found("192.0.2.1").is_empty());
    }

    #[test]
    fn every_form_of_target() {
        let row = |name: &str, address: &str, port: u32, protocol: &str| v1::Service {
            name: name.to_owned(),
            address: address.to_owned(),
            port,
            protocol: protocol.to_owned(),
            ..v1::Service::default()
        };
        let rows = vec![
            row("a/web:http", "10.96.0.5", 80, "TCP"),
            row("a/web:http", "0.0.0.0", 30080, "TCP"),
            row("a/web:dns", "10.96.0.5", 53, "UDP"),
            row("a/web2", "10.96.0.6", 80, "TCP"),
        ];
        let count = |target: &str| services(rows.clone(), target).unwrap().len();
        for (target, expected) in [
            ("a/web", 3),
            ("a/web:http", 2),
            ("a/web2", 1),
            ("a/none", 0),
            ("10.96.0.5", 2),
            ("10.96.0.5:53", 1),
            ("10.96.0.5:53/udp", 1),
            ("10.96.0.5:53/TCP", 0),
            ("node:30080", 1),
        ] {
            assert_eq!(count(target), expected, "{target}");
        }
        services(rows.clone(), "10.96.0.5:http").unwrap_err();
    }
}
