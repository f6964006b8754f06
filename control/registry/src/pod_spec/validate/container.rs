//! Containers.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, ContainerPort, SeccompProfile, SecurityContext, VolumeMount,
};

use super::{env, probe, resources, validate_id};
use crate::endpoint::validate_protocol;
use crate::field::{Errors, Path};
use crate::names;

/// What containers of one pod refer to.
pub(super) struct Context<'a> {
    pub(super) volumes: &'a BTreeSet<&'a str>,
    pub(super) host_network: bool,
}

pub(super) fn validate(errors: &mut Errors, path: &Path<'_>, container: &Container, context: &Context<'_>) {
    if container.name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.invalid_each(&path.child("name"), &container.name, names::dns1123_label(&container.name));
    }
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        errors.required(&path.child("image"), "");
    } else if image.trim() != image {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
    validate_policies(errors, path, container);
    validate_ports(errors, &path.child("ports"), container.ports.as_deref().unwrap_or_default(), context.host_network);
    env::validate_env(errors, &path.child("env"), container.env.as_deref().unwrap_or_default());
    env::validate_env_from(errors, &path.child("envFrom"), container.env_from.as_deref().unwrap_or_default());
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    validate_mounts(errors, &path.child("volumeMounts"), mounts, context.volumes);
    validate_devices(errors, &path.child("volumeDevices"), container, context.volumes);
    validate_resize_policy(errors, &path.child("resizePolicy"), container);
    probe::validate_probes(errors, path, container);
    probe::validate_lifecycle(errors, path, container);
    if let Some(requirements) = &container.resources {
        resources::validate(errors, &path.child("resources"), requirements);
    }
    if let Some(security) = &container.security_context {
        validate_security(errors, &path.child("securityContext"), security);
    }
}

/// Init containers that are not sidecars run to their end, so that nothing probes or ends them.
pub(super) fn validate_init(errors: &mut Errors, path: &Path<'_>, container: &Container) {
    if container.restart_policy.as_deref() == Some("Always") {
        return;
    }
    for (field, is_set) in [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ] {
        if is_set {
            errors.forbidden(&path.child(field), "may not be set for init containers without restartPolicy=Always");
        }
    }
}

fn validate_policies(errors: &mut Errors, path: &Path<'_>, container: &Container) {
    match container.image_pull_policy.as_deref().unwrap_or_default() {
        "Always" | "IfNotPresent" | "Never" => {}
        "" => errors.required(&path.child("imagePullPolicy"), ""),
        other => errors.not_supported(&path.child("imagePullPolicy"), other, &["Always", "IfNotPresent", "Never"]),
    }
    match container.termination_message_policy.as_deref().unwrap_or_default() {
        "File" | "FallbackToLogsOnError" => {}
        "" => errors.required(&path.child("terminationMessagePolicy"), ""),
        other => {
            let supported = ["FallbackToLogsOnError", "File"];
            errors.not_supported(&path.child("terminationMessagePolicy"), other, &supported);
        }
    }
    if let Some(policy) = container.restart_policy.as_deref()
        && !matches!(policy, "Always" | "Never" | "OnFailure")
    {
        errors.not_supported(&path.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
    }
}

fn validate_ports(errors: &mut Errors, path: &Path<'_>, ports: &[ContainerPort], host_network: bool) {
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let faults = names::port_name(name);
            if faults.is_empty() && !seen.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
            errors.invalid_each(&path.child("name"), name, faults);
        }
        match port.container_port {
            0 => errors.required(&path.child("containerPort"), ""),
            number => {
                if let Some(detail) = names::port_number(number) {
                    errors.invalid(&path.child("containerPort"), number, detail);
                }
            }
        }
        let host_port = port.host_port.unwrap_or(0);
        if let Some(detail) = names::port_number(host_port).filter(|_| host_port != 0) {
            errors.invalid(&path.child("hostPort"), host_port, detail);
        }
        if host_network && host_port != 0 && host_port != port.container_port {
            let detail = "must match `hostPort` when `hostNetwork` is true";
            errors.invalid(&path.child("containerPort"), port.container_port, detail);
        }
        if let Some(ip) = port.host_ip.as_deref().filter(|ip| !ip.is_empty())
            && let Err(detail) = names::ip(ip)
        {
            errors.invalid(&path.child("hostIP"), ip, detail);
        }
        validate_protocol(errors, &path.child("protocol"), port.protocol.as_deref());
    }
}

fn validate_mounts(errors: &mut Errors, path: &Path<'_>, mounts: &[VolumeMount], volumes: &BTreeSet<&str>) {
    let mut seen = BTreeSet::new();
    for (i, mount) in mounts.iter().enumerate() {
        let path = path.index(i);
        if mount.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !volumes.contains(mount.name.as_str()) {
            errors.not_found(&path.child("name"), &mount.name);
        }
        if mount.mount_path.is_empty() {
            errors.required(&path.child("mountPath"), "");
        } else if !seen.insert(mount.mount_path.as_str()) {
            errors.invalid(&path.child("mountPath"), mount.mount_path.as_str(), "must be unique");
        }
        let sub_path = mount.sub_path.as_deref().unwrap_or_default();
        let expression = mount.sub_path_expr.as_deref().unwrap_or_default();
        for (field, sub_path) in [("subPath", sub_path), ("subPathExpr", expression)] {
            validate_inner_path(errors, &path.child(field), sub_path);
        }
        if !sub_path.is_empty() && !expression.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.invalid(&path.child("subPathExpr"), expression, detail);
        }
        if let Some(propagation) = mount.mount_propagation.as_deref() {
            let supported = ["Bidirectional", "HostToContainer", "None"];
            if !supported.contains(&propagation) {
                errors.not_supported(&path.child("mountPropagation"), propagation, &supported);
            }
        }
    }
}

