//! Cluster addresses and node ports: which a Service holds, and which it is given.
//!
//! Values that nobody asked for come from the upper part of a range first, so that the lower part stays free for those
//! that are asked for by number (KEP-3070 for addresses, KEP-3668 for node ports).

mod families;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::ServiceSpec;

use self::families::{family, range_of};
use super::{
    gets_node_ports, has_cluster_ips, has_health_check_port, is_external, is_headless, kind, may_have_node_ports,
};
use crate::field::{Errors, Path};
use crate::strategy::{Allocated, Claim, Pools};

const CLUSTER_IPS: &str = "clusterips";
const NODE_PORTS: &str = "nodeports";

fn ip_claim(ip: &str) -> Claim {
    Claim { pool: CLUSTER_IPS, value: ip.to_owned() }
}

/// A port number is one claim whatever its protocol: only one Service may use it.
fn port_claim(port: i32) -> Claim {
    Claim { pool: NODE_PORTS, value: port.to_string() }
}

pub(super) fn claims(spec: &ServiceSpec) -> Vec<Claim> {
    let mut claims = BTreeSet::new();
    if has_cluster_ips(spec) && !is_headless(spec) {
        claims.extend(spec.cluster_ips.iter().flatten().filter(|ip| !ip.is_empty()).map(|ip| ip_claim(ip)));
    }
    if may_have_node_ports(spec) {
        claims
            .extend(spec.ports.iter().flatten().filter_map(|port| port.node_port).filter(|p| *p != 0).map(port_claim));
    }
    if has_health_check_port(spec) {
        claims.extend(spec.health_check_node_port.filter(|port| *port != 0).map(port_claim));
    }
    claims.into_iter().collect()
}

/// Keeps what the server gave and the client left out, and drops what the new type does not have, where the client did
/// not touch it.
pub(super) fn carry_over(new: &mut ServiceSpec, old: &ServiceSpec) {
    if has_cluster_ips(new) && has_cluster_ips(old) {
        let empty = |ip: &Option<String>| ip.as_deref().unwrap_or_default().is_empty();
        if empty(&new.cluster_ip) && new.cluster_ips.as_deref().unwrap_or_default().is_empty() {
            new.cluster_ip.clone_from(&old.cluster_ip);
            new.cluster_ips.clone_from(&old.cluster_ips);
        } else if new.cluster_ip != old.cluster_ip && new.cluster_ips == old.cluster_ips {
            new.cluster_ips = new.cluster_ip.clone().map(|ip| vec![ip]);
        } else if new.cluster_ips.as_deref().unwrap_or_default().is_empty() {
            new.cluster_ips = new.cluster_ip.clone().map(|ip| vec![ip]);
        }
        if new.ip_families.as_deref().unwrap_or_default().is_empty() {
            new.ip_families.clone_from(&old.ip_families);
        }
        if new.ip_family_policy.is_none() {
            new.ip_family_policy.clone_from(&old.ip_family_policy);
        }
    } else if kind(new) == "ExternalName" && new.cluster_ip == old.cluster_ip && new.cluster_ips == old.cluster_ips {
        (new.cluster_ip, new.cluster_ips, new.ip_families, new.ip_family_policy) = (None, None, None, None);
    }
    carry_over_ports(new, old);
    if kind(new) != "LoadBalancer" && kind(old) == "LoadBalancer" {
        if new.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports {
            new.allocate_load_balancer_node_ports = None;
        }
        if new.load_balancer_class == old.load_balancer_class {
            new.load_balancer_class = None;
        }
    }
    if !is_external(new) && is_external(old) && new.external_traffic_policy == old.external_traffic_policy {
        new.external_traffic_policy = None;
    }
    if !has_cluster_ips(new) && has_cluster_ips(old) && new.internal_traffic_policy == old.internal_traffic_policy {
        new.internal_traffic_policy = None;
    }
}

fn carry_over_ports(new: &mut ServiceSpec, old: &ServiceSpec) {
    let node_ports = |spec: &ServiceSpec| -> BTreeSet<i32> {
        spec.ports.iter().flatten().filter_map(|port| port.node_port).filter(|port| *port != 0).collect()
    };
    if gets_node_ports(new) && may_have_node_ports(old) {
        let taken = node_ports(new);
        for port in new.ports.iter_mut().flatten().filter(|port| port.node_port.unwrap_or(0) == 0) {
            let same =
                |was: &&k8s_openapi::api::core::v1::ServicePort| was.port == port.port && was.protocol == port.protocol;
            let given = old.ports.iter().flatten().find(same).and_then(|was| was.node_port);
            port.node_port = given.filter(|given| !taken.contains(given)).or(port.node_port);
        }
    } else if !may_have_node_ports(new) && may_have_node_ports(old) && node_ports(new).is_subset(&node_ports(old)) {
        new.ports.iter_mut().flatten().for_each(|port| port.node_port = None);
    }
    match (has_health_check_port(new), has_health_check_port(old)) {
        (true, true) if new.health_check_node_port.unwrap_or(0) == 0 => {
            new.health_check_node_port = old.health_check_node_port;
        }
        (false, true) if new.health_check_node_port == old.health_check_node_port => new.health_check_node_port = None,
        _ => {}
    }
}

