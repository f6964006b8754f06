//! Validation of pod specs.

mod container;
mod env;
mod ephemeral;
mod probe;
mod resources;
mod scheduling;
mod volume;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSecurityContext, PodSpec};

pub(crate) use resources::validate_quantity;
pub(crate) use scheduling::{validate_node_selector, validate_tolerations};
pub(crate) use volume::{validate_host_path, validate_nfs};

use crate::field::{Errors, Path};
use crate::metadata::validate_labels;
use crate::names;

const SYSCTL_RULE: &str = "must have at most 253 characters and match regex \
    ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
const ID_MAX: i64 = i32::MAX as i64;

/// A pod's or a template's spec.
pub(crate) fn validate_spec(errors: &mut Errors, path: &Path<'_>, spec: &PodSpec) {
    let volumes = volume::validate_volumes(errors, &path.child("volumes"), spec.volumes.as_deref().unwrap_or_default());
    validate_containers(errors, path, spec, &volumes);
    match spec.restart_policy.as_deref().unwrap_or_default() {
        "Always" | "OnFailure" | "Never" => {}
        "" => errors.required(&path.child("restartPolicy"), ""),
        other => errors.not_supported(&path.child("restartPolicy"), other, &["Always", "Never", "OnFailure"]),
    }
    validate_dns(errors, path, spec);
    if let Some(selector) = &spec.node_selector {
        validate_labels(errors, &path.child("nodeSelector"), selector);
    }
    let context = spec.security_context.clone().unwrap_or_default();
    validate_security_context(errors, &path.child("securityContext"), &context);
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path.child("shareProcessNamespace"), true, detail);
    }
    for (i, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        if secret.name.is_empty() {
            errors.required(&path.child("imagePullSecrets").index(i).child("name"), "");
        }
    }
    validate_names(errors, path, spec);
    scheduling::validate_scheduling(errors, path, spec);
    validate_platform(errors, path, spec);
    if let Some(seconds) = spec.active_deadline_seconds.filter(|seconds| !(1..=ID_MAX).contains(seconds)) {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.invalid(&path.child("activeDeadlineSeconds"), seconds, detail);
    }
    for (i, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let path = path.child("hostAliases");
        let path = path.index(i);
        if names::ip(&alias.ip).is_err() {
            errors.invalid(&path.child("ip"), alias.ip.as_str(), "must be valid IP address");
        }
        for hostname in alias.hostnames.iter().flatten() {
            errors.invalid_each(&path.child("hostnames"), hostname, names::dns1123_subdomain(hostname));
        }
    }
}

fn validate_containers(errors: &mut Errors, path: &Path<'_>, spec: &PodSpec, volumes: &BTreeSet<&str>) {
    let mut seen = BTreeSet::new();
    let context = container::Context { volumes, host_network: spec.host_network == Some(true) };
    if spec.containers.is_empty() {
        errors.required(&path.child("containers"), "");
    }
    let init = spec.init_containers.as_deref().unwrap_or_default();
    for (field, list, is_init) in [("containers", spec.containers.as_slice(), false), ("initContainers", init, true)] {
        let list_path = path.child(field);
        for (i, container) in list.iter().enumerate() {
            let path = list_path.index(i);
            container::validate(errors, &path, container, &context);
            if is_init {
                container::validate_init(errors, &path, container);
            }
            if !container.name.is_empty() && !seen.insert(container.name.as_str()) {
                errors.duplicate(&path.child("name"), container.name.as_str());
            }
        }
    }
    validate_host_ports(errors, &path.child("containers"), &spec.containers);
    ephemeral::validate_all(errors, path, spec, &context, &mut seen);
}

/// A port of the node belongs to one container.
fn validate_host_ports(errors: &mut Errors, path: &Path<'_>, containers: &[Container]) {
    let mut seen = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        let path = path.index(i);
        for (j, port) in container.ports.iter().flatten().enumerate() {
            let host_port = port.host_port.unwrap_or(0);
            let protocol = port.protocol.as_deref().unwrap_or_default();
            let key = format!("{protocol}/{}/{host_port}", port.host_ip.as_deref().unwrap_or_default());
            if host_port != 0 && !seen.insert(key.clone()) {
                errors.duplicate(&path.child("ports").index(j).child("hostPort"), key);
            }
        }
    }
}

