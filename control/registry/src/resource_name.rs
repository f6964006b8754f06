//! Names of resources that quotas and limits are about.

use crate::field::{Errors, Path};
use crate::names;

/// Names of compute resources that stand without a domain.
const COMPUTE: [&str; 11] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "storage",
    "requests.storage",
];

/// What is counted in whole units, without a domain as well.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Kubernetes' own domain, also with something before it.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether it names something that devices provide.
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether only whole amounts make sense.
pub(crate) fn is_counted(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}

fn is_standard(name: &str) -> bool {
    COMPUTE.contains(&name) || COUNTED.contains(&name)
}

/// Whether its limit may be above its request.
pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

/// A name that quotas know without a domain.
pub(crate) fn is_standard_in_quota(name: &str) -> bool {
    (name != "storage" && is_standard(name)) || is_huge_pages(name)
}

/// The rule for any resource's name. `path` is the key's.
pub(crate) fn validate(errors: &mut Errors, path: &Path<'_>, name: &str) {
    let faults = names::qualified_name(name);
    if !faults.is_empty() {
        errors.invalid_each(path, name, faults);
    } else if !name.contains('/') && !is_standard(name) && !is_huge_pages(name) {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
}

/// The rule for names in containers.
pub(crate) fn validate_in_container(errors: &mut Errors, path: &Path<'_>, name: &str) {
    let before = errors.len();
    validate(errors, path, name);
    if errors.len() > before {
        return;
    }
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

/// The rule for names in quotas.
pub(crate) fn validate_in_quota(errors: &mut Errors, path: &Path<'_>, name: &str) {
    validate(errors, path, name);
    if !name.contains('/') && !is_standard_in_quota(name) {
        errors.invalid(path, name, "must be a standard resource for quota");
    }
}