/// Fills in what is missing and checks what was asked for. `old` is the stored spec, whose values need no check.
pub(super) fn allocate(spec: &mut ServiceSpec, old: Option<&ServiceSpec>, pools: &dyn Pools) -> Allocated {
    let mut errors = Errors::new();
    let held: BTreeSet<Claim> = old.map(claims).unwrap_or_default().into_iter().collect();
    if has_cluster_ips(spec) {
        allocate_addresses(&mut errors, spec, old, &held, pools);
    }
    if may_have_node_ports(spec) {
        allocate_node_ports(&mut errors, spec, &held, pools);
    }
    if has_health_check_port(spec) {
        allocate_health_check_port(&mut errors, spec, &held, pools);
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.into_vec()) }
}

fn allocate_addresses(
    errors: &mut Errors,
    spec: &mut ServiceSpec,
    old: Option<&ServiceSpec>,
    held: &BTreeSet<Claim>,
    pools: &dyn Pools,
) {
    let ranges = pools.service_cidrs();
    let cluster_ip = spec.cluster_ip.clone().filter(|ip| !ip.is_empty());
    let asked = spec.cluster_ips.get_or_insert_default();
    if asked.is_empty() {
        asked.extend(cluster_ip);
    }
    if !families::choose(errors, spec, old, ranges) || is_headless(spec) {
        return;
    }
    let asked = spec.cluster_ips.clone().unwrap_or_default();
    let mut ips = asked.clone();
    for family in spec.ip_families.iter().flatten().skip(asked.len()) {
        match range_of(ranges, family).and_then(|range| free_address(range, pools)) {
            Some(ip) => ips.push(ip.to_string()),
            None => {
                errors.internal(&Path::root("spec.clusterIPs"), "failed to allocate a serviceIP: range is full");
                return;
            }
        }
    }
    for ip in asked.iter().filter(|ip| !held.contains(&ip_claim(ip))) {
        check_address(errors, ip, &asked, pools);
    }
    spec.cluster_ip = ips.first().cloned();
    spec.cluster_ips = Some(ips);
}

/// An address that was asked for, one of `all`.
fn check_address(errors: &mut Errors, text: &str, all: &[String], pools: &dyn Pools) {
    // What does not parse is for the validation to name, and so is an address of another family than its place says.
    let Ok(ip) = text.parse::<IpAddr>() else { return };
    let Some(range) = range_of(pools.service_cidrs(), family(ip.is_ipv4())) else { return };
    let path = Path::root("spec.clusterIPs");
    if !is_usable(range, ip) {
        let detail = format!(
            "failed to allocate IP {text}: the provided IP ({text}) is not in the valid range. The range of valid \
             IPs is {range}"
        );
        errors.invalid(&path, all.to_vec(), &detail);
    } else if pools.is_claimed(&ip_claim(text)) {
        let detail = format!("failed to allocate IP {text}: provided IP is already allocated");
        errors.invalid(&path, all.to_vec(), &detail);
    }
}

fn allocate_node_ports(errors: &mut Errors, spec: &mut ServiceSpec, held: &BTreeSet<Claim>, pools: &dyn Pools) {
    let fills = gets_node_ports(spec);
    let list = Path::root("spec.ports");
    let ports = spec.ports.as_deref_mut().unwrap_or_default();
    let mut taken: BTreeSet<i32> = ports.iter().filter_map(|port| port.node_port).filter(|p| *p != 0).collect();
    for i in 0..ports.len() {
        let path = list.index(i);
        let (number, asked) = (ports[i].port, ports[i].node_port.unwrap_or(0));
        if asked != 0 {
            check_port(errors, &path.child("nodePort"), asked, "", held, pools);
            continue;
        }
        if !fills {
            continue;
        }
        // TCP and UDP on one port number share their node port.
        let twin = |p: &&k8s_openapi::api::core::v1::ServicePort| p.port == number && p.protocol != ports[i].protocol;
        let shared = ports.iter().filter(twin).filter_map(|p| p.node_port).find(|p| *p != 0);
        let own = |p: i32| ports.iter().any(|o| o.node_port == Some(p) && o.protocol == ports[i].protocol);
        let port = shared.filter(|p| !own(*p)).or_else(|| free_port(&taken, pools));
        match port {
            Some(port) => {
                taken.insert(port);
                ports[i].node_port = Some(port);
            }
            None => {
                errors.internal(&path.child("nodePort"), "failed to allocate a nodePort: range is full");
            }
        }
    }
}

