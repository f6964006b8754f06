//! Which requests a webhook or policy is for.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ParamKind, ParamRef, RuleWithOperations,
};

use crate::field::{Errors, Path, default_text};
use crate::metadata::validate_label_selector;
use crate::names;

const OPERATIONS: [&str; 5] = ["*", "CREATE", "UPDATE", "DELETE", "CONNECT"];
const CONDITIONS_MAX: usize = 64;

/// The part of a rule that both of its types have.
struct Rule<'a> {
    groups: &'a [String],
    versions: &'a [String],
    resources: &'a [String],
    operations: &'a [String],
    scope: Option<&'a str>,
}

/// A rule of a webhook.
pub(super) fn validate_rule(errors: &mut Errors, path: &Path<'_>, rule: &RuleWithOperations) {
    let rule = Rule {
        groups: rule.api_groups.as_deref().unwrap_or_default(),
        versions: rule.api_versions.as_deref().unwrap_or_default(),
        resources: rule.resources.as_deref().unwrap_or_default(),
        operations: rule.operations.as_deref().unwrap_or_default(),
        scope: rule.scope.as_deref(),
    };
    validate(errors, path, &rule);
}

fn validate_named(errors: &mut Errors, path: &Path<'_>, named: &NamedRuleWithOperations) {
    let rule = Rule {
        groups: named.api_groups.as_deref().unwrap_or_default(),
        versions: named.api_versions.as_deref().unwrap_or_default(),
        resources: named.resources.as_deref().unwrap_or_default(),
        operations: named.operations.as_deref().unwrap_or_default(),
        scope: named.scope.as_deref(),
    };
    validate(errors, path, &rule);
    let at = path.child("resourceNames");
    let all = named.resource_names.as_deref().unwrap_or_default();
    for (i, name) in all.iter().enumerate() {
        errors.invalid_each(&at.index(i), name, names::path_segment(name));
        if all.iter().take(i).any(|other| other == name) {
            errors.duplicate(&at.index(i), name.as_str());
        }
    }
}

fn validate(errors: &mut Errors, path: &Path<'_>, rule: &Rule<'_>) {
    for (field, list, all) in [
        ("operations", rule.operations, "if '*' is present, must not specify other operations"),
        ("apiGroups", rule.groups, "if '*' is present, must not specify other API groups"),
        ("apiVersions", rule.versions, "if '*' is present, must not specify other API versions"),
        ("resources", rule.resources, "if '*/*' is present, must not specify other resources"),
    ] {
        let at = path.child(field);
        if list.is_empty() {
            errors.required(&at, "");
        }
        let everything = if field == "resources" { "*/*" } else { "*" };
        if list.len() > 1 && list.iter().any(|one| one == everything) {
            errors.invalid(&at, list.to_vec(), all);
        }
        for (i, one) in list.iter().enumerate().filter(|_| field != "apiGroups") {
            if field == "operations" && !OPERATIONS.contains(&one.as_str()) {
                errors.not_supported(&at.index(i), one.as_str(), &OPERATIONS);
            } else if one.is_empty() {
                errors.required(&at.index(i), "");
            }
        }
    }
    validate_resources(errors, &path.child("resources"), rule.resources);
    if let Some(scope) = rule.scope.filter(|scope| !matches!(*scope, "*" | "Cluster" | "Namespaced")) {
        errors.not_supported(&path.child("scope"), scope, &["*", "Cluster", "Namespaced"]);
    }
}

/// `pods`, `pods/*`, `*/status`: a wildcard leaves nothing to others.
fn validate_resources(errors: &mut Errors, path: &Path<'_>, resources: &[String]) {
    for (i, text) in resources.iter().enumerate() {
        let Some((resource, sub)) = text.split_once('/') else { continue };
        let covered = |other: &String| match other.split_once('/') {
            Some((r, s)) => (r == resource && sub == "*" && s != "*") || (resource == "*" && s == sub && r != "*"),
            None => false,
        };
        if resources.iter().any(covered) {
            let what = if sub == "*" {
                format!("if '{text}' is present, must not specify {resource}/...")
            } else {
                format!("if '{text}' is present, must not specify resources with subresource {sub}")
            };
            errors.invalid(&path.index(i), text.as_str(), &what);
        }
    }
}

/// Defaults of what a policy or binding is for.
pub(super) fn default_matches(matches: &mut MatchResources) {
    default_text(&mut matches.match_policy, "Equivalent");
    matches.namespace_selector.get_or_insert_default();
    matches.object_selector.get_or_insert_default();
    let named = matches.resource_rules.iter_mut().chain(&mut matches.exclude_resource_rules).flatten();
    for rule in named {
        rule.scope.get_or_insert_with(|| "*".to_owned());
    }
}

