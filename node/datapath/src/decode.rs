//! Rows of the kernel's tables for people, with names joined.

use std::net::IpAddr;

use serde::Serialize;
use skep_abi::{
    BACKEND_TERMINATING, Backend, Ip, PROTO_SCTP, PROTO_TCP, PROTO_UDP, SCOPE_INTERNAL, SVC_ADDRESS, SVC_EXTERNAL,
    SVC_NODE_PORT, SVC_SOURCES, Source, Svc, SvcKey,
};

use crate::Dump;

/// A head of `SVC` with its list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceRow {
    /// `namespace/name:port`; empty where the kernel has no name for the id.
    pub name: String,
    /// Service id.
    pub id: u32,
    /// Service address; 0.0.0.0 or :: for a node port.
    pub address: IpAddr,
    /// Service port.
    pub port: u16,
    /// `TCP`, `UDP` or a protocol number.
    pub protocol: String,
    /// `external` or `internal`.
    pub scope: &'static str,
    /// `ClusterIP`, `NodePort`, `HostPort`, or `External` for external IPs and load balancers' addresses.
    pub kind: &'static str,
    /// First row of its list.
    pub base: u32,
    /// Active backends.
    pub active: u32,
    /// Terminating backends.
    pub terminating: u32,
    /// Session affinity time-out in seconds; 0 is none.
    pub affinity_timeout_s: u32,
    /// Slots of the Maglev table by which flows from outside are spread; 0 where they are spread at random.
    pub maglev_slots: u32,
    /// Whether that table is what it should be for the list; so too where there is none.
    pub maglev_right: bool,
    /// Prefixes of the callers outside that may have it, sorted; empty for everyone.
    pub sources: Vec<String>,
    /// Its list.
    pub backends: Vec<BackendRow>,
}

/// A row of `BACKENDS`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendRow {
    /// Number of the row.
    pub row: u32,
    /// Service id that the row carries.
    pub service_id: u32,
    /// Name of that service; empty where unknown.
    pub service: String,
    /// Backend address.
    pub address: IpAddr,
    /// Backend port.
    pub port: u16,
    /// `TCP`, `UDP` or a protocol number.
    pub protocol: String,
    /// `active` or `terminating`.
    pub state: &'static str,
    /// Pod of this node that has the address; empty for any other.
    pub pod: String,
}

/// The service tables, sorted by name, address and port; `pod` names the pod of this node that has an address.
pub fn decode_services(dump: &Dump, pod: impl Fn(IpAddr) -> Option<String>) -> Vec<ServiceRow> {
    let names: std::collections::HashMap<u32, &str> =
        dump.names.iter().map(|(id, name)| (*id, name.as_str())).collect();
    let name = |id: u32| names.get(&id).copied().unwrap_or_default().to_owned();
    let mut rows: Vec<ServiceRow> = dump
        .heads
        .iter()
        .filter(|(_, head)| head.flags & SVC_ADDRESS == 0)
        .map(|(key, head)| {
            let list = (head.base..).zip(dump.list(head));
            let backends = list.map(|(row, backend)| decode_backend(row, backend, name(backend.service), &pod));
            let mut row = decode_head(key, head, name(head.service), backends.collect());
            if head.flags & SVC_SOURCES != 0 {
                row.sources = decode_sources(head.service, dump);
            }
            row.maglev_right = dump.is_table_right(head);
            row
        })
        .collect();
    rows.sort_by(|a, b| (&a.name, a.address, a.port, &a.protocol).cmp(&(&b.name, b.address, b.port, &b.protocol)));
    rows
}

fn decode_head(key: &SvcKey, head: &Svc, name: String, backends: Vec<BackendRow>) -> ServiceRow {
    // `namespace/pod/name`, which no Service can be called.
    let is_pods = name.split_once('/').is_some_and(|(_, rest)| rest.starts_with("pod/"));
    ServiceRow {
        name,
        id: head.service,
        address: key.addr.into(),
        port: key.port.get(),
        protocol: protocol(key.proto),
        scope: if key.scope == SCOPE_INTERNAL { "internal" } else { "external" },
        kind: match head.flags {
            flags if flags & SVC_NODE_PORT != 0 => "NodePort",
            flags if flags & SVC_EXTERNAL != 0 && is_pods => "HostPort",
            flags if flags & SVC_EXTERNAL != 0 => "External",
            _ => "ClusterIP",
        },
        base: head.base,
        active: head.active,
        terminating: head.terminating,
        affinity_timeout_s: head.affinity_timeout_s,
        maglev_slots: head.slots,
        maglev_right: true,
        sources: Vec::new(),
        backends,
    }
}

/// The prefixes of a service; of an IPv4 one, without the bits that all have.
fn decode_sources(service: u32, dump: &Dump) -> Vec<String> {
    let own = dump.sources.iter().filter(|source| source.key.service == service);
    let mut texts: Vec<String> = own
        .map(|source| {
            let address = IpAddr::from(source.key.addr);
            let mapped = if address.is_ipv4() { Ip::MAPPED_BITS } else { 0 };
            format!("{address}/{}", source.bits.saturating_sub(Source::SERVICE_BITS + mapped))
        })
        .collect();
    texts.sort_unstable();
    texts
}

fn decode_backend(row: u32, backend: &Backend, service: String, pod: &impl Fn(IpAddr) -> Option<String>) -> BackendRow {
    let address = backend.addr.into();
    BackendRow {
        row,
        service_id: backend.service,
        service,
        address,
        port: backend.port.get(),
        protocol: protocol(backend.proto),
        state: if backend.flags & BACKEND_TERMINATING != 0 { "terminating" } else { "active" },
        pod: pod(address).unwrap_or_default(),
    }
}

pub(crate) fn protocol(number: u8) -> String {
    match number {
        PROTO_TCP => "TCP".to_owned(),
        PROTO_UDP => "UDP".to_owned(),
        PROTO_SCTP => "SCTP".to_owned(),
        other => other.to_string(),
    }
}