fn allocate_health_check_port(errors: &mut Errors, spec: &mut ServiceSpec, held: &BTreeSet<Claim>, pools: &dyn Pools) {
    let path = Path::root("spec.healthCheckNodePort");
    let taken: BTreeSet<i32> = spec.ports.iter().flatten().filter_map(|port| port.node_port).collect();
    match spec.health_check_node_port.unwrap_or(0) {
        0 => match free_port(&taken, pools) {
            Some(port) => spec.health_check_node_port = Some(port),
            None => errors.internal(&path, "failed to allocate a HealthCheck NodePort: range is full"),
        },
        port => {
            let what = format!("failed to allocate requested HealthCheck NodePort {port}: ");
            check_port(errors, &path, port, &what, held, pools);
        }
    }
}

fn check_port(errors: &mut Errors, path: &Path<'_>, port: i32, what: &str, held: &BTreeSet<Claim>, pools: &dyn Pools) {
    let claim = port_claim(port);
    if held.contains(&claim) {
        return;
    }
    let range = pools.node_ports();
    if !u16::try_from(port).is_ok_and(|port| range.contains(&port)) {
        let (first, last) = (range.start(), range.end());
        let detail =
            format!("{what}provided port is not in the valid range. The range of valid ports is {first}-{last}");
        errors.invalid(path, port, &detail);
    } else if pools.is_claimed(&claim) {
        errors.invalid(path, port, &format!("{what}provided port is already allocated"));
    }
}

/// The offsets of a range in the order in which they are tried: from somewhere in the upper part around it, then the
/// lower part.
fn offsets(size: u128, lower: u128, seed: u64) -> impl Iterator<Item = u128> {
    let upper = size.saturating_sub(lower);
    let start = if upper == 0 { 0 } else { u128::from(seed) % upper };
    let above = (0..upper).map(move |i| lower + (start + i) % upper.max(1));
    above.chain(0..lower.min(size))
}

fn free_port(taken: &BTreeSet<i32>, pools: &dyn Pools) -> Option<i32> {
    let range = pools.node_ports();
    let first = i32::from(*range.start());
    let size = u128::try_from(range.len()).ok()?;
    let lower = (size / 32).clamp(16, 128).min(size);
    let mut ports =
        offsets(size, lower, pools.seed()).filter_map(|offset| i32::try_from(offset).ok()).map(|o| first + o);
    ports.find(|port| !taken.contains(port) && !pools.is_claimed(&port_claim(*port)))
}

/// Addresses between the network's own and, for IPv4, its broadcast address.
fn size_of(range: &IpNet) -> u128 {
    let host_bits = u32::from(range.max_prefix_len() - range.prefix_len());
    let all = 1_u128.checked_shl(host_bits).unwrap_or(u128::MAX);
    all.saturating_sub(if range.addr().is_ipv4() { 2 } else { 1 })
}

fn is_usable(range: &IpNet, ip: IpAddr) -> bool {
    range.contains(&ip) && ip != range.network() && (ip.is_ipv6() || ip != range.broadcast())
}

fn free_address(range: &IpNet, pools: &dyn Pools) -> Option<IpAddr> {
    // Upstream, too, looks no further than this in a large IPv6 range.
    const TRIED_MAX: u128 = 1 << 20;
    let size = size_of(range).min(TRIED_MAX);
    let lower = (size / 16).clamp(16, 256).min(size);
    // The first address is that of the API server's own Service, which asks for it.
    let offsets = offsets(size, lower, pools.seed()).filter(|offset| *offset != 0);
    offsets.map(|offset| nth(range, offset)).find(|ip| !pools.is_claimed(&ip_claim(&ip.to_string())))
}

/// The usable address at an offset.
fn nth(range: &IpNet, offset: u128) -> IpAddr {
    match range.network() {
        IpAddr::V4(base) => {
            let offset = u32::try_from(offset).unwrap_or(u32::MAX - 1);
            IpAddr::V4(Ipv4Addr::from(u32::from(base).saturating_add(1).saturating_add(offset)))
        }
        IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from(u128::from(base).saturating_add(1).saturating_add(offset))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
