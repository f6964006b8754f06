//! Who may do what.

mod node;

use crate::authn::Identity;

/// What is to be done, as authorization rules name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// To a resource.
    Resource {
        /// `get`, `list`, `deletecollection`, …
        verb: &'a str,
        /// API group; empty for the core group.
        group: &'a str,
        /// Plural name.
        resource: &'a str,
        /// `status`, `log`; empty for the resource itself.
        subresource: &'a str,
        /// `None` at the cluster scope.
        namespace: Option<&'a str>,
        /// `None` for collections.
        name: Option<&'a str>,
    },
    /// To any other path.
    Path {
        /// `get`, lower case.
        verb: &'a str,
        /// The whole path.
        path: &'a str,
    },
}

impl<'a> Action<'a> {
    /// The same with another verb.
    pub(crate) fn with_verb(&self, verb: &'a str) -> Self {
        match self.clone() {
            Self::Resource { group, resource, subresource, namespace, name, .. } => {
                Self::Resource { verb, group, resource, subresource, namespace, name }
            }
            Self::Path { path, .. } => Self::Path { verb, path },
        }
    }
}

/// Decides whether an action is allowed.
pub trait Authorizer: Send + Sync {
    /// Whether `who` may do it.
    fn allows(&self, who: &Identity, action: &Action<'_>) -> bool;
}

/// Until there are roles: administrators and the cluster's own components may do everything, nodes what nodes do, holders of a
/// bootstrap token may ask for certificates, everybody may ask for health, version and how to join, and whoever is known may
/// look at discovery.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemAuthorizer;

impl Authorizer for SystemAuthorizer {
    fn allows(&self, who: &Identity, action: &Action<'_>) -> bool {
        if who.is_in("system:masters") || who.user.starts_with("system:kube-") {
            return true;
        }
        let allowed = who.node().is_some() && node::allows_node(action)
            || who.is_in("system:bootstrappers") && node::allows_bootstrapper(action)
            || is_cluster_info(action);
        if allowed {
            return true;
        }
        let Action::Path { verb: "get" | "head", path } = action else { return false };
        let first = path.split('/').find(|s| !s.is_empty()).unwrap_or_default();
        match first {
            "livez" | "readyz" | "healthz" | "version" => true,
            "api" | "apis" | "openapi" => !who.is_anonymous(),
            _ => false,
        }
    }
}

/// How to join a cluster is public: its address, and the certificate of its authority.
fn is_cluster_info(action: &Action<'_>) -> bool {
    *action
        == Action::Resource {
            verb: "get",
            group: "",
            resource: "configmaps",
            subresource: "",
            namespace: Some("kube-public"),
            name: Some("cluster-info"),
        }
}

/// Upstream's words for a refusal: everything after `is forbidden: `.
pub(crate) fn refusal(who: &Identity, action: &Action<'_>) -> String {
    let user = &who.user;
    match action {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(verb: &str) -> Action<'_> {
        Action::Resource { verb, group: "", resource: "pods", subresource: "", namespace: Some("a"), name: None }
    }

    #[test]
    fn strangers_see_health_and_version_alone() {
        let nobody = Identity::anonymous();
        for path in ["/livez", "/readyz/ping", "/healthz", "/version"] {
            assert!(SystemAuthorizer.allows(&nobody, &Action::Path { verb: "get", path }), "{path}");
        }
        for path in ["/api", "/metrics", "/", "/livezz"] {
            assert!(!SystemAuthorizer.allows(&nobody, &Action::Path { verb: "get", path }), "{path}");
        }
        assert!(!SystemAuthorizer.allows(&nobody, &pods("get")));
    }

    #[test]
    fn nodes_and_bootstrappers_do_what_is_theirs() {
        let node = Identity::authenticated("system:node:a", &["system:nodes"]);
        let to_be = Identity::authenticated("system:bootstrap:abcdef", &["system:bootstrappers"]);
        // The group alone makes no node.
        let odd = Identity::authenticated("jane", &["system:nodes"]);
        let action = |verb, group, resource, subresource| Action::Resource {
            verb,
            group,
            resource,
            subresource,
            namespace: None,
            name: None,
        };
        let request = action("create", "certificates.k8s.io", "certificatesigningrequests", "");
        let approve = action("update", "certificates.k8s.io", "certificatesigningrequests", "approval");
        let allowed = |who: &Identity, action: &Action<'_>| SystemAuthorizer.allows(who, action);
        assert!(allowed(&node, &request) && allowed(&to_be, &request) && !allowed(&odd, &request));
        assert!(!allowed(&node, &approve) && !allowed(&to_be, &approve));
        assert!(allowed(&node, &action("patch", "", "pods", "status")) && !allowed(&node, &pods("patch")));
        assert!(!allowed(&node, &action("list", "", "secrets", "")));
        assert!(!allowed(&to_be, &action("get", "", "nodes", "")));
        let info = Action::Resource {
            verb: "get",
            group: "",
            resource: "configmaps",
            subresource: "",
            namespace: Some("kube-public"),
            name: Some("cluster-info"),
        };
        assert!(allowed(&Identity::anonymous(), &info));
    }

    #[test]
    fn a_user_without_a_role_is_told_what_it_may_not_do() {
        let jane = Identity::authenticated("jane", &["people"]);
        assert!(!SystemAuthorizer.allows(&jane, &pods("list")));
        assert!(SystemAuthorizer.allows(&jane, &Action::Path { verb: "get", path: "/api" }));
        assert_eq!(
            refusal(&jane, &pods("list")),
            "User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\""
        );
    }
}
