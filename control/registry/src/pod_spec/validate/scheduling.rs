//! Where a pod may run: tolerations, affinity, spread, gates.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Affinity, NodeSelector, NodeSelectorTerm, PodAffinityTerm, PodSpec, Toleration, TopologySpreadConstraint,
    WeightedPodAffinityTerm,
};

use crate::field::{Errors, Path};
use crate::metadata::validate_label_selector;
use crate::names;

pub(super) fn validate_scheduling(errors: &mut Errors, path: &Path<'_>, spec: &PodSpec) {
    validate_tolerations(errors, &path.child("tolerations"), spec.tolerations.as_deref().unwrap_or_default());
    if let Some(affinity) = &spec.affinity {
        validate_affinity(errors, &path.child("affinity"), affinity);
    }
    let constraints = spec.topology_spread_constraints.as_deref().unwrap_or_default();
    validate_spread(errors, &path.child("topologySpreadConstraints"), constraints);
    for (i, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let path = path.child("readinessGates");
        let path = path.index(i);
        let name = gate.condition_type.as_str();
        errors.invalid_each(&path.child("conditionType"), name, names::qualified_name(name));
    }
    let mut seen = BTreeSet::new();
    for (i, gate) in spec.scheduling_gates.iter().flatten().enumerate() {
        let path = path.child("schedulingGates");
        let path = path.index(i);
        errors.invalid_each(&path, &gate.name, names::qualified_name(&gate.name));
        if !seen.insert(gate.name.as_str()) {
            errors.duplicate(&path, gate.name.as_str());
        }
    }
}

/// Tolerations of taints.
pub(crate) fn validate_tolerations(errors: &mut Errors, path: &Path<'_>, tolerations: &[Toleration]) {
    for (i, toleration) in tolerations.iter().enumerate() {
        let path = path.index(i);
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (key, operator) = (text(&toleration.key), text(&toleration.operator));
        let (value, effect) = (text(&toleration.value), text(&toleration.effect));
        if !key.is_empty() {
            errors.invalid_each(&path.child("key"), &key, names::qualified_name(&key));
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&path.child("operator"), operator.as_str(), detail);
        }
        if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(&path.child("effect"), effect.as_str(), detail);
        }
        match operator.as_str() {
            "Equal" | "" => {
                let faults = names::label_value(&value);
                if !faults.is_empty() {
                    errors.invalid(&path.child("operator"), value.as_str(), &faults.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let json = serde_json::to_value(toleration).unwrap_or_default();
                    errors.invalid(&path.child("operator"), json, "value must be empty when `operator` is 'Exists'");
                }
            }
            other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
        }
        if !matches!(effect.as_str(), "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            let supported = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            errors.not_supported(&path.child("effect"), effect.as_str(), &supported);
        }
    }
}

fn validate_affinity(errors: &mut Errors, path: &Path<'_>, affinity: &Affinity) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    if let Some(node) = &affinity.node_affinity {
        let path = path.child("nodeAffinity");
        if let Some(required) = &node.required_during_scheduling_ignored_during_execution {
            validate_node_selector(errors, &path.child(REQUIRED), required);
        }
        let preferred = node.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        for (i, term) in preferred.enumerate() {
            let path = path.child(PREFERRED);
            let path = path.index(i);
            validate_weight(errors, &path, term.weight);
            validate_node_term(errors, &path.child("preference"), &term.preference);
        }
    }
    let near = affinity.pod_affinity.as_ref().map(|affinity| {
        (
            &affinity.required_during_scheduling_ignored_during_execution,
            &affinity.preferred_during_scheduling_ignored_during_execution,
        )
    });
    let apart = affinity.pod_anti_affinity.as_ref().map(|affinity| {
        (
            &affinity.required_during_scheduling_ignored_during_execution,
            &affinity.preferred_during_scheduling_ignored_during_execution,
        )
    });
    for (field, terms) in [("podAffinity", near), ("podAntiAffinity", apart)] {
        let path = path.child(field);
        let Some((required, preferred)) = terms else { continue };
        for (i, term) in required.iter().flatten().enumerate() {
            validate_pod_term(errors, &path.child(REQUIRED).index(i), term);
        }
        for (i, WeightedPodAffinityTerm { weight, pod_affinity_term }) in preferred.iter().flatten().enumerate() {
            let path = path.child(PREFERRED);
            let path = path.index(i);
            validate_weight(errors, &path, *weight);
            validate_pod_term(errors, &path.child("podAffinityTerm"), pod_affinity_term);
        }
    }
}

