//! The node's network as the container runtime sees it: CNI.
//!
//! [`Network`] gives each pod an address of the node's range and a veth pair, and remembers it in a file. The plugin
//! ([`plugin_main`]) is a small program that the runtime starts; it passes its call to [`CniService`] on the daemon's
//! socket. [`Install`] puts the plugin and the network's configuration where the runtime looks.
//!
//! A pod has an address of each of the node's ranges on `eth0`, alone in its prefix, and default routes by 169.254.1.1 and fe80::1, whose
//! MAC address is fixed to that of the interface on the node; the node has a route to each address and a fixed neighbour. So no ARP and
//! no neighbour discovery leaves either end. Routes to other nodes' pods are written and removed as a whole ([`Network::sync_routes`]),
//! and the tunnel's device is made by [`ensure_overlay`].
//!
//! Pods with ports of the node are shown as they come and go ([`Network::ported`]); whoever serves these ports listens there.
//!
//! Invariants: a lease is on disk before the runtime hears of its address; an address is given again only after all
//! others were; the thread of a runtime never changes its network namespace; the datapath knows a pod before the pod
//! knows its address.
//!
//! Tasks: one per netlink socket, ended with it. The only crate that names rtnetlink.

mod cni;
mod install;
mod ipam;
mod lease;
mod link;
mod mac;
mod netns;
mod network;
mod overlay;
mod plugin;
mod route;
mod service;
mod sysctl;

/// The protocol between plugin and daemon, generated from `proto/`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub(crate) mod v1 {
    tonic::include_proto!("skep.cni.v1");
}

pub use cni::{Error as CniError, Request as CniRequest, handle as handle_cni};
pub use install::Install;
pub use lease::{Attachment, Key, PortMapping};
pub use mac::Mac;
pub use network::{Endpoints, Network, OpenError, Options};
pub use overlay::{OVERHEAD_V4, OVERHEAD_V6, OVERLAY, ensure_overlay, remove_overlay};
pub use plugin::{LOOPBACK, PLUGIN, is_plugin, plugin_main};
pub use route::{RouteRefused, RoutesApplied};
pub use service::CniService;
