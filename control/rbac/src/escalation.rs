//! What of a set of rules another set does not hold: nobody may grant that.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::rule::{covers_path, covers_resource, has, has_or_all, list};

/// The parts of `wanted` that no rule of `held` covers, each with one verb and one object.
#[must_use]
pub fn missing_rules(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let parts = wanted.iter().flat_map(parts);
    parts.filter(|part| !held.iter().any(|rule| covers(rule, part))).collect()
}

/// A rule as rules for one verb on one resource, name or path each.
fn parts(rule: &PolicyRule) -> Vec<PolicyRule> {
    let one = |value: &String| Some(vec![value.clone()]);
    let mut parts = Vec::new();
    for verb in &rule.verbs {
        for group in list(&rule.api_groups) {
            for resource in list(&rule.resources) {
                let part = PolicyRule {
                    api_groups: one(group),
                    resources: one(resource),
                    verbs: vec![verb.clone()],
                    ..PolicyRule::default()
                };
                match list(&rule.resource_names) {
                    [] => parts.push(part),
                    names => {
                        parts.extend(names.iter().map(|name| PolicyRule { resource_names: one(name), ..part.clone() }));
                    }
                }
            }
        }
        for url in list(&rule.non_resource_urls) {
            let verbs = vec![verb.clone()];
            parts.push(PolicyRule { non_resource_urls: one(url), verbs, ..PolicyRule::default() });
        }
    }
    parts
}

fn covers(rule: &PolicyRule, part: &PolicyRule) -> bool {
    let verbs = part.verbs.iter().all(|verb| has_or_all(&rule.verbs, verb));
    let groups = list(&part.api_groups).iter().all(|group| has_or_all(list(&rule.api_groups), group));
    let resources = list(&part.resources).iter().all(|resource| {
        let (parent, below) = resource.split_once('/').unwrap_or((resource, ""));
        list(&rule.resources).iter().any(|held| held == resource || covers_resource(held, parent, below))
    });
    let names = match (list(&rule.resource_names), list(&part.resource_names)) {
        ([], _) => true,
        (_, []) => list(&part.resources).is_empty(),
        (held, wanted) => wanted.iter().all(|name| has(held, name)),
    };
    let urls = list(&part.non_resource_urls)
        .iter()
        .all(|url| list(&rule.non_resource_urls).iter().any(|held| covers_path(held, url)));
    verbs && groups && resources && names && urls
}

/// The same rules, those for one resource and name in one.
#[must_use]
pub fn compact(rules: &[PolicyRule]) -> Vec<PolicyRule> {
    let mut all: Vec<PolicyRule> = Vec::new();
    for rule in rules {
        let simple = list(&rule.api_groups).len() == 1
            && list(&rule.resources).len() == 1
            && list(&rule.resource_names).len() <= 1
            && list(&rule.non_resource_urls).is_empty();
        let same = |held: &&mut PolicyRule| {
            held.api_groups == rule.api_groups
                && held.resources == rule.resources
                && list(&held.resource_names) == list(&rule.resource_names)
                && list(&held.non_resource_urls).is_empty()
        };
        match all.iter_mut().find(same) {
            Some(held) if simple => held.verbs.extend(rule.verbs.iter().cloned()),
            _ => all.push(rule.clone()),
        }
    }
    all
}

/// Rules as upstream prints them, a line each: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
#[must_use]
pub fn describe(rules: &[PolicyRule]) -> String {
    let lines: BTreeSet<String> = rules.iter().map(line).collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

fn line(rule: &PolicyRule) -> String {
    let fields = [
        ("APIGroups", list(&rule.api_groups)),
        ("Resources", list(&rule.resources)),
        ("NonResourceURLs", list(&rule.non_resource_urls)),
        ("ResourceNames", list(&rule.resource_names)),
        ("Verbs", &rule.verbs),
    ];
    let fields = fields.into_iter().filter(|(_, values)| !values.is_empty()).map(|(name, values)| {
        let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
        format!("{name}:[{}]", quoted.join(" "))
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn what_is_not_held_is_named_in_upstreams_words() {
        let held: Vec<PolicyRule> = from_value(json!([
            {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["*"]},
            {"nonResourceURLs": ["/api/*"], "verbs": ["get"]},
        ]))
        .unwrap();
        let wanted: Vec<PolicyRule> = from_value(json!([
            {"apiGroups": ["apps"], "resources": ["deployments", "deployments/scale"], "verbs": ["get", "update", "patch"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a", "b"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
            {"nonResourceURLs": ["/api/v1", "/api/*", "/"], "verbs": ["get"]},
        ]))
        .unwrap();
        assert_eq!(
            describe(&compact(&missing_rules(&held, &wanted))),
            "{APIGroups:[\"\"], Resources:[\"secrets\"], ResourceNames:[\"b\"], Verbs:[\"get\"]}\n\
             {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}\n\
             {APIGroups:[\"apps\"], Resources:[\"deployments\"], Verbs:[\"update\" \"patch\"]}\n\
             {APIGroups:[\"apps\"], Resources:[\"deployments/scale\"], Verbs:[\"update\" \"patch\"]}\n\
             {NonResourceURLs:[\"/\"], Verbs:[\"get\"]}"
        );
        assert!(missing_rules(&wanted, &wanted).is_empty());
    }

    #[test]
    fn a_star_is_covered_by_a_star_alone() {
        let star: Vec<PolicyRule> =
            from_value(json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])).unwrap();
        let many: Vec<PolicyRule> =
            from_value(json!([{"apiGroups": ["", "apps"], "resources": ["pods"], "verbs": ["get"]}])).unwrap();
        assert!(missing_rules(&star, &many).is_empty());
        assert_eq!(missing_rules(&many, &star).len(), 1);
    }
}
