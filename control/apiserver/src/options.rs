//! Settings, and why a server did not start.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

/// Settings of an [`ApiServer`](crate::ApiServer).
#[derive(Clone)]
pub struct Options {
    /// Where Services get their addresses, e.g. `10.96.0.0/16`.
    pub service_cidr: IpNet,
    /// Where node ports are taken from, e.g. `30000..=32767`.
    pub node_ports: RangeInclusive<u16>,
    /// Where pods reach the API server: the endpoint of the Service `kubernetes`. `None` leaves that Service out.
    pub advertise: Option<SocketAddr>,
    /// How nodes are reached for logs: TLS with a client certificate that they trust and the CA of their certificates.
    pub kubelet_client: Option<Arc<rustls::ClientConfig>>,
    /// Requests that change something, at once; more wait a moment and are then told to come back.
    pub mutating_requests_max: usize,
    /// Gets and lists at once.
    pub reading_requests_max: usize,
}

impl Options {
    /// Upstream's numbers, and the cluster's usual addresses.
    ///
    /// # Panics
    /// Never: the addresses are constants.
    #[must_use]
    pub fn new() -> Self {
        Self {
            service_cidr: IpNet::V4(ipnet::Ipv4Net::new_assert([10, 96, 0, 0].into(), 16)),
            node_ports: 30_000..=32_767,
            advertise: None,
            kubelet_client: None,
            mutating_requests_max: 200,
            reading_requests_max: 400,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// Why the API server does not start or serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The watch cache could not be filled.
    #[error("the watch cache cannot be filled from the store")]
    Load(#[source] skep_raft::StoreError),
    /// An object that every cluster has could not be made.
    #[error("{kind} \"{name}\" cannot be created: {reason}")]
    Bootstrap {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the server answered.
        reason: String,
    },
    /// A listener that cannot be used.
    #[error("the listener cannot be served")]
    Listen(#[source] std::io::Error),
}