/// Terms of which a node must match one.
pub(crate) fn validate_node_selector(errors: &mut Errors, path: &Path<'_>, selector: &NodeSelector) {
    let path = path.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        errors.required(&path, "must have at least one node selector term");
    }
    for (i, term) in selector.node_selector_terms.iter().enumerate() {
        validate_node_term(errors, &path.index(i), term);
    }
}

fn validate_weight(errors: &mut Errors, path: &Path<'_>, weight: i32) {
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

fn validate_node_term(errors: &mut Errors, path: &Path<'_>, term: &NodeSelectorTerm) {
    for (i, expression) in term.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions");
        let path = path.index(i);
        let count = expression.values.as_ref().map_or(0, Vec::len);
        let values = path.child("values");
        match expression.operator.as_str() {
            "In" | "NotIn" if count == 0 => {
                errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if count > 0 => {
                errors.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "Gt" | "Lt" if count != 1 => {
                errors.required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        errors.invalid_each(&path.child("key"), &expression.key, names::qualified_name(&expression.key));
    }
    for (i, field) in term.match_fields.iter().flatten().enumerate() {
        let path = path.child("matchFields");
        let path = path.index(i);
        match field.operator.as_str() {
            "In" | "NotIn" => {
                if field.values.as_ref().map_or(0, Vec::len) != 1 {
                    let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                    errors.required(&path.child("values"), detail);
                }
            }
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        if field.key != "metadata.name" {
            errors.invalid(&path.child("key"), field.key.as_str(), "not a valid field selector key");
        }
    }
}

fn validate_pod_term(errors: &mut Errors, path: &Path<'_>, term: &PodAffinityTerm) {
    for (field, selector) in [("labelSelector", &term.label_selector), ("namespaceSelector", &term.namespace_selector)]
    {
        if let Some(selector) = selector {
            validate_label_selector(errors, &path.child(field), selector);
        }
    }
    for namespace in term.namespaces.iter().flatten() {
        errors.invalid_each(&path.child("namespace"), namespace, names::dns1123_label(namespace));
    }
    let at = path.child("topologyKey");
    match term.topology_key.as_str() {
        "" => errors.required(&at, "can not be empty"),
        key => errors.invalid_each(&at, key, names::qualified_name(key)),
    }
}

fn validate_spread(errors: &mut Errors, path: &Path<'_>, constraints: &[TopologySpreadConstraint]) {
    for (i, constraint) in constraints.iter().enumerate() {
        let path = path.index(i);
        if constraint.max_skew <= 0 {
            errors.invalid(&path.child("maxSkew"), constraint.max_skew, "must be greater than zero");
        }
        if constraint.topology_key.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        }
        let when = constraint.when_unsatisfiable.as_str();
        let supported = ["DoNotSchedule", "ScheduleAnyway"];
        if !supported.contains(&when) {
            errors.not_supported(&path.child("whenUnsatisfiable"), when, &supported);
        }
        let same = |other: &&TopologySpreadConstraint| {
            other.topology_key == constraint.topology_key && other.when_unsatisfiable == when
        };
        if constraints.iter().take(i).find(same).is_some() {
            errors.duplicate(&path, format!("{{{}, {when}}}", constraint.topology_key));
        }
        if let Some(domains) = constraint.min_domains {
            let path = path.child("minDomains");
            if domains <= 0 {
                errors.invalid(&path, domains, "must be greater than zero");
            } else if when != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
                errors.invalid(&path, domains, &detail);
            }
        }
        for (field, policy) in [
            ("nodeAffinityPolicy", constraint.node_affinity_policy.as_deref()),
            ("nodeTaintsPolicy", constraint.node_taints_policy.as_deref()),
        ] {
            if let Some(policy) = policy.filter(|policy| !matches!(*policy, "Honor" | "Ignore")) {
                errors.not_supported(&path.child(field), policy, &["Honor", "Ignore"]);
            }
        }
        if let Some(selector) = &constraint.label_selector {
            validate_label_selector(errors, &path.child("labelSelector"), selector);
        }
    }
}
