//! Label selectors, as `metav1.LabelSelector` means them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Whether the selector selects an object of these labels. An empty selector selects everything; one with an unknown
/// operator selects nothing.
pub(crate) fn matches(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let empty = BTreeMap::new();
    let labels = labels.unwrap_or(&empty);
    let pairs = selector.match_labels.iter().flatten();
    let requirements = selector.match_expressions.iter().flatten();
    pairs.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && requirements.into_iter().all(|requirement| meets(requirement, labels))
}

fn meets(requirement: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let listed = |value: &String| requirement.values.iter().flatten().any(|listed| listed == value);
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

/// Whether the selector would select everything.
pub(crate) fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// A Service's selector, a plain map: all pairs must be there.
pub(crate) fn matches_map(selector: &BTreeMap<String, String>, labels: Option<&BTreeMap<String, String>>) -> bool {
    selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn expressions() {
        let labels: BTreeMap<String, String> = from_value(json!({"app": "web", "tier": "front"})).unwrap();
        for (expected, selector) in [
            (true, json!({})),
            (true, json!({"matchLabels": {"app": "web"}})),
            (false, json!({"matchLabels": {"app": "web", "x": "y"}})),
            (true, json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]})),
            (false, json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]})),
            (true, json!({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["web"]}]})),
            (true, json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]})),
            (false, json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]})),
            (false, json!({"matchExpressions": [{"key": "tier", "operator": "Gt", "values": ["1"]}]})),
        ] {
            let parsed: LabelSelector = from_value(selector.clone()).unwrap();
            assert_eq!(matches(&parsed, Some(&labels)), expected, "{selector}");
        }
    }
}
