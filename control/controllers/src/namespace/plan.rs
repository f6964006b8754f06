//! What a namespace that is deleted needs next.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::ApiResource;

/// The finalizer in `spec.finalizers` that is this controller's.
pub(crate) const FINALIZER: &str = "kubernetes";

/// What is left of one resource.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) resource: ApiResource,
    /// Objects that are not being deleted yet.
    pub(crate) untouched: usize,
    /// All objects.
    pub(crate) count: usize,
    /// How many objects wait for which finalizer.
    pub(crate) finalizers: BTreeMap<String, usize>,
}

/// A namespace that is deleted, and what is left in it.
pub(crate) struct Observed {
    pub(crate) namespace: Arc<Namespace>,
    /// Resources of which something is left.
    pub(crate) contents: Vec<Content>,
    /// Why not all resources could be looked at.
    pub(crate) failure: Option<String>,
    pub(crate) now: Timestamp,
}

/// What to do.
pub(crate) struct Plan {
    /// Resources to delete all objects of.
    pub(crate) delete: Vec<ApiResource>,
    /// Whether nothing is left.
    pub(crate) finalize: bool,
    pub(crate) conditions: Vec<NamespaceCondition>,
}

/// Plans one namespace.
pub(crate) fn plan(observed: &Observed) -> Plan {
    let is_pods = |content: &&Content| content.resource.group.is_empty() && content.resource.plural == "pods";
    let pods_left = observed.contents.iter().any(|content| is_pods(&content));
    // Pods first: while they run, what they rest on (policies, accounts, volumes) must not be taken from under them.
    let turn = observed.contents.iter().filter(|content| !pods_left || is_pods(content));
    Plan {
        delete: turn.filter(|content| content.untouched > 0).map(|content| content.resource.clone()).collect(),
        finalize: observed.contents.is_empty() && observed.failure.is_none(),
        conditions: plan_conditions(observed),
    }
}

fn plan_conditions(observed: &Observed) -> Vec<NamespaceCondition> {
    let mut remaining: Vec<String> = Vec::new();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for content in &observed.contents {
        let resource = &content.resource;
        let name = if resource.group.is_empty() {
            format!("{}.", resource.plural)
        } else {
            format!("{}.{}", resource.plural, resource.group)
        };
        remaining.push(format!("{name} has {} resource instances", content.count));
        for (finalizer, count) in &content.finalizers {
            *finalizers.entry(finalizer).or_default() += count;
        }
    }
    remaining.sort();
    let finalizers: Vec<_> =
        finalizers.iter().map(|(finalizer, count)| format!("{finalizer} in {count} resource instances")).collect();
    let failure = observed.failure.as_deref();
    let discovery = ("NamespaceDeletionDiscoveryFailure", failure.is_some(), "DiscoveryFailed", "ResourcesDiscovered");
    let rows = [
        (discovery, failure.unwrap_or("All resources successfully discovered").to_owned()),
        (
            ("NamespaceContentRemaining", !remaining.is_empty(), "SomeResourcesRemain", "ContentRemoved"),
            match remaining.is_empty() {
                true => "All content successfully removed".to_owned(),
                false => format!("Some resources are remaining: {}", remaining.join(", ")),
            },
        ),
        (
            ("NamespaceFinalizersRemaining", !finalizers.is_empty(), "SomeFinalizersRemain", "ContentHasNoFinalizers"),
            match finalizers.is_empty() {
                true => "All content-preserving finalizers finished".to_owned(),
                false => format!("Some content in the namespace has finalizers remaining: {}", finalizers.join(", ")),
            },
        ),
    ];
    let known = observed.namespace.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut conditions = known.clone();
    for ((kind, is_true, reason_true, reason_false), message) in rows {
        let status = if is_true { "True" } else { "False" };
        let before = known.iter().find(|condition| condition.type_ == kind);
        let since =
            before.filter(|before| before.status == status).and_then(|before| before.last_transition_time.clone());
        conditions.retain(|condition| condition.type_ != kind);
        conditions.push(NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(if is_true { reason_true } else { reason_false }.to_owned()),
            message: Some(message),
            last_transition_time: since.or(Some(Time(observed.now))),
        });
    }
    conditions
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kube::core::GroupVersionKind;
    use serde_json::{from_value, json};

    use super::*;

    fn content(group: &str, kind: &str, untouched: usize, count: usize) -> Content {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        let finalizers =
            if untouched < count { BTreeMap::from([("example.com/hold".to_owned(), count)]) } else { BTreeMap::new() };
        Content { resource, untouched, count, finalizers }
    }

    fn decide(contents: Vec<Content>) -> Plan {
        let namespace = json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}});
        let namespace = Arc::new(from_value(namespace).unwrap());
        plan(&Observed { namespace, contents, failure: None, now: Timestamp::UNIX_EPOCH })
    }

    #[test]
    fn pods_go_first() {
        let plan = decide(vec![content("", "Pod", 2, 2), content("apps", "Deployment", 1, 1)]);
        assert_eq!(plan.delete.iter().map(|resource| resource.plural.as_str()).collect::<Vec<_>>(), ["pods"]);
        assert!(!plan.finalize);
        let plan = decide(vec![content("apps", "Deployment", 1, 1), content("", "Secret", 3, 3)]);
        assert_eq!(plan.delete.len(), 2);
    }

    #[test]
    fn what_is_left_is_told() {
        let plan = decide(vec![content("apps", "Deployment", 0, 2)]);
        assert!(plan.delete.is_empty());
        let messages: Vec<_> =
            plan.conditions.iter().filter(|c| c.status == "True").filter_map(|c| c.message.clone()).collect();
        assert_eq!(
            messages,
            [
                "Some resources are remaining: deployments.apps has 2 resource instances",
                "Some content in the namespace has finalizers remaining: example.com/hold in 2 resource instances",
            ]
        );
    }

    #[test]
    fn an_empty_namespace_is_finalized() {
        assert!(decide(vec![]).finalize);
    }
}