/// Block devices: volumes that are not mounted.
fn validate_devices(errors: &mut Errors, path: &Path<'_>, container: &Container, volumes: &BTreeSet<&str>) {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    for (i, device) in container.volume_devices.iter().flatten().enumerate() {
        let path = path.index(i);
        let (at, name) = (path.child("name"), device.name.as_str());
        if name.is_empty() {
            errors.required(&at, "");
        } else if !volumes.contains(name) {
            errors.not_found(&at, name);
        }
        if !names.insert(name) {
            errors.invalid(&at, name, "must be unique");
        }
        if mounts.iter().any(|mount| mount.name == name) {
            errors.invalid(&at, name, "must not already exist in volumeMounts");
        }
        let (at, place) = (path.child("devicePath"), device.device_path.as_str());
        if place.is_empty() {
            errors.required(&at, "");
        } else if place.split('/').any(|part| part == "..") {
            errors.invalid(&at, place, "can not contain backsteps ('..')");
        }
        if !places.insert(place) {
            errors.invalid(&at, place, "must be unique");
        }
        if mounts.iter().any(|mount| mount.mount_path == place) {
            errors.invalid(&at, place, "must not already exist in volumeMounts");
        }
    }
}

/// Whether a change of an amount restarts the container.
fn validate_resize_policy(errors: &mut Errors, path: &Path<'_>, container: &Container) {
    let mut seen = BTreeSet::new();
    for (i, policy) in container.resize_policy.iter().flatten().enumerate() {
        let path = path.index(i);
        let resource = policy.resource_name.as_str();
        if !seen.insert(resource) {
            errors.duplicate(&path, resource);
        }
        match resource {
            "cpu" | "memory" => {}
            "" => errors.required(&path.child("resourceName"), ""),
            other => errors.not_supported(&path.child("resourceName"), other, &["cpu", "memory"]),
        }
        match policy.restart_policy.as_str() {
            "NotRequired" | "RestartContainer" => {}
            "" => errors.required(&path.child("restartPolicy"), ""),
            other => errors.not_supported(&path.child("restartPolicy"), other, &["NotRequired", "RestartContainer"]),
        }
    }
}

/// An AppArmor profile of a pod or container.
pub(super) fn validate_app_armor(errors: &mut Errors, path: &Path<'_>, profile: Option<&AppArmorProfile>) {
    const BYTES_MAX: usize = 4095;
    let Some(profile) = profile else { return };
    let at = path.child("localhostProfile");
    let missing = "must be set when AppArmor type is Localhost";
    match (profile.type_.as_str(), profile.localhost_profile.as_deref()) {
        ("Localhost", None) => errors.required(&at, missing),
        ("Localhost", Some(name)) if name.trim() != name => {
            errors.invalid(&at, name, "must not be padded with whitespace");
        }
        ("Localhost", Some("")) => errors.required(&at, missing),
        ("Localhost", Some(name)) if name.len() > BYTES_MAX => errors.too_long(&at, BYTES_MAX),
        ("Localhost", Some(_)) | ("RuntimeDefault" | "Unconfined", None) => {}
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errors.invalid(&at, name, "can only be set when AppArmor type is Localhost");
        }
        ("", _) => errors.required(&path.child("type"), "type is required when appArmorProfile is set"),
        (other, _) => {
            errors.not_supported(&path.child("type"), other, &["Localhost", "RuntimeDefault", "Unconfined"]);
        }
    }
}

/// A path that stays below where it starts.
pub(super) fn validate_inner_path(errors: &mut Errors, path: &Path<'_>, text: &str) {
    if text.starts_with('/') {
        errors.invalid(path, text, "must be a relative path");
    }
    if text.split('/').any(|part| part == "..") {
        errors.invalid(path, text, "must not contain '..'");
    }
}

fn validate_security(errors: &mut Errors, path: &Path<'_>, security: &SecurityContext) {
    validate_id(errors, &path.child("runAsUser"), security.run_as_user);
    validate_id(errors, &path.child("runAsGroup"), security.run_as_group);
    if let Some(kind) = security.proc_mount.as_deref()
        && !matches!(kind, "Default" | "Unmasked")
    {
        errors.not_supported(&path.child("procMount"), kind, &["Default", "Unmasked"]);
    }
    validate_seccomp(errors, &path.child("seccompProfile"), security.seccomp_profile.as_ref());
    validate_app_armor(errors, &path.child("appArmorProfile"), security.app_armor_profile.as_ref());
    if security.allow_privilege_escalation == Some(false) {
        let value = || serde_json::to_value(security).unwrap_or_default();
        if security.privileged == Some(true) {
            errors.invalid(path, value(), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        let added = security.capabilities.iter().flat_map(|capabilities| capabilities.add.iter().flatten());
        if added.into_iter().any(|capability| capability == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(path, value(), detail);
        }
    }
}

/// A seccomp profile of a pod or container.
pub(super) fn validate_seccomp(errors: &mut Errors, path: &Path<'_>, profile: Option<&SeccompProfile>) {
    let Some(profile) = profile else { return };
    let at = path.child("localhostProfile");
    match (profile.type_.as_str(), profile.localhost_profile.as_deref()) {
        ("Localhost", None) => errors.required(&at, "must be set when seccomp type is Localhost"),
        ("Localhost", Some(file)) => validate_inner_path(errors, &at, file),
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("RuntimeDefault" | "Unconfined", Some(file)) => {
            errors.invalid(&at, file, "can only be set when seccomp type is Localhost");
        }
        ("", _) => errors.required(&path.child("type"), "type is required when seccompProfile is set"),
        (other, _) => {
            errors.not_supported(&path.child("type"), other, &["Localhost", "RuntimeDefault", "Unconfined"]);
        }
    }
}
