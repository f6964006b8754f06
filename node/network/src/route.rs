//! Routes to other nodes' pods, for the node's own traffic and for what programs leave to the stack.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteIp6Tunnel, RouteIp6TunnelFlags, RouteIpTunnel, RouteLwTunnelEncap, RouteMessage,
    RouteProtocol, RouteScope, RouteType,
};
use skep_netmodel::{Hop, RouteSpec};

use crate::link::route_to;
use crate::network::Network;
use crate::overlay::OVERLAY;

/// By this number in them, routes are known as ours (see `/etc/iproute2/rt_protos`; numbers from 192 on are anyone's).
const PROTOCOL: RouteProtocol = RouteProtocol::Other(0xd5);

/// What a synchronisation did.
#[derive(Debug, Default)]
pub struct RoutesApplied {
    /// Routes written.
    pub written: usize,
    /// Routes removed.
    pub removed: usize,
    /// Routes that the kernel does not take. A node that is no neighbour is reached by routes of the operator's own.
    pub refused: Vec<RouteRefused>,
}

/// A route that the kernel does not take.
#[derive(Debug, thiserror::Error)]
#[error("route to {} {}", route.prefix, route.hop)]
pub struct RouteRefused {
    /// Which one.
    pub route: RouteSpec,
    #[source]
    source: io::Error,
}

impl Network {
    /// Makes the node have these routes to pods, and of its own making no other. `vni` is the tunnel's network identifier.
    ///
    /// # Errors
    /// Routes cannot be listed or removed.
    pub async fn sync_routes(&self, specs: &[RouteSpec], vni: u32) -> io::Result<RoutesApplied> {
        let held: Vec<RouteMessage> =
            self.links.routes().await?.into_iter().filter(|route| route.header.protocol == PROTOCOL).collect();
        let overlay = self.links.get(OVERLAY).await?.map(|link| link.index);
        let mut applied = RoutesApplied::default();
        for spec in specs {
            if held.iter().any(|route| decode(route).as_ref() == Some(spec)) {
                continue;
            }
            let wanted = self.route(spec, overlay, vni);
            match async { self.links.replace_route(wanted?).await }.await {
                Ok(()) => applied.written += 1,
                Err(source) => applied.refused.push(RouteRefused { route: spec.clone(), source }),
            }
        }
        for route in held {
            // The prefix alone counts: one that leads elsewhere has just been replaced.
            if prefix(&route).is_none_or(|prefix| specs.iter().all(|spec| spec.prefix != prefix)) {
                self.links.remove_route(route).await?;
                applied.removed += 1;
            }
        }
        Ok(applied)
    }

    /// The routes to pods that the node has, of its own making, by prefix.
    ///
    /// # Errors
    /// Netlink's.
    pub async fn routes(&self) -> io::Result<Vec<RouteSpec>> {
        let held = self.links.routes().await?;
        let own = held.iter().filter(|route| route.header.protocol == PROTOCOL);
        let mut specs: Vec<RouteSpec> = own.filter_map(decode).collect();
        specs.sort_unstable();
        Ok(specs)
    }

    fn route(&self, spec: &RouteSpec, overlay: Option<u32>, vni: u32) -> io::Result<RouteMessage> {
        let to = spec.prefix.network();
        let mut route = route_to(to, spec.prefix.prefix_len())?.protocol(PROTOCOL);
        if let (Some(source), true) = (self.node_ip(to), spec.hop != Hop::Unreachable) {
            route = route.pref_source(source).map_err(io::Error::other)?;
        }
        let route = match spec.hop {
            Hop::Unreachable => route.kind(RouteType::Unreachable),
            Hop::Via(node) => route.gateway(node).map_err(io::Error::other)?,
            Hop::Tunnel(node) => {
                let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no device {OVERLAY}"));
                let route = route.output_interface(overlay.ok_or_else(missing)?).scope(RouteScope::Link);
                let id = u64::from(vni);
                match node {
                    IpAddr::V4(node) => route.encap_ip(vec![RouteIpTunnel::Id(id), RouteIpTunnel::Destination(node)]),
                    // Without its checksum, UDP over IPv6 is dropped at the other end (RFC 8200, 8.1).
                    IpAddr::V6(node) => route.encap_ip6(vec![
                        RouteIp6Tunnel::Id(id),
                        RouteIp6Tunnel::Destination(node),
                        RouteIp6Tunnel::Flags(RouteIp6TunnelFlags::Checksum),
                    ]),
                }
            }
        };
        Ok(route.build())
    }
}

fn prefix(route: &RouteMessage) -> Option<IpNet> {
    let to = route.attributes.iter().find_map(|one| match one {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    IpNet::new(to?, route.header.destination_prefix_length).ok()
}

/// The spec that a route was made from; `None` where someone changed it since.
fn decode(route: &RouteMessage) -> Option<RouteSpec> {
    let prefix = prefix(route)?;
    if route.header.kind == RouteType::Unreachable {
        return Some(RouteSpec { prefix, hop: Hop::Unreachable });
    }
    let hop = route.attributes.iter().find_map(|one| match one {
        RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(Hop::Via(IpAddr::V4(*address))),
        RouteAttribute::Gateway(RouteAddress::Inet6(address)) => Some(Hop::Via(IpAddr::V6(*address))),
        RouteAttribute::Encap(parts) => parts.iter().find_map(|part| match part {
            RouteLwTunnelEncap::Ip(RouteIpTunnel::Destination(address)) => Some(Hop::Tunnel(IpAddr::V4(*address))),
            RouteLwTunnelEncap::Ip6(RouteIp6Tunnel::Destination(address)) => Some(Hop::Tunnel(IpAddr::V6(*address))),
            _ => None,
        }),
        _ => None,
    })?;
    Some(RouteSpec { prefix, hop })
}
