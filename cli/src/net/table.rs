//! Rows in columns, as kubectl prints them.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use skep_observe::v1;

pub(super) fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(columns);
    for row in rows {
        table.add_row(row.into_iter().map(|text| {
            let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let align = if number { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(align)
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

pub(super) fn services(rows: &[v1::Service]) -> String {
    let columns = ["SERVICE", "ADDRESS", "PROTOCOL", "KIND", "SCOPE", "ACTIVE", "TERMINATING", "ID"];
    let row = |one: &v1::Service| {
        vec![
            or_dash(&one.name),
            frontend(one),
            one.protocol.clone(),
            one.kind.clone(),
            one.scope.clone(),
            one.active.to_string(),
            one.terminating.to_string(),
            one.id.to_string(),
        ]
    };
    table(&columns, rows.iter().map(row))
}

/// Each service with its list below it.
pub(super) fn service_details(rows: &[v1::Service]) -> String {
    let mut out = String::new();
    for one in rows {
        let _ = writeln!(
            out,
            "{}  {}/{}  {}, {}, id {}, {} active, {} terminating, rows from {}{}{}{}",
            or_dash(&one.name),
            frontend(one),
            one.protocol,
            one.kind,
            one.scope,
            one.id,
            one.active,
            one.terminating,
            one.base,
            if one.affinity_timeout_s == 0 {
                String::new()
            } else {
                format!(", affinity {} s", one.affinity_timeout_s)
            },
            if one.maglev_slots == 0 { String::new() } else { format!(", maglev of {} slots", one.maglev_slots) },
            if one.sources.is_empty() { String::new() } else { format!(", only from {}", one.sources.join(" ")) },
        );
        let row = |backend: &v1::Backend| {
            let address = format!("{}:{}", backend.address, backend.port);
            vec![String::new(), backend.row.to_string(), address, backend.state.clone(), or_dash(&backend.pod)]
        };
        let list = table(&["", "ROW", "BACKEND", "STATE", "POD"], one.backends.iter().map(row));
        let _ = writeln!(out, "{list}\n");
    }
    out
}

pub(super) fn backends(rows: &[v1::Backend]) -> String {
    let row = |one: &v1::Backend| {
        vec![
            one.row.to_string(),
            format!("{}:{}", one.address, one.port),
            one.protocol.clone(),
            one.state.clone(),
            or_dash(&one.service),
            or_dash(&one.pod),
        ]
    };
    table(&["ROW", "BACKEND", "PROTOCOL", "STATE", "SERVICE", "POD"], rows.iter().map(row))
}

pub(super) fn endpoints(rows: &[v1::Endpoint]) -> String {
    let row = |one: &v1::Endpoint| {
        vec![
            one.address.clone(),
            or_dash(&one.pod),
            or_dash(&one.link),
            one.ifindex.to_string(),
            one.pod_mac.clone(),
            one.id.to_string(),
        ]
    };
    table(&["ADDRESS", "POD", "LINK", "IFINDEX", "MAC", "ID"], rows.iter().map(row))
}

pub(super) fn remotes(rows: &[v1::Remote]) -> String {
    let row = |one: &v1::Remote| {
        let way = if one.tunnel { "tunnel" } else { "-" };
        vec![one.prefix.clone(), one.kind.clone(), or_dash(&one.node), or_dash(&one.address), way.to_owned()]
    };
    table(&["PREFIX", "KIND", "NODE", "ADDRESS", "WAY"], rows.iter().map(row))
}

pub(super) fn routes(rows: &[v1::Route]) -> String {
    let row = |one: &v1::Route| vec![one.prefix.clone(), one.hop.clone(), or_dash(&one.address), or_dash(&one.node)];
    table(&["PREFIX", "HOP", "ADDRESS", "NODE"], rows.iter().map(row))
}

pub(super) fn maps(rows: &[v1::Map]) -> String {
    let row = |one: &v1::Map| {
        vec![
            one.name.clone(),
            one.id.to_string(),
            one.kind.clone(),
            one.key_size.to_string(),
            one.value_size.to_string(),
            one.entries.map_or_else(|| "-".to_owned(), |entries| entries.to_string()),
            one.entries_max.to_string(),
            (one.memory_bytes / 1024).to_string(),
        ]
    };
    table(&["MAP", "ID", "KIND", "KEY", "VALUE", "ENTRIES", "MAX", "KIB"], rows.iter().map(row))
}

pub(super) fn programs(rows: &[v1::Program]) -> String {
    let row = |one: &v1::Program| {
        vec![
            one.name.clone(),
            one.id.to_string(),
            one.kind.clone(),
            or_dash(&one.attached),
            one.verified_instructions.to_string(),
            one.jited_bytes.to_string(),
        ]
    };
    table(&["PROGRAM", "ID", "KIND", "ATTACHED", "VERIFIED", "BYTES"], rows.iter().map(row))
}

pub(super) fn status(status: &v1::Status) -> String {
    let mut out = String::new();
    if !status.version.is_empty() {
        let _ = writeln!(out, "Node {}, skep {}, up for {:.0} s", status.node, status.version, status.uptime_s);
    }
    let _ = writeln!(out, "Services {}, endpoints {}", status.services, status.endpoints);
    if let Some(one) = status.programming.as_ref().filter(|one| one.count > 0) {
        let _ = writeln!(
            out,
            "Endpoint change to kernel: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms, last {:.2} ms, {} changes",
            one.p50_ms, one.p99_ms, one.max_ms, one.last_ms, one.count
        );
    }
    if let Some(one) = status.policy.as_ref().filter(|one| one.count > 0) {
        let _ = writeln!(
            out,
            "Policy change to kernel: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms, last {:.2} ms, {} changes",
            one.p50_ms, one.p99_ms, one.max_ms, one.last_ms, one.count
        );
    }
    let row = |one: &v1::Counter| vec![one.name.clone(), one.packets.to_string(), one.bytes.to_string()];
    let counters = table(&["COUNTER", "PACKETS", "BYTES"], status.counters.iter().map(row));
    let _ = writeln!(out, "\n{counters}");
    out
}

/// A node port is reached at every address of the node.
fn frontend(one: &v1::Service) -> String {
    let address = if one.address == "0.0.0.0" { "node" } else { &one.address };
    format!("{address}:{}", one.port)
}

pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_with_its_list() {
        let backend = v1::Backend {
            row: 16,
            address: "10.42.0.5".to_owned(),
            port: 8080,
            state: "active".to_owned(),
            pod: "default/web-0".to_owned(),
            ..v1::Backend::default()
        };
        let service = v1::Service {
            name: "default/web:http".to_owned(),
            id: 3,
            address: "0.0.0.0".to_owned(),
            port: 30080,
            protocol: "TCP".to_owned(),
            scope: "external".to_owned(),
            kind: "NodePort".to_owned(),
            base: 16,
            active: 1,
            backends: vec![backend],
            ..v1::Service::default()
        };
        let text = service_details(std::slice::from_ref(&service));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "default/web:http  node:30080/TCP  NodePort, external, id 3, 1 active, 0 terminating, rows from 16"
        );
        let words: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!(words, ["16", "10.42.0.5:8080", "active", "default/web-0"]);
        assert_eq!(services(&[service]).lines().count(), 2);
    }
}
