//! Role-based access control, as data and pure functions.
//!
//! [`Index`] is the entry type: roles, and bindings by subject. It answers whether somebody may do something by looking at the
//! bindings of that user and its groups alone, never at all there are. [`rules`](missing_rules) compares sets of rules, by which
//! nobody grants what they do not hold; [`cluster_roles`] and its neighbours are the roles and bindings that every cluster has.
//!
//! Invariants: nothing here reads a clock, a random source or a file; no function panics on input.

mod action;
mod escalation;
mod index;
mod policy;
mod reconcile;
mod rule;

pub use action::Action;
pub use escalation::{compact, describe, missing_rules};
pub use index::{Binding, Grant, Index, Missing, RoleKey, Subject, Who};
pub use policy::{cluster_role_bindings, cluster_roles, node_rules, role_bindings, roles};
pub use reconcile::{AnyBinding, Repair, repair_binding, repair_cluster_role, repair_role};
pub use rule::{aggregate, allows};
