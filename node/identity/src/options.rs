use std::net::IpAddr;
use std::path::PathBuf;

use crate::AuthorityHash;

/// What a node is told about the cluster that it joins.
#[derive(Clone)]
pub struct Options {
    /// `https://HOST:PORT` of the API server.
    pub server: String,
    /// The Node object's name.
    pub node: String,
    /// The node's own addresses, which its server is reached under.
    pub addresses: Vec<IpAddr>,
    /// Where keys and certificates are kept.
    pub dir: PathBuf,
    /// `ID.SECRET`; needed as long as there is no certificate.
    pub token: Option<String>,
    /// How the cluster's authority is known; needed as long as it is not on disk.
    pub trust: Option<Trust>,
}

/// How the cluster's authority is known.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Its certificate, PEM.
    File(PathBuf),
    /// What the server publishes is believed if its key has one of these hashes.
    Pinned(Vec<AuthorityHash>),
}
