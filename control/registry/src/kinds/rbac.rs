//! Roles and bindings: Role, ClusterRole, RoleBinding, ClusterRoleBinding.

mod binding;
mod role;

use crate::names;

pub(crate) use binding::{ClusterRoleBindings, RoleBindings};
pub(crate) use role::{ClusterRoles, Roles};

/// Names are segments of paths, and nothing more: `system:node` is one.
fn validate_name(name: &str, _: bool) -> Vec<String> {
    names::path_segment(name)
}
