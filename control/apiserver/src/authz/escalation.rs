//! Nobody grants what they do not hold: a role may have only rules that its author has, or the author must be allowed to `escalate`
//! it; a binding only a role whose rules its author has, or which the author may `bind`.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef};
use skep_rbac::{Action, RoleKey};
use skep_registry::{Object, typed_ref};

use super::{Authorizers, MASTERS};
use crate::authn::Identity;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Before a role or a binding is written; other objects pass. The error follows `… is forbidden: `.
pub(crate) fn check_grant(
    authorizers: &Authorizers,
    who: &Identity,
    new: &dyn Object,
    old: Option<&dyn Object>,
) -> Result<(), String> {
    if who.is_in(MASTERS) {
        return Ok(());
    }
    let author = Author { authorizers, who, namespace: new.meta().namespace.as_deref() };
    let name = new.meta().name.as_deref().unwrap_or_default();
    if let Some(role) = typed_ref::<Role>(new) {
        let held = old.and_then(typed_ref::<Role>);
        let same = held.is_some_and(|held| held.rules == role.rules);
        return author.writes_role("roles", name, role.rules.as_deref(), same);
    }
    if let Some(role) = typed_ref::<ClusterRole>(new) {
        let held = old.and_then(typed_ref::<ClusterRole>);
        let same = held.is_some_and(|held| held.rules == role.rules && held.aggregation_rule == role.aggregation_rule);
        if role.aggregation_rule.is_some() && !same && !author.may_escalate("clusterroles", name) {
            // Whatever it picks would be granted: that takes all there is.
            author.covers(&everything())?;
        }
        return author.writes_role("clusterroles", name, role.rules.as_deref(), same);
    }
    if let Some(binding) = typed_ref::<RoleBinding>(new) {
        let held = old.and_then(typed_ref::<RoleBinding>);
        let same = held.is_some_and(|held| held.role_ref == binding.role_ref && held.subjects == binding.subjects);
        return author.writes_binding(&binding.role_ref, same);
    }
    if let Some(binding) = typed_ref::<ClusterRoleBinding>(new) {
        let held = old.and_then(typed_ref::<ClusterRoleBinding>);
        let same = held.is_some_and(|held| held.role_ref == binding.role_ref && held.subjects == binding.subjects);
        return author.writes_binding(&binding.role_ref, same);
    }
    Ok(())
}

fn everything() -> [PolicyRule; 2] {
    let all = || vec!["*".to_owned()];
    [
        PolicyRule { api_groups: Some(all()), resources: Some(all()), verbs: all(), ..PolicyRule::default() },
        PolicyRule { non_resource_urls: Some(all()), verbs: all(), ..PolicyRule::default() },
    ]
}

/// Who writes, and where.
struct Author<'a> {
    authorizers: &'a Authorizers,
    who: &'a Identity,
    namespace: Option<&'a str>,
}

impl Author<'_> {
    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let (namespace, name) = (self.namespace, Some(name));
        let action = Action::Resource { verb, group: GROUP, resource, subresource: "", namespace, name };
        self.authorizers.allows(self.who, &action)
    }

    fn may_escalate(&self, resource: &str, name: &str) -> bool {
        self.may("escalate", resource, name)
    }

    fn writes_role(&self, resource: &str, name: &str, rules: Option<&[PolicyRule]>, same: bool) -> Result<(), String> {
        if same || self.may_escalate(resource, name) {
            return Ok(());
        }
        self.covers(rules.unwrap_or_default())
    }

    fn writes_binding(&self, role: &RoleRef, same: bool) -> Result<(), String> {
        let of_cluster = role.kind == "ClusterRole";
        if same || self.may("bind", if of_cluster { "clusterroles" } else { "roles" }, &role.name) {
            return Ok(());
        }
        let namespace = self.namespace.filter(|_| !of_cluster).map(str::to_owned);
        let rules = self.authorizers.role(&RoleKey { namespace, name: role.name.clone() });
        let rules = rules.map_err(|missing| missing.to_string())?;
        self.covers(&rules)
    }

    /// Whether the author holds rules; if not, which ones are lacking.
    fn covers(&self, rules: &[PolicyRule]) -> Result<(), String> {
        let (held, unknown) = self.authorizers.rules(self.who, self.namespace);
        let missing = skep_rbac::missing_rules(&held, rules);
        if missing.is_empty() {
            return Ok(());
        }
        let groups: Vec<String> = self.who.groups.iter().map(|group| format!("{group:?}")).collect();
        let mut text = format!(
            "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
            self.who.user,
            groups.join(" "),
            skep_rbac::describe(&skep_rbac::compact(&missing))
        );
        if !unknown.is_empty() {
            let unknown: Vec<String> = unknown.iter().map(ToString::to_string).collect();
            text.push_str(&format!("; resolution errors: [{}]", unknown.join(" ")));
        }
        Err(text)
    }
}
