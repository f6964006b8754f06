//! Specs of services in few words.

use std::net::IpAddr;
use std::sync::Arc;

use skep_netmodel::{
    Backend, BackendState, Change, Frontend, FrontendAddress, ObjectName, PortName, Protocol, Scope, ServiceSpec,
};

/// A ClusterIP frontend.
pub fn cluster_ip(address: impl Into<IpAddr>, port: u16) -> Frontend {
    Frontend { address: FrontendAddress::Ip(address.into()), port, scope: Scope::External }
}

/// A node port frontend.
pub fn node_port(port: u16) -> Frontend {
    Frontend { address: FrontendAddress::Node, port, scope: Scope::External }
}

/// An active backend.
pub fn backend(address: impl Into<IpAddr>, port: u16) -> Backend {
    Backend { state: BackendState::Active, address: address.into(), port }
}

/// The change that makes a service of namespace `test` be so.
pub fn service(name: &str, protocol: Protocol, frontends: &[Frontend], backends: &[Backend]) -> Change {
    let mut backends = backends.to_vec();
    backends.sort_unstable();
    Change::Set(Arc::new(ServiceSpec {
        name: PortName {
            service: ObjectName::new("test", name),
            port: String::new(),
            external: false,
            v6: backends.first().is_some_and(|one| one.address.is_ipv6()),
        },
        protocol,
        frontends: frontends.to_vec(),
        backends,
        affinity_timeout_s: 0,
        elsewhere: false,
        sources: Vec::new(),
        maglev: false,
    }))
}
