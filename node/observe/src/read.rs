//! The kernel's tables in the form that the protocol carries.

use std::path::PathBuf;

use skep_bpf::{EndpointRow, Error, Inspector, MapRow, ProgramRow, RemoteRow};
use skep_datapath::{BackendRow, FlowEntry, IdentityEntry, PolicyEntry, ServiceRow};
use skep_netmodel::{Hop, RouteSpec};

use crate::v1;

/// Services with their lists.
///
/// # Errors
/// A map cannot be read.
pub fn services(kernel: &Inspector) -> Result<Vec<v1::Service>, Error> {
    Ok(kernel.services()?.into_iter().map(service).collect())
}

/// Pods of the node. Names of interfaces are those of the caller's network namespace: with `links` false they are left out.
///
/// # Errors
/// A map cannot be read.
pub fn endpoints(kernel: &Inspector, links: bool) -> Result<Vec<v1::Endpoint>, Error> {
    Ok(kernel.endpoints()?.into_iter().map(|row| endpoint(row, links)).collect())
}

/// Allowed traffic of the node's pods.
///
/// # Errors
/// A map cannot be read.
pub fn policy(kernel: &Inspector) -> Result<Vec<v1::PolicyRow>, Error> {
    let row = |row: PolicyEntry| v1::PolicyRow {
        subject_id: row.subject_id,
        subject: row.subject,
        direction: row.direction.to_owned(),
        peer_id: row.peer_id,
        peer: row.peer,
        ports: row.ports,
        verdict: row.verdict.to_owned(),
        rule: row.rule,
    };
    Ok(kernel.policy()?.into_iter().map(row).collect())
}

/// Pods of the cluster and address blocks, as policies know them.
///
/// # Errors
/// A map cannot be read.
pub fn identities(kernel: &Inspector) -> Result<Vec<v1::Identity>, Error> {
    let row = |row: IdentityEntry| v1::Identity {
        address: row.address,
        id: row.id,
        labels: row.labels,
        namespace_id: row.namespace_id,
        policed: row.policed,
    };
    Ok(kernel.identities()?.into_iter().map(row).collect())
}

/// Flows of policed pods.
///
/// # Errors
/// A map cannot be read.
pub fn flows(kernel: &Inspector) -> Result<Vec<v1::Flow>, Error> {
    let row = |row: FlowEntry| v1::Flow {
        protocol: row.protocol,
        source: row.source.to_string(),
        source_port: u32::from(row.source_port),
        destination: row.destination.to_string(),
        destination_port: u32::from(row.destination_port),
        state: row.state.to_owned(),
        expires_s: row.expires_s,
        owner: row.owner,
        generation: row.generation,
        settled: row.settled,
    };
    Ok(kernel.flows()?.into_iter().map(row).collect())
}

/// Prefixes of the cluster.
///
/// # Errors
/// A map cannot be read.
pub fn remotes(kernel: &Inspector) -> Result<Vec<v1::Remote>, Error> {
    Ok(kernel.remotes()?.into_iter().map(remote).collect())
}

/// Routes of the node's stack, with the names that the programs' prefixes have.
///
/// # Errors
/// A map cannot be read.
pub fn routes(kernel: &Inspector, routes: Vec<RouteSpec>) -> Result<Vec<v1::Route>, Error> {
    let remotes = kernel.remotes()?;
    let route = |route: RouteSpec| {
        let known = remotes.iter().find(|row| row.prefix == route.prefix);
        let (hop, address) = match route.hop {
            Hop::Via(node) => ("via", node.to_string()),
            Hop::Tunnel(node) => ("tunnel", node.to_string()),
            Hop::Unreachable => ("unreachable", String::new()),
        };
        let node = known.map(|row| row.name.clone()).unwrap_or_default();
        v1::Route { prefix: route.prefix.to_string(), hop: hop.to_owned(), address, node }
    };
    Ok(routes.into_iter().map(route).collect())
}

/// The programs' tables.
///
/// # Errors
/// A map cannot be read.
pub fn maps(kernel: &Inspector) -> Result<Vec<v1::Map>, Error> {
    Ok(kernel.maps()?.into_iter().map(map).collect())
}

/// The programs where they are attached; `links` as for [`endpoints`].
///
/// # Errors
/// A pin cannot be read.
pub fn programs(kernel: &Inspector, links: bool) -> Result<Vec<v1::Program>, Error> {
    Ok(kernel.programs()?.into_iter().map(|row| program(row, links)).collect())
}

