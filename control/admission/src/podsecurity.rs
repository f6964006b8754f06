//! The Pod Security Standards: which pods a namespace takes, by the labels on it.
//!
//! After <https://kubernetes.io/docs/concepts/security/pod-security-standards/>, every control of every version since 1.0.

mod checks;
mod container;
mod host;
mod linux;
mod policy;
mod user;

pub use self::checks::{Violation, evaluate};
pub use self::policy::{Level, LevelVersion, Policy, Version};

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use self::container::containers;

/// Upstream's words for all violations of one pod, with what is at fault.
#[must_use]
pub fn details(violations: &[Violation]) -> String {
    let texts = violations.iter().map(|violation| match violation.detail.as_str() {
        "" => violation.reason.clone(),
        detail => format!("{} ({detail})", violation.reason),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// Upstream's words for what is wrong with a pod, without who is at fault.
#[must_use]
pub fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|violation| violation.reason.as_str()).collect::<Vec<_>>().join(", ")
}

/// Whether an update of a pod changes anything that a policy looks at: a container that is new, or another image.
#[must_use]
pub fn is_significant(new: &Pod, old: &Pod) -> bool {
    let (Some(new), Some(old)) = (&new.spec, &old.spec) else { return true };
    let count = |spec: &k8s_openapi::api::core::v1::PodSpec| {
        (spec.containers.len(), spec.init_containers.as_ref().map_or(0, Vec::len))
    };
    let images = |spec| containers(spec).map(|c| (c.name, c.image)).collect::<BTreeSet<_>>();
    count(new) != count(old) || !images(new).is_subset(&images(old))
}

/// `container "a"`, `containers "a", "b"`.
fn named(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

fn quoted<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect::<Vec<_>>().join(", ")
}

/// Who set something that may not be set: the pod, containers, or both.
fn setters(pod: bool, names: &[&str]) -> Option<String> {
    let containers = (!names.is_empty()).then(|| named(names));
    match (pod, containers) {
        (false, containers) => containers,
        (true, None) => Some("pod".to_owned()),
        (true, Some(containers)) => Some(format!("pod and {containers}")),
    }
}

#[cfg(test)]
mod tests;
