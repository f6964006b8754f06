//! Rows of the kernel's tables for people, with names joined.

use std::net::Ipv4Addr;

use serde::Serialize;
use skep_abi::{
    BACKEND_TERMINATING, BackendV4, PROTO_SCTP, PROTO_TCP, PROTO_UDP, SCOPE_INTERNAL, SVC_EXTERNAL, SVC_NODE_PORT,
    SvcKeyV4, SvcV4,
};

use crate::Dump;

/// A head of `SVC_V4` with its list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceRow {
    /// `namespace/name:port`; empty where the kernel has no name for the id.
    pub name: String,
    /// Service id.
    pub id: u32,
    /// Service address; 0.0.0.0 for a node port.
    pub address: Ipv4Addr,
    /// Service port.
    pub port: u16,
    /// `TCP`, `UDP` or a protocol number.
    pub protocol: String,
    /// `external` or `internal`.
    pub scope: &'static str,
    /// `ClusterIP`, `NodePort`, or `External` for external IPs and load balancers' addresses.
    pub kind: &'static str,
    /// First row of its list.
    pub base: u32,
    /// Active backends.
    pub active: u32,
    /// Terminating backends.
    pub terminating: u32,
    /// Session affinity time-out in seconds; 0 is none.
    pub affinity_timeout_s: u32,
    /// Its list.
    pub backends: Vec<BackendRow>,
}

/// A row of `BACKENDS_V4`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendRow {
    /// Number of the row.
    pub row: u32,
    /// Service id that the row carries.
    pub service_id: u32,
    /// Name of that service; empty where unknown.
    pub service: String,
    /// Backend address.
    pub address: Ipv4Addr,
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
pub fn decode_services(dump: &Dump, pod: impl Fn(Ipv4Addr) -> Option<String>) -> Vec<ServiceRow> {
    let names: std::collections::HashMap<u32, &str> =
        dump.names.iter().map(|(id, name)| (*id, name.as_str())).collect();
    let name = |id: u32| names.get(&id).copied().unwrap_or_default().to_owned();
    let mut rows: Vec<ServiceRow> = dump
        .heads
        .iter()
        .map(|(key, head)| {
            let list = (head.base..).zip(dump.list(head));
            let backends = list.map(|(row, backend)| decode_backend(row, backend, name(backend.service), &pod));
            decode_head(key, head, name(head.service), backends.collect())
        })
        .collect();
    rows.sort_by(|a, b| (&a.name, a.address, a.port, &a.protocol).cmp(&(&b.name, b.address, b.port, &b.protocol)));
    rows
}

fn decode_head(key: &SvcKeyV4, head: &SvcV4, name: String, backends: Vec<BackendRow>) -> ServiceRow {
    ServiceRow {
        name,
        id: head.service,
        address: key.addr.into(),
        port: key.port.get(),
        protocol: protocol(key.proto),
        scope: if key.scope == SCOPE_INTERNAL { "internal" } else { "external" },
        kind: match head.flags {
            flags if flags & SVC_NODE_PORT != 0 => "NodePort",
            flags if flags & SVC_EXTERNAL != 0 => "External",
            _ => "ClusterIP",
        },
        base: head.base,
        active: head.active,
        terminating: head.terminating,
        affinity_timeout_s: head.affinity_timeout_s,
        backends,
    }
}

fn decode_backend(
    row: u32,
    backend: &BackendV4,
    service: String,
    pod: &impl Fn(Ipv4Addr) -> Option<String>,
) -> BackendRow {
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
