//! What a node should hold for one port of a Service.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::{PortName, maglev_size};

/// A port of a Service: where it is reached, and who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceSpec {
    /// Its name.
    pub name: PortName,
    /// Its protocol.
    pub protocol: Protocol,
    /// Where it is reached, sorted, without duplicates.
    pub frontends: Vec<Frontend>,
    /// Who answers: active ones first, then terminating ones, each sorted by address and port.
    pub backends: Vec<Backend>,
    /// Session affinity by client address: its time-out in seconds, 0 for none.
    pub affinity_timeout_s: u32,
    /// Whether there is no backend here for the reason alone that policy leaves out those of other nodes: packets are dropped then, so
    /// that a load balancer tries another node, and not refused.
    pub elsewhere: bool,
    /// Who may call it from outside at its load balancer's addresses, sorted; empty for everyone.
    pub sources: Vec<IpNet>,
    /// Whether every node sends a flow from outside to the same backend, by a Maglev table.
    pub maglev: bool,
}

/// What a load balancer asks a node about a Service: whether it has backends of its own (`healthCheckNodePort`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The port that it asks at.
    pub port: u16,
    /// Backends on this node that take new connections.
    pub local: usize,
}

/// Transport protocol of a service port that the node translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// An address and port at which a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Frontend {
    /// Address, or any of the node's.
    pub address: FrontendAddress,
    /// Port.
    pub port: u16,
    /// Whose calls it takes.
    pub scope: Scope,
}

/// The address of a [`Frontend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum FrontendAddress {
    /// An address of the Service's own, for callers inside the cluster.
    Ip(IpAddr),
    /// An address at which callers outside the cluster reach it: an external IP.
    External(IpAddr),
    /// An address of its load balancer, which may be closed to some.
    Balancer(IpAddr),
    /// Every address of the node of the list's family: a node port.
    Node,
}

impl ServiceSpec {
    /// Slots of its Maglev table; 0 where it has none: callers inside the cluster choose where they are, and need none.
    pub fn maglev_slots(&self) -> u32 {
        if !self.maglev || self.frontends.iter().all(|frontend| !frontend.is_by_table()) {
            return 0;
        }
        maglev_size(self.backends.iter().filter(|backend| backend.state == BackendState::Active).count())
    }
}

impl Frontend {
    /// Whether its calls may go by a Maglev table: those from outside.
    pub fn is_by_table(&self) -> bool {
        !self.address.is_internal() && self.scope == Scope::External
    }
}

impl FrontendAddress {
    /// Whether callers inside the cluster alone have it.
    pub fn is_internal(self) -> bool {
        matches!(self, Self::Ip(_))
    }

    /// The address; `None` for a node port.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) | Self::External(ip) | Self::Balancer(ip) => Some(ip),
            Self::Node => None,
        }
    }
}

/// Which callers a [`Frontend`] is for; they differ where internal and external traffic policy do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Scope {
    /// From outside the cluster, and from everywhere where there is no difference.
    External,
    /// From inside the cluster.
    Internal,
}

/// Who answers for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Backend {
    /// Whether it takes new connections.
    pub state: BackendState,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
}

/// Whether a backend takes new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendState {
    /// It does.
    Active,
    /// Only while no other backend is active: it is terminating and serves still (KEP-1669).
    Terminating,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.ip() {
            Some(ip) => std::net::SocketAddr::new(ip, self.port).fmt(f)?,
            None => write!(f, "node:{}", self.port)?,
        }
        f.write_str(if self.scope == Scope::Internal { " inside" } else { "" })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.address, self.port).fmt(f)?;
        match self.state {
            BackendState::Active => Ok(()),
            BackendState::Terminating => f.write_str(" terminating"),
        }
    }
}
