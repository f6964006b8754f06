//! A node's identity: how it joins a cluster, and the certificates by which it is known there.
//!
//! [`Identity::join`] is the entry. With nothing on disk it finds the cluster's authority (a file, or what the server publishes,
//! checked against a pinned hash), asks for a client certificate in the name of a bootstrap token, and keeps key and certificate.
//! With a certificate on disk it needs no token. [`Identity::client`] is a client with the certificate of the moment,
//! [`Identity::serving`] the TLS settings of the node's own server; [`Identity::rotate`] gets the serving certificate and renews
//! both before they end.
//!
//! Invariants: a key never leaves the node, and no file with a key is readable by others; a server is believed only with a
//! certificate of the authority that was checked; a certificate in use is replaced before it ends, with no connection cut.
//!
//! Tasks: [`Identity::rotate`] is one, run by the caller.

mod authority;
mod client;
mod error;
mod join;
mod keypair;
mod lifetime;
mod options;
mod request;
mod rotate;
mod serving;

pub use authority::{AuthorityHash, AuthorityHashError};
pub use error::Error;
pub use join::Identity;
pub use options::{Options, Trust};