fn validate_dns(errors: &mut Errors, path: &Path<'_>, spec: &PodSpec) {
    let config = spec.dns_config.clone().unwrap_or_default();
    let servers = config.nameservers.unwrap_or_default();
    let at = path.child("dnsPolicy");
    match spec.dns_policy.as_deref().unwrap_or_default() {
        "ClusterFirst" | "ClusterFirstWithHostNet" | "Default" => {}
        "None" => {
            if spec.dns_config.is_none() {
                errors.required(&path.child("dnsConfig"), "must provide `dnsConfig` when `dnsPolicy` is None");
            } else if servers.is_empty() {
                let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
                errors.required(&path.child("dnsConfig.nameservers"), detail);
            }
        }
        "" => errors.required(&at, ""),
        other => errors.not_supported(&at, other, &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
    }
    let at = path.child("dnsConfig.nameservers");
    if servers.len() > 3 {
        errors.invalid(&at, servers.clone(), "must not have more than 3 nameservers");
    }
    for (i, server) in servers.iter().enumerate() {
        if let Err(detail) = names::ip(server) {
            errors.invalid(&at.index(i), server.as_str(), detail);
        }
    }
    let searches = config.searches.unwrap_or_default();
    if searches.len() > 32 {
        errors.invalid(&path.child("dnsConfig.searches"), searches, "must not have more than 32 search paths");
    }
    for (i, option) in config.options.iter().flatten().enumerate() {
        if option.name.as_deref().unwrap_or_default().is_empty() {
            errors.required(&path.child("dnsConfig.options").index(i), "must not be empty");
        }
    }
}

fn validate_security_context(errors: &mut Errors, path: &Path<'_>, context: &PodSecurityContext) {
    let ids = [("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group), ("fsGroup", context.fs_group)];
    for (field, id) in ids {
        validate_id(errors, &path.child(field), id);
    }
    for (i, group) in context.supplemental_groups.iter().flatten().enumerate() {
        validate_id(errors, &path.child("supplementalGroups").index(i), Some(*group));
    }
    let policies = ["Always", "OnRootMismatch"];
    if let Some(policy) = context.fs_group_change_policy.as_deref().filter(|policy| !policies.contains(policy)) {
        errors.not_supported(&path.child("fsGroupChangePolicy"), policy, &policies);
    }
    let mut seen = BTreeSet::new();
    for (i, sysctl) in context.sysctls.iter().flatten().enumerate() {
        let (path, name) = (path.child("sysctls"), sysctl.name.as_str());
        if name.is_empty() {
            errors.required(&path.index(i).child("name"), "");
        } else if !is_sysctl(name) {
            errors.invalid(&path.index(i).child("name"), name, SYSCTL_RULE);
        } else if !seen.insert(name) {
            errors.duplicate(&path.index(i).child("name"), name);
        }
    }
    container::validate_seccomp(errors, &path.child("seccompProfile"), context.seccomp_profile.as_ref());
    container::validate_app_armor(errors, &path.child("appArmorProfile"), context.app_armor_profile.as_ref());
    let policies = ["Merge", "Strict"];
    if let Some(policy) = context.supplemental_groups_policy.as_deref().filter(|policy| !policies.contains(policy)) {
        errors.not_supported(&path.child("supplementalGroupsPolicy"), policy, &policies);
    }
}

/// Parts of a kernel parameter's name, between dots or slashes.
fn is_sysctl(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    name.len() <= names::SUBDOMAIN_BYTES_MAX && name.split(['.', '/']).all(is_part)
}

/// What the node must be able to do.
fn validate_platform(errors: &mut Errors, path: &Path<'_>, spec: &PodSpec) {
    match spec.os.as_ref().map(|os| os.name.as_str()) {
        None | Some("linux" | "windows") => {}
        Some("") => errors.required(&path.child("os.name"), "cannot be empty"),
        Some(other) => errors.not_supported(&path.child("os.name"), other, &["linux", "windows"]),
    }
    for (name, quantity) in spec.overhead.iter().flatten() {
        validate_quantity(errors, &path.child("overhead").key(name), quantity);
    }
    let policies = ["Never", "PreemptLowerPriority"];
    if let Some(policy) = spec.preemption_policy.as_deref().filter(|policy| !policies.contains(policy)) {
        errors.not_supported(&path.child("preemptionPolicy"), policy, &policies);
    }
    let mut seen = BTreeSet::new();
    for (i, claim) in spec.resource_claims.iter().flatten().enumerate() {
        let path = path.child("resourceClaims");
        let path = path.index(i);
        errors.invalid_each(&path.child("name"), &claim.name, names::dns1123_label(&claim.name));
        if !seen.insert(claim.name.as_str()) {
            errors.duplicate(&path.child("name"), claim.name.as_str());
        }
        let sources = [&claim.resource_claim_name, &claim.resource_claim_template_name];
        match sources.iter().filter(|source| source.is_some()).count() {
            0 => errors.invalid(
                &path,
                claim.name.as_str(),
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            1 => {}
            _ => errors.invalid(
                &path,
                claim.name.as_str(),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
        }
    }
}

/// A user or group number.
fn validate_id(errors: &mut Errors, path: &Path<'_>, id: Option<i64>) {
    if let Some(id) = id.filter(|id| !(0..=ID_MAX).contains(id)) {
        errors.invalid(path, id, "must be between 0 and 2147483647, inclusive");
    }
}

fn validate_names(errors: &mut Errors, path: &Path<'_>, spec: &PodSpec) {
    let rules: [(&str, &Option<String>, fn(&str) -> Vec<String>); 7] = [
        ("serviceAccountName", &spec.service_account_name, names::dns1123_subdomain),
        ("nodeName", &spec.node_name, names::dns1123_subdomain),
        ("priorityClassName", &spec.priority_class_name, names::dns1123_subdomain),
        ("runtimeClassName", &spec.runtime_class_name, names::dns1123_subdomain),
        ("hostname", &spec.hostname, names::dns1123_label),
        ("subdomain", &spec.subdomain, names::dns1123_label),
        ("schedulerName", &spec.scheduler_name, names::qualified_name),
    ];
    for (field, value, rule) in rules {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            errors.invalid_each(&path.child(field), value, rule(value));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
