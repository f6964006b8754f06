//! What upstream's server lets pass in a pod, but warns of.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Container, NodeSelectorTerm, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::field::Path;
use crate::quantity::Quantity;

/// Labels of nodes that got other names, and since when.
const LABELS: [(&str, &str); 5] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
];

/// Annotations that became fields; a slash at the end stands for all that begin so.
const ANNOTATIONS: [(&str, &str); 6] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("seccomp.security.alpha.kubernetes.io/pod", "non-functional in v1.27+; use the \"seccompProfile\" field instead"),
    (
        "container.seccomp.security.alpha.kubernetes.io/",
        "non-functional in v1.27+; use the \"seccompProfile\" field instead",
    ),
    (
        "container.apparmor.security.beta.kubernetes.io/",
        "deprecated since v1.30; use the \"appArmorProfile\" field instead",
    ),
];

/// Of a pod whose metadata and spec stand at these paths.
pub(crate) fn warnings(meta: (&Path<'_>, Option<&ObjectMeta>), spec: (&Path<'_>, &PodSpec)) -> Vec<String> {
    let mut found = Vec::new();
    of_annotations(&mut found, meta.0, meta.1);
    let (path, spec) = spec;
    of_labels(&mut found, path, spec);
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        let at = path.child("terminationGracePeriodSeconds");
        found.push(format!("{at}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    for (index, _) in spec.volumes.iter().flatten().enumerate().filter(|(_, volume)| volume.git_repo.is_some()) {
        let at = path.child("volumes");
        found.push(format!(
            "{}: deprecated in v1.11, and disabled by default in v1.33+",
            at.index(index).child("gitRepo")
        ));
    }
    for (index, _) in spec.image_pull_secrets.iter().flatten().enumerate().filter(|(_, s)| s.name.is_empty()) {
        let at = path.child("imagePullSecrets");
        found.push(format!("{}: invalid empty name \"\"", at.index(index).child("name")));
    }
    let lists =
        [("initContainers", spec.init_containers.as_deref().unwrap_or_default()), ("containers", &spec.containers)];
    for (field, containers) in lists {
        let list = path.child(field);
        for (index, container) in containers.iter().enumerate() {
            of_container(&mut found, &list.index(index), container);
        }
    }
    found
}

/// Of a template at `spec.template`.
pub(crate) fn template_warnings(path: &Path<'_>, template: &PodTemplateSpec) -> Vec<String> {
    let Some(spec) = &template.spec else { return Vec::new() };
    warnings((&path.child("metadata"), template.metadata.as_ref()), (&path.child("spec"), spec))
}

fn of_annotations(found: &mut Vec<String>, path: &Path<'_>, meta: Option<&ObjectMeta>) {
    let at = path.child("annotations");
    for key in meta.iter().flat_map(|meta| meta.annotations.iter().flat_map(BTreeMap::keys)) {
        let is = |known: &str| if known.ends_with('/') { key.starts_with(known) } else { key == known };
        if let Some((_, why)) = ANNOTATIONS.iter().find(|(known, _)| is(known)) {
            found.push(format!("{}: {why}", at.key(key)));
        }
    }
}

fn deprecated(label: &str) -> Option<&'static str> {
    LABELS.iter().find(|(known, _)| *known == label).map(|(_, why)| *why)
}

fn of_labels(found: &mut Vec<String>, path: &Path<'_>, spec: &PodSpec) {
    let selector = path.child("nodeSelector");
    for key in spec.node_selector.iter().flat_map(BTreeMap::keys) {
        found.extend(deprecated(key).map(|why| format!("{}: {why}", selector.key(key))));
    }
    let constraints = path.child("topologySpreadConstraints");
    for (index, constraint) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        let key = &constraint.topology_key;
        let at = constraints.index(index);
        found.extend(deprecated(key).map(|why| format!("{}: {key} is {why}", at.child("topologyKey"))));
    }
    let Some(affinity) = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref()) else { return };
    let at = path.child("affinity.nodeAffinity");
    if let Some(required) = &affinity.required_during_scheduling_ignored_during_execution {
        let terms = at.child("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
        for (index, term) in required.node_selector_terms.iter().enumerate() {
            of_term(found, &terms.index(index), term);
        }
    }
    let terms = at.child("preferredDuringSchedulingIgnoredDuringExecution");
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    for (index, term) in preferred.enumerate() {
        of_term(found, &terms.index(index).child("preference"), &term.preference);
    }
}

fn of_term(found: &mut Vec<String>, path: &Path<'_>, term: &NodeSelectorTerm) {
    let at = path.child("matchExpressions");
    for (index, expression) in term.match_expressions.iter().flatten().enumerate() {
        let key = &expression.key;
        found.extend(deprecated(key).map(|why| format!("{}: {key} is {why}", at.index(index).child("key"))));
    }
}

fn of_container(found: &mut Vec<String>, path: &Path<'_>, container: &Container) {
    let resources = container.resources.iter();
    for (field, list) in resources.flat_map(|r| [("limits", &r.limits), ("requests", &r.requests)]) {
        let at = path.child("resources");
        let at = at.child(field);
        for (name, amount) in
            list.iter().flatten().filter(|(name, _)| *name == "memory" || *name == "ephemeral-storage")
        {
            if Quantity::try_from(amount).is_ok_and(|amount| !amount.is_whole()) {
                let value = amount.0.as_str();
                found.push(format!("{}: fractional byte value {value:?} is invalid, must be an integer", at.key(name)));
            }
        }
    }
    let env = path.child("env");
    let mut named = HashMap::new();
    for (index, variable) in container.env.iter().flatten().enumerate() {
        if named.insert(&variable.name, index).is_some() {
            let (at, name) = (env.index(index), &variable.name);
            found.push(format!("{at}: hides previous definition of {name:?}, which may be dropped when using apply"));
        }
    }
    let ports = path.child("ports");
    let mut opened = HashMap::new();
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let key = (port.container_port, port.host_port, &port.host_ip, &port.protocol);
        if let Some(first) = opened.get(&key) {
            found.push(format!("{}: duplicate port definition with {}", ports.index(index), ports.index(*first)));
        } else {
            opened.insert(key, index);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_let_pass_is_warned_of() {
        let template: PodTemplateSpec = serde_json::from_value(json!({
            "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "runtime/default"}},
            "spec": {
                "terminationGracePeriodSeconds": -1,
                "nodeSelector": {"beta.kubernetes.io/os": "linux"},
                "volumes": [{"name": "a", "gitRepo": {"repository": "r"}}],
                "containers": [{
                    "name": "c",
                    "resources": {"requests": {"memory": "100m", "cpu": "100m"}},
                    "env": [{"name": "A"}, {"name": "B"}, {"name": "A"}],
                    "ports": [{"containerPort": 80}, {"containerPort": 80}],
                }],
            },
        }))
        .unwrap();
        assert_eq!(
            template_warnings(&Path::root("spec.template"), &template),
            [
                "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since \
                 v1.30; use the \"appArmorProfile\" field instead",
                "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" \
                 instead",
                "spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be \
                 treated as 1",
                "spec.template.spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
                "spec.template.spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, \
                 must be an integer",
                "spec.template.spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when \
                 using apply",
                "spec.template.spec.containers[0].ports[1]: duplicate port definition with \
                 spec.template.spec.containers[0].ports[0]",
            ]
        );
    }
}
