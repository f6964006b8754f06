//! NetworkPolicies (networking.k8s.io/v1), Pods and Namespaces in; identities and rows of allowed traffic out.

mod group;
mod model;
mod parse;
mod row;
mod state;

pub use model::PolicyModel;
pub use row::{Direction, Policed, Ports, RowKey, Rule};
pub use state::{PeerIds, PolicyDelta, PolicyState};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
