//! Settings, and why a server did not start.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

/// Settings of an [`ApiServer`](crate::ApiServer).
#[derive(Clone)]
pub struct Options {
    /// Where Services get their addresses, e.g. `10.96.0.0/16`: one range or one of each family, the default one first.
    pub service_cidrs: Vec<IpNet>,
    /// Where node ports are taken from, e.g. `30000..=32767`.
    pub node_ports: RangeInclusive<u16>,
    /// Where pods reach the API server: the endpoint of the Service `kubernetes`. `None` leaves that Service out.
    pub advertise: Option<SocketAddr>,
    /// How nodes are reached for logs: TLS with a client certificate that they trust and the CA of their certificates.
    pub kubelet_client: Option<Arc<rustls::ClientConfig>>,
    /// Admission plugins that are left out, by upstream's names, e.g. `ServiceAccount`.
    pub disabled_admission: Vec<String>,
    /// The key that signs service accounts' tokens, PKCS#8 in PEM. Without one, tokens end with the process.
    pub service_account_key: Option<String>,
    /// Who issues those tokens, and for whom they are good if nothing else is said.
    pub service_account_issuer: String,
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
            service_cidrs: vec![IpNet::V4(ipnet::Ipv4Net::new_assert([10, 96, 0, 0].into(), 16))],
            node_ports: 30_000..=32_767,
            advertise: None,
            kubelet_client: None,
            disabled_admission: Vec::new(),
            service_account_key: None,
            service_account_issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
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
    /// The key for service accounts' tokens cannot be used.
    #[error(transparent)]
    Key(#[from] crate::jwt::KeyError),
    /// A listener that cannot be used.
    #[error("the listener cannot be served")]
    Listen(#[source] std::io::Error),
}
