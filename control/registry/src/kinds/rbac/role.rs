//! Role and ClusterRole.

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::validate_name;
use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::metadata::validate_label_selector;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

const COLUMNS: &[Column] = &[table::NAME, table::text("Created At", "When it was created.")];

/// Roles.
pub(crate) struct Roles;
/// Roles of the whole cluster.
pub(crate) struct ClusterRoles;

impl Kind for Roles {
    type Object = Role;

    const SINGULAR: &'static str = "role";
    const COLUMNS: &'static [Column] = COLUMNS;

    fn validate(object: &Role) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate_rules(&mut errors, object.rules.as_deref(), true);
        errors.into_vec()
    }

    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        validate_name(name, prefix)
    }

    fn row(object: &Role, _: Timestamp) -> Vec<Cell> {
        row(&object.metadata)
    }
}

impl Kind for ClusterRoles {
    type Object = ClusterRole;

    const SINGULAR: &'static str = "clusterrole";
    const COLUMNS: &'static [Column] = COLUMNS;
    const FIELDS: &'static [&'static str] = &["metadata.name"];

    fn validate(object: &ClusterRole) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate_rules(&mut errors, object.rules.as_deref(), false);
        if let Some(aggregation) = &object.aggregation_rule {
            let path = Path::root("aggregationRule.clusterRoleSelectors");
            let selectors = aggregation.cluster_role_selectors.as_deref().unwrap_or_default();
            if selectors.is_empty() {
                errors.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
            }
            for (place, selector) in selectors.iter().enumerate() {
                validate_label_selector(&mut errors, &path.index(place), selector);
            }
        }
        errors.into_vec()
    }

    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        validate_name(name, prefix)
    }

    fn row(object: &ClusterRole, _: Timestamp) -> Vec<Cell> {
        row(&object.metadata)
    }
}

fn row(meta: &ObjectMeta) -> Vec<Cell> {
    let created = meta.creation_timestamp.as_ref().map(|time| time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    vec![table::name(meta), Cell::from(created.unwrap_or_default())]
}

fn validate_rules(errors: &mut Errors, rules: Option<&[PolicyRule]>, namespaced: bool) {
    let path = Path::root("rules");
    for (place, rule) in rules.unwrap_or_default().iter().enumerate() {
        validate_rule(errors, &path.index(place), rule, namespaced);
    }
}

fn validate_rule(errors: &mut Errors, path: &Path<'_>, rule: &PolicyRule, namespaced: bool) {
    fn some(values: &Option<Vec<String>>) -> Option<&Vec<String>> {
        values.as_ref().filter(|values| !values.is_empty())
    }
    if rule.verbs.is_empty() {
        errors.required(&path.child("verbs"), "verbs must contain at least one value");
    }
    if let Some(urls) = some(&rule.non_resource_urls) {
        let path = path.child("nonResourceURLs");
        if namespaced {
            errors.invalid(&path, urls.clone(), "namespaced rules cannot apply to non-resource URLs");
        }
        if some(&rule.api_groups).or(some(&rule.resources)).or(some(&rule.resource_names)).is_some() {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.invalid(&path, urls.clone(), detail);
        }
        return;
    }
    if some(&rule.api_groups).is_none() {
        errors.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
    }
    if some(&rule.resources).is_none() {
        errors.required(&path.child("resources"), "resource rules must supply at least one resource");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults(rule: Value) -> Vec<String> {
        let object = json!({"metadata": {"name": "a"}, "rules": [rule]});
        let errors = Roles::validate(&crate::decode::decode(object).unwrap().0);
        errors.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn rules_are_for_resources_or_for_paths() {
        assert!(faults(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]})).is_empty());
        assert_eq!(
            faults(json!({"verbs": []})),
            [
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ]
        );
        assert_eq!(
            faults(json!({"verbs": ["get"], "nonResourceURLs": ["/a"], "resources": ["pods"]})),
            [
                "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: namespaced rules cannot apply to non-resource URLs",
                "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: rules cannot apply to both regular resources and \
                 non-resource URLs",
            ]
        );
    }

    #[test]
    fn names_are_segments_of_paths() {
        assert!(Roles::validate_name("system:node/..", false).len() == 1);
        assert!(Roles::validate_name("System:x", false).is_empty());
        assert!(!Roles::validate_name("..", false).is_empty());
        let aggregated = json!({"aggregationRule": {"clusterRoleSelectors": []}});
        let errors = ClusterRoles::validate(&crate::decode::decode(aggregated).unwrap().0);
        assert_eq!(errors[0].field, "aggregationRule.clusterRoleSelectors");
    }
}
