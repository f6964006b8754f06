//! The kinds, a file each.

mod certificate_signing_request;
mod config_map;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod lease;
mod namespace;
mod network_policy;
mod node;
mod pod;
mod replica_set;
mod secret;
mod service;
mod service_account;

pub(crate) use certificate_signing_request::CertificateSigningRequests;
pub(crate) use config_map::ConfigMaps;
pub(crate) use deployment::Deployments;
pub(crate) use endpoint_slice::EndpointSlices;
pub(crate) use endpoints::EndpointsKind;
pub(crate) use event::Events;
pub(crate) use lease::Leases;
pub(crate) use namespace::Namespaces;
pub(crate) use network_policy::NetworkPolicies;
pub(crate) use node::Nodes;
pub(crate) use pod::Pods;
pub(crate) use replica_set::ReplicaSets;
pub(crate) use secret::Secrets;
pub(crate) use service::Services;
pub(crate) use service_account::ServiceAccounts;
