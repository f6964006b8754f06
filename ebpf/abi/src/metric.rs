//! Counters: why packets and connections were dropped, and how many were handled.

/// Index into `METRICS`. Numbers are stable: below 64 a reason for a drop, from 64 on what was handled.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// A connection or datagram to a service without a backend was refused.
    DropNoBackend = 1,
    /// The row of a backend kept belonging to another service.
    DropBackendRace = 2,
    /// A packet's headers could not be read or written.
    DropMalformed = 3,
    /// A table that the flow needs an entry in refused it.
    DropTableFull = 4,
    /// A pod sent from an address or Ethernet address that is not its own.
    DropSpoofed = 5,
    /// A pod sent to a multicast or broadcast address, or something other than IP.
    DropNotUnicast = 6,
    /// No port was free for a flow that leaves the cluster.
    DropNatPorts = 7,
    /// A packet that leaves the cluster has no ports that could be translated.
    DropNatProtocol = 8,
    /// A caller outside is in none of the prefixes that may call the service.
    DropSource = 10,
    /// A service has no backend on this node, and its policy allows no other.
    DropNoLocalBackend = 11,
    /// A packet for a backend of another node cannot be sent there.
    DropNoRoute = 12,
    /// A packet came through the tunnel with a network identifier that is not the cluster's.
    DropTunnelId = 9,
    /// No policy of the destination allows it.
    DropIngressPolicy = 16,
    /// No policy of the source allows it.
    DropEgressPolicy = 17,
    /// A fragment for a policed pod came without the first one, which says the ports.
    DropFragment = 18,
    /// A program of the node was kept from binding a port that is a Service's.
    BindRefused = 32,
    /// A `connect` was translated.
    Connect = 64,
    /// A datagram of an unconnected socket was translated.
    SendMsg = 65,
    /// A packet of a pod was redirected to a pod of this node.
    LocalDelivery = 66,
    /// A packet of a pod was left to the stack.
    PodToStack = 67,
    /// A packet from outside to a service was translated.
    NodePortForward = 68,
    /// A reply of a service's backend was translated.
    NodePortReverse = 69,
    /// A packet of a pod was sent out of a link past the stack.
    PodToLink = 70,
    /// A packet of a pod went into the tunnel.
    PodToTunnel = 71,
    /// A packet from outside of the node was handed to its pod past the stack.
    RemoteDelivery = 72,
    /// A packet left the cluster under the node's address.
    MasqueradeForward = 73,
    /// A packet came back to the pod behind a flow that left under the node's address.
    MasqueradeReverse = 74,
    /// A pod's packet to a service was translated, since its socket had not been.
    ServiceForward = 75,
    /// A packet was answered with a refusal: TCP's RST, or ICMP.
    Rejected = 76,
    /// An echo request to a service's address was answered.
    Echo = 77,
    /// A flow was looked up in the policy tables.
    PolicyLookup = 80,
}

impl Metric {
    /// Rows of `METRICS`.
    pub const ROWS: u32 = 128;

    /// Every metric, by number.
    pub const ALL: [Self; 31] = [
        Self::DropNoBackend,
        Self::DropBackendRace,
        Self::DropMalformed,
        Self::DropTableFull,
        Self::DropSpoofed,
        Self::DropNotUnicast,
        Self::DropNatPorts,
        Self::DropNatProtocol,
        Self::DropTunnelId,
        Self::DropSource,
        Self::DropNoLocalBackend,
        Self::DropNoRoute,
        Self::DropIngressPolicy,
        Self::DropEgressPolicy,
        Self::DropFragment,
        Self::BindRefused,
        Self::Connect,
        Self::SendMsg,
        Self::LocalDelivery,
        Self::PodToStack,
        Self::NodePortForward,
        Self::NodePortReverse,
        Self::PodToLink,
        Self::PodToTunnel,
        Self::RemoteDelivery,
        Self::MasqueradeForward,
        Self::MasqueradeReverse,
        Self::ServiceForward,
        Self::Rejected,
        Self::Echo,
        Self::PolicyLookup,
    ];

    /// Its name in tables and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DropNoBackend => "no_backend",
            Self::DropBackendRace => "backend_race",
            Self::DropMalformed => "malformed",
            Self::DropTableFull => "table_full",
            Self::DropSpoofed => "spoofed",
            Self::DropNotUnicast => "not_unicast",
            Self::DropNatPorts => "nat_ports",
            Self::DropNatProtocol => "nat_protocol",
            Self::DropTunnelId => "tunnel_id",
            Self::DropSource => "source",
            Self::DropNoLocalBackend => "no_local_backend",
            Self::DropNoRoute => "no_route",
            Self::DropIngressPolicy => "ingress_policy",
            Self::DropEgressPolicy => "egress_policy",
            Self::DropFragment => "fragment",
            Self::BindRefused => "bind_refused",
            Self::Connect => "connect",
            Self::SendMsg => "sendmsg",
            Self::LocalDelivery => "local_delivery",
            Self::PodToStack => "pod_to_stack",
            Self::NodePortForward => "node_port_forward",
            Self::NodePortReverse => "node_port_reverse",
            Self::PodToLink => "pod_to_link",
            Self::PodToTunnel => "pod_to_tunnel",
            Self::RemoteDelivery => "remote_delivery",
            Self::MasqueradeForward => "masquerade_forward",
            Self::MasqueradeReverse => "masquerade_reverse",
            Self::ServiceForward => "service_forward",
            Self::Rejected => "rejected",
            Self::Echo => "echo",
            Self::PolicyLookup => "policy_lookup",
        }
    }

    /// Whether it counts drops.
    pub const fn is_drop(self) -> bool {
        (self as u32) < 64
    }
}

/// A row of `METRICS`, one per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets, or calls where no packet exists yet.
    pub packets: u64,
    /// Bytes, where they are known.
    pub bytes: u64,
}