/// The tables at a glance; what only the daemon knows is left empty.
///
/// # Errors
/// A map cannot be read.
pub fn status(kernel: &Inspector) -> Result<v1::Status, Error> {
    let names: std::collections::BTreeSet<String> = kernel.services()?.into_iter().map(|row| row.name).collect();
    let counters = kernel.counters()?.into_iter().map(|row| v1::Counter {
        name: row.metric.name().to_owned(),
        packets: row.packets,
        bytes: row.bytes,
        drop: row.metric.is_drop(),
    });
    Ok(v1::Status {
        services: count(names.len()),
        endpoints: count(kernel.endpoints()?.len()),
        counters: counters.collect(),
        ..v1::Status::default()
    })
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn service(row: ServiceRow) -> v1::Service {
    v1::Service {
        name: row.name,
        id: row.id,
        address: row.address.to_string(),
        port: u32::from(row.port),
        protocol: row.protocol,
        scope: row.scope.to_owned(),
        kind: row.kind.to_owned(),
        base: row.base,
        active: row.active,
        terminating: row.terminating,
        affinity_timeout_s: row.affinity_timeout_s,
        maglev_slots: row.maglev_slots,
        sources: row.sources,
        backends: row.backends.into_iter().map(backend).collect(),
    }
}

fn backend(row: BackendRow) -> v1::Backend {
    v1::Backend {
        row: row.row,
        service_id: row.service_id,
        service: row.service,
        address: row.address.to_string(),
        port: u32::from(row.port),
        protocol: row.protocol,
        state: row.state.to_owned(),
        pod: row.pod,
    }
}

fn endpoint(row: EndpointRow, links: bool) -> v1::Endpoint {
    v1::Endpoint {
        address: row.address.to_string(),
        pod: row.pod,
        id: row.id,
        ifindex: row.ifindex,
        link: if links { link_name(row.ifindex).unwrap_or_default() } else { String::new() },
        host_mac: mac(row.host_mac),
        pod_mac: mac(row.pod_mac),
    }
}

fn remote(row: RemoteRow) -> v1::Remote {
    let kind = match (row.pods, row.is_node) {
        (true, _) => "pods",
        (false, true) => "node",
        (false, false) => "listed",
    };
    v1::Remote {
        prefix: row.prefix.to_string(),
        kind: kind.to_owned(),
        node: row.name,
        address: row.node.map(|node| node.to_string()).unwrap_or_default(),
        tunnel: row.tunnel,
    }
}

fn map(row: MapRow) -> v1::Map {
    v1::Map {
        name: row.name.to_owned(),
        id: row.id,
        kind: row.kind.to_owned(),
        key_size: row.key_size,
        value_size: row.value_size,
        entries_max: row.max_entries,
        entries: row.entries,
        memory_bytes: row.memory_bytes,
    }
}

fn program(row: ProgramRow, links: bool) -> v1::Program {
    let (kind, _) = row.attach.split_once(' ').unwrap_or((&row.attach, ""));
    v1::Program {
        kind: kind.to_owned(),
        attached: attached(&row, links),
        name: row.name,
        id: row.id,
        verified_instructions: row.verified_insns,
        jited_bytes: row.jited_bytes,
        run_count: row.run_count,
        run_time_ns: row.run_time_ns,
    }
}

fn attached(row: &ProgramRow, links: bool) -> String {
    let place = match (row.ifindex, row.cgroup_id) {
        (Some(index), _) => link_name(index).filter(|_| links).unwrap_or_else(|| format!("ifindex {index}")),
        (None, Some(id)) => cgroup_path(id).unwrap_or_else(|| format!("cgroup {id}")),
        (None, None) => String::new(),
    };
    format!("{} {place}", row.attach).trim_end().to_owned()
}

fn link_name(index: u32) -> Option<String> {
    nix::net::if_::if_indextoname(index).ok().and_then(|name| name.into_string().ok())
}

/// A cgroup's id is the inode number of its directory; a node's is directly below the root.
fn cgroup_path(id: u64) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(PathBuf::from);
    let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists())?;
    let below = std::fs::read_dir(&root).ok()?.flatten().map(|entry| entry.path());
    let found = below.into_iter().find(|path| path.metadata().is_ok_and(|held| held.ino() == id))?;
    Some(format!("/{}", found.strip_prefix(&root).ok()?.display()))
}

fn mac([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