/// What a policy or binding is for.
pub(super) fn validate_matches(errors: &mut Errors, path: &Path<'_>, matches: &MatchResources) {
    validate_match_policy(errors, &path.child("matchPolicy"), matches.match_policy.as_deref());
    for (field, selector) in
        [("namespaceSelector", &matches.namespace_selector), ("objectSelector", &matches.object_selector)]
    {
        match selector {
            Some(selector) => validate_label_selector(errors, &path.child(field), selector),
            None => errors.required(&path.child(field), ""),
        }
    }
    for (field, rules) in
        [("resourceRules", &matches.resource_rules), ("excludeResourceRules", &matches.exclude_resource_rules)]
    {
        let path = path.child(field);
        for (i, rule) in rules.iter().flatten().enumerate() {
            validate_named(errors, &path.index(i), rule);
        }
    }
}

/// Whether other versions of a resource count.
pub(super) fn validate_match_policy(errors: &mut Errors, path: &Path<'_>, policy: Option<&str>) {
    if let Some(policy) = policy.filter(|policy| !matches!(*policy, "Equivalent" | "Exact")) {
        errors.not_supported(path, policy, &["Equivalent", "Exact"]);
    }
}

/// What happens where no verdict is reached.
pub(super) fn validate_failure_policy(errors: &mut Errors, path: &Path<'_>, policy: Option<&str>) {
    if let Some(policy) = policy.filter(|policy| !matches!(*policy, "Fail" | "Ignore")) {
        errors.not_supported(path, policy, &["Fail", "Ignore"]);
    }
}

/// Whether a webhook is asked again after another one has changed the object.
pub(super) fn validate_reinvocation(errors: &mut Errors, path: &Path<'_>, policy: Option<&str>) {
    if let Some(policy) = policy.filter(|policy| !matches!(*policy, "IfNeeded" | "Never")) {
        errors.not_supported(path, policy, &["IfNeeded", "Never"]);
    }
}

/// Expressions that must hold of a request.
pub(super) fn validate_conditions(errors: &mut Errors, path: &Path<'_>, conditions: &[MatchCondition]) {
    if conditions.len() > CONDITIONS_MAX {
        errors.too_many(path, conditions.len(), CONDITIONS_MAX);
    }
    for (i, condition) in conditions.iter().enumerate() {
        let at = path.index(i);
        if condition.expression.trim().is_empty() {
            errors.required(&at.child("expression"), "");
        }
        let name = condition.name.as_str();
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        } else {
            errors.invalid_each(&at.child("name"), name, names::qualified_name(name));
            if conditions.iter().take(i).any(|other| other.name == name) {
                errors.duplicate(&at.child("name"), name);
            }
        }
    }
}

/// The kind of a policy's parameters.
pub(super) fn validate_param_kind(errors: &mut Errors, path: &Path<'_>, kind: &ParamKind) {
    let at = path.child("apiVersion");
    match kind.api_version.as_deref().unwrap_or_default() {
        "" => errors.required(&at, ""),
        version => {
            let parts: Vec<&str> = version.split('/').collect();
            match parts.as_slice() {
                [version] => errors.invalid_each(&at, version, names::dns1035_label(version)),
                [group, version] => {
                    errors.invalid_each(&at, group, names::dns1123_subdomain(group));
                    errors.invalid_each(&at, version, names::dns1035_label(version));
                }
                _ => errors.invalid(&at, version, &format!("unexpected GroupVersion string: {version}")),
            }
        }
    }
    let at = path.child("kind");
    match kind.kind.as_deref().unwrap_or_default() {
        "" => errors.required(&at, ""),
        kind => errors.invalid_each(&at, kind, names::dns1035_label(&kind.to_lowercase())),
    }
}

/// Where a binding finds parameters.
pub(super) fn validate_param_ref(errors: &mut Errors, path: &Path<'_>, reference: &ParamRef) {
    let name = reference.name.as_deref().unwrap_or_default();
    if !name.is_empty() {
        errors.invalid_each(&path.child("name"), name, names::path_segment(name));
        if reference.selector.is_some() {
            errors.forbidden(&path.child("name"), "name and selector are mutually exclusive");
        }
    }
    match &reference.selector {
        Some(selector) => validate_label_selector(errors, &path.child("selector"), selector),
        None if name.is_empty() => errors.required(path, "one of name or selector must be specified"),
        None => {}
    }
    let at = path.child("parameterNotFoundAction");
    match reference.parameter_not_found_action.as_deref() {
        None => errors.required(&at, ""),
        Some("Allow" | "Deny") => {}
        Some(other) => errors.not_supported(&at, other, &["Deny", "Allow"]),
    }
}
