//! Who may do what: administrators everything, nodes what their own pods need, everybody what roles grant.

mod escalation;
mod node;
mod roles;

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::PolicyRule;
use skep_rbac::{Grant, Missing, RoleKey};
use skep_registry::Registry;

pub use skep_rbac::Action;

pub(crate) use self::escalation::check_grant;
use self::node::Nodes;
use self::roles::Roles;
use crate::authn::Identity;
use crate::cache::Follower;
use crate::served::Served;

/// Whoever is in this group may do everything, whatever roles say.
const MASTERS: &str = "system:masters";

/// Whether something may be done, and why.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It may.
    Allowed(Reason),
    /// Nobody allows it; what is known about why, which may be nothing.
    NoOpinion(String),
}

/// Why something is allowed.
#[derive(Clone, Debug)]
pub enum Reason {
    /// No reason is given: an administrator's groups or a node's own objects.
    Given,
    /// By a role.
    Role(Grant),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => Ok(()),
            Self::Role(grant) => grant.fmt(f),
        }
    }
}

/// Decides whether an action is allowed.
pub trait Authorizer: Send + Sync {
    /// Whether `who` may do it.
    fn decide(&self, who: &Identity, action: &Action<'_>) -> Decision;
}

/// The authorizers in upstream's order. What they know follows from objects of the watch cache.
#[derive(Default)]
pub(crate) struct Authorizers {
    nodes: Arc<Nodes>,
    roles: Arc<Roles>,
}

impl Authorizers {
    /// Who has to hear of which resource's objects.
    pub(crate) fn followers(&self, registry: &Arc<Registry>) -> Vec<(Served, Arc<dyn Follower>)> {
        let mut all = roles::followers(&self.roles);
        all.extend(node::followers(&self.nodes));
        let find = |(group, plural, follower)| Some((Served::find(registry, group, "v1", plural)?, follower));
        all.into_iter().filter_map(find).collect()
    }

    /// All rules of somebody in a namespace, and the roles that are not there.
    pub(crate) fn rules(&self, who: &Identity, namespace: Option<&str>) -> (Vec<PolicyRule>, Vec<Missing>) {
        self.roles.rules(who, namespace)
    }

    /// The rules of a role, if it is there.
    pub(crate) fn role(&self, key: &RoleKey) -> Result<Vec<PolicyRule>, Missing> {
        self.roles.role(key)
    }

    pub(crate) fn allows(&self, who: &Identity, action: &Action<'_>) -> bool {
        matches!(self.decide(who, action), Decision::Allowed(_))
    }
}

impl Authorizer for Authorizers {
    fn decide(&self, who: &Identity, action: &Action<'_>) -> Decision {
        if who.is_in(MASTERS) {
            return Decision::Allowed(Reason::Given);
        }
        let mut why = Vec::new();
        if let Some(node) = who.node() {
            match self.nodes.decide(node, action) {
                Ok(()) => return Decision::Allowed(Reason::Given),
                Err(reason) => why.extend(Some(reason).filter(|reason| !reason.is_empty())),
            }
        }
        match self.roles.decide(who, action) {
            Ok(grant) => Decision::Allowed(Reason::Role(grant)),
            Err(missing) => {
                why.extend(missing_text(&missing).map(|text| format!("RBAC: {text}")));
                Decision::NoOpinion(why.join("\n"))
            }
        }
    }
}

/// Roles that are not there, as upstream lists errors.
pub(crate) fn missing_text(missing: &[Missing]) -> Option<String> {
    match missing {
        [] => None,
        [one] => Some(one.to_string()),
        many => Some(format!("[{}]", many.iter().map(Missing::to_string).collect::<Vec<_>>().join(", "))),
    }
}

/// Upstream's words for a refusal: everything after `is forbidden: `.
pub(crate) fn refusal(who: &Identity, action: &Action<'_>, why: &str) -> String {
    let user = &who.user;
    let text = match action {
        Action::Resource { verb, group, resource, subresource, namespace, .. } => {
            let resource =
                if subresource.is_empty() { (*resource).to_owned() } else { format!("{resource}/{subresource}") };
            let place = match namespace {
                Some(namespace) => format!("in the namespace \"{namespace}\""),
                None => "at the cluster scope".to_owned(),
            };
            format!("User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {place}")
        }
        Action::Path { verb, path } => format!("User \"{user}\" cannot {verb} path \"{path}\""),
    };
    if why.is_empty() { text } else { format!("{text}: {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(verb: &str) -> Action<'_> {
        Action::Resource { verb, group: "", resource: "pods", subresource: "", namespace: Some("a"), name: None }
    }

    #[test]
    fn without_roles_administrators_alone_may_do_anything() {
        let authorizers = Authorizers::default();
        assert!(authorizers.allows(&Identity::authenticated("root", &[MASTERS]), &pods("delete")));
        for user in ["jane", "system:kube-scheduler", "system:anonymous"] {
            assert!(!authorizers.allows(&Identity::authenticated(user, &["people"]), &pods("get")), "{user}");
        }
    }

    #[test]
    fn a_user_without_a_role_is_told_what_it_may_not_do() {
        let jane = Identity::authenticated("jane", &["people"]);
        let text = "User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\"";
        assert_eq!(refusal(&jane, &pods("list"), ""), text);
        assert_eq!(refusal(&jane, &pods("list"), "because"), format!("{text}: because"));
    }
}
