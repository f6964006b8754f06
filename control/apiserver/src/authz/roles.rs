//! Roles and bindings, kept by the watch cache.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use serde::de::DeserializeOwned;
use skep_rbac::{Action, Binding, Grant, Index, Missing, RoleKey, Who};

use crate::authn::Identity;
use crate::cache::Follower;
use crate::object::Cached;

/// The index, shared by its followers and those who ask it.
#[derive(Default)]
pub(super) struct Roles(RwLock<Index>);

fn who(identity: &Identity) -> Who<'_> {
    Who { user: &identity.user, groups: &identity.groups }
}

impl Roles {
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        // One write is one entry: whoever panicked left nothing half done.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn decide(&self, identity: &Identity, action: &Action<'_>) -> Result<Grant, Vec<Missing>> {
        self.read().decide(who(identity), action)
    }

    pub(super) fn rules(&self, identity: &Identity, namespace: Option<&str>) -> (Vec<PolicyRule>, Vec<Missing>) {
        self.read().rules(who(identity), namespace)
    }

    pub(super) fn role(&self, key: &RoleKey) -> Result<Vec<PolicyRule>, Missing> {
        self.read().role(key).map(<[PolicyRule]>::to_vec)
    }
}

/// What of the index a resource's objects are.
#[derive(Clone, Copy)]
enum Part {
    ClusterRoles,
    Roles,
    ClusterRoleBindings,
    RoleBindings,
}

struct Following {
    roles: Arc<Roles>,
    part: Part,
}

pub(super) fn followers(roles: &Arc<Roles>) -> Vec<(&'static str, &'static str, Arc<dyn Follower>)> {
    let follower = |(plural, part)| {
        let follower: Arc<dyn Follower> = Arc::new(Following { roles: Arc::clone(roles), part });
        ("rbac.authorization.k8s.io", plural, follower)
    };
    let parts = [
        ("clusterroles", Part::ClusterRoles),
        ("roles", Part::Roles),
        ("clusterrolebindings", Part::ClusterRoleBindings),
        ("rolebindings", Part::RoleBindings),
    ];
    parts.into_iter().map(follower).collect()
}

fn object<T: DeserializeOwned>(now: Option<&Cached>) -> Option<T> {
    serde_json::from_slice(&now?.bytes).ok()
}

impl Follower for Following {
    fn reset(&self) {
        let mut index = self.roles.write();
        match self.part {
            Part::ClusterRoles => index.clear_roles(false),
            Part::Roles => index.clear_roles(true),
            Part::ClusterRoleBindings => index.clear_bindings(false),
            Part::RoleBindings => index.clear_bindings(true),
        }
    }

    fn changed(&self, key: &str, now: Option<&Cached>) {
        let (namespace, name) = match key.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, key),
        };
        let role = || RoleKey { namespace: namespace.map(str::to_owned), name: name.to_owned() };
        match self.part {
            Part::ClusterRoles => {
                let rules = object::<ClusterRole>(now).map(|role| role.rules.unwrap_or_default());
                self.roles.write().set_role(role(), rules);
            }
            Part::Roles => {
                let rules = object::<Role>(now).map(|role| role.rules.unwrap_or_default());
                self.roles.write().set_role(role(), rules);
            }
            Part::ClusterRoleBindings => {
                let binding = object::<ClusterRoleBinding>(now).map(|object| Binding::of_cluster(&object));
                self.roles.write().set_binding(None, name, binding);
            }
            Part::RoleBindings => {
                let binding = object::<RoleBinding>(now).map(|object| Binding::of_namespace(&object));
                self.roles.write().set_binding(namespace, name, binding);
            }
        }
    }
}
