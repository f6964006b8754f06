//! Containers that are added to a running pod.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, PodSpec};

use super::container::{self, Context};
use crate::field::{Errors, Path};

const FORBIDDEN: &str = "cannot be set for an Ephemeral Container";

pub(super) fn validate_all<'a>(
    errors: &mut Errors,
    path: &Path<'_>,
    spec: &'a PodSpec,
    context: &Context<'_>,
    seen: &mut BTreeSet<&'a str>,
) {
    let others = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let targets: BTreeSet<&str> = others.map(|container| container.name.as_str()).collect();
    let path = path.child("ephemeralContainers");
    for (i, added) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let path = path.index(i);
        if !added.name.is_empty() && !seen.insert(added.name.as_str()) {
            errors.duplicate(&path.child("name"), added.name.as_str());
        }
        let target = added.target_container_name.as_deref().unwrap_or_default();
        if !target.is_empty() && !targets.contains(target) {
            errors.not_found(&path.child("targetContainerName"), target);
        }
        for (field, is_set) in [
            ("ports", added.ports.is_some()),
            ("livenessProbe", added.liveness_probe.is_some()),
            ("readinessProbe", added.readiness_probe.is_some()),
            ("startupProbe", added.startup_probe.is_some()),
            ("lifecycle", added.lifecycle.is_some()),
            ("resources", added.resources.as_ref().is_some_and(|resources| *resources != Default::default())),
        ] {
            if is_set {
                errors.forbidden(&path.child(field), FORBIDDEN);
            }
        }
        for (j, mount) in added.volume_mounts.iter().flatten().enumerate() {
            let mounts = path.child("volumeMounts");
            for (field, value) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
                if value.as_deref().is_some_and(|value| !value.is_empty()) {
                    errors.forbidden(&mounts.index(j).child(field), FORBIDDEN);
                }
            }
        }
        container::validate(errors, &path, &as_container(added), context);
    }
}

/// What an added container has in common with others, and may have.
fn as_container(added: &EphemeralContainer) -> Container {
    let added = added.clone();
    Container {
        args: added.args,
        command: added.command,
        env: added.env,
        env_from: added.env_from,
        image: added.image,
        image_pull_policy: added.image_pull_policy,
        name: added.name,
        restart_policy: added.restart_policy,
        security_context: added.security_context,
        stdin: added.stdin,
        stdin_once: added.stdin_once,
        termination_message_path: added.termination_message_path,
        termination_message_policy: added.termination_message_policy,
        tty: added.tty,
        volume_devices: added.volume_devices,
        volume_mounts: added.volume_mounts,
        working_dir: added.working_dir,
        ..Container::default()
    }
}
