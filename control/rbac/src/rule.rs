//! One rule, and what it allows.

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};

use crate::action::Action;

const ALL: &str = "*";

/// The strings of a list that may be left out.
pub(crate) fn list(values: &Option<Vec<String>>) -> &[String] {
    values.as_deref().unwrap_or_default()
}

pub(crate) fn has(values: &[String], value: &str) -> bool {
    values.iter().any(|held| held == value)
}

pub(crate) fn has_or_all(values: &[String], value: &str) -> bool {
    values.iter().any(|held| held == value || held == ALL)
}

/// Whether a rule allows an action.
#[must_use]
pub fn allows(rule: &PolicyRule, action: &Action<'_>) -> bool {
    match *action {
        Action::Resource { verb, group, resource, subresource, name, .. } => {
            has_or_all(&rule.verbs, verb)
                && has_or_all(list(&rule.api_groups), group)
                && list(&rule.resources).iter().any(|held| covers_resource(held, resource, subresource))
                && (list(&rule.resource_names).is_empty() || has(list(&rule.resource_names), name.unwrap_or_default()))
        }
        Action::Path { verb, path } => {
            has_or_all(&rule.verbs, verb) && list(&rule.non_resource_urls).iter().any(|held| covers_path(held, path))
        }
    }
}

/// `pods`, `pods/log`, `*/scale` or `*`.
pub(crate) fn covers_resource(held: &str, resource: &str, subresource: &str) -> bool {
    match held.split_once('/') {
        _ if held == ALL => true,
        None => held == resource && subresource.is_empty(),
        Some((parent, below)) => {
            !subresource.is_empty() && below == subresource && (parent == ALL || parent == resource)
        }
    }
}

/// A path, or the beginning of one with `*` after it.
pub(crate) fn covers_path(held: &str, path: &str) -> bool {
    held == path || held.strip_suffix(ALL).is_some_and(|start| path.starts_with(start.trim_end_matches('*')))
}

/// The rules of a role that is made of others: those of each role that a selector picked, in the order given, each rule once.
pub fn aggregate<'a>(roles: impl IntoIterator<Item = &'a ClusterRole>) -> Vec<PolicyRule> {
    let mut all: Vec<PolicyRule> = Vec::new();
    for rule in roles.into_iter().flat_map(|role| role.rules.iter().flatten()) {
        if !all.contains(rule) {
            all.push(rule.clone());
        }
    }
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn rule(value: Value) -> PolicyRule {
        from_value(value).unwrap()
    }

    fn to<'a>(verb: &'a str, group: &'a str, resource: &'a str, name: Option<&'a str>) -> Action<'a> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Action::Resource { verb, group, resource, subresource, namespace: None, name }
    }

    #[test]
    fn resources_match_with_their_subresource() {
        let pods = rule(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}));
        assert!(allows(&pods, &to("get", "", "pods", None)));
        for other in [
            to("get", "", "pods/log", None),
            to("watch", "", "pods", None),
            to("get", "apps", "pods", None),
            Action::Path { verb: "get", path: "/pods" },
        ] {
            assert!(!allows(&pods, &other), "{other:?}");
        }
        let scales = rule(json!({"apiGroups": ["*"], "resources": ["*/scale"], "verbs": ["*"]}));
        assert!(allows(&scales, &to("update", "apps", "deployments/scale", Some("a"))));
        assert!(!allows(&scales, &to("update", "apps", "deployments", Some("a"))));
        let all = rule(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}));
        assert!(allows(&all, &to("x", "y", "z/w", None)));
        assert!(!allows(&all, &Action::Path { verb: "get", path: "/" }));
    }

    #[test]
    fn names_narrow_a_rule_and_leave_out_collections() {
        let one = rule(
            json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get", "list"]}),
        );
        assert!(allows(&one, &to("get", "", "secrets", Some("a"))));
        assert!(!allows(&one, &to("get", "", "secrets", Some("b"))));
        assert!(!allows(&one, &to("list", "", "secrets", None)));
    }

    #[test]
    fn paths_match_whole_or_by_their_beginning() {
        let urls = rule(json!({"nonResourceURLs": ["/healthz", "/api/*"], "verbs": ["get"]}));
        let path = |path| allows(&urls, &Action::Path { verb: "get", path });
        assert!(path("/healthz") && path("/api/v1") && path("/api/"));
        assert!(!path("/healthz/ping") && !path("/api") && !path("/apis"));
    }
}
