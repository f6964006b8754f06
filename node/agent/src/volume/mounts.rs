//! The mounts of one container.

use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use skep_cri::v1;

use super::{Error, file, subpath, volume_path};
use crate::config::message_path;
use crate::env::expand;

/// What a container's mounts are made from.
#[derive(Debug)]
pub(crate) struct MountInput<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    pub(crate) attempt: u32,
    pub(crate) pod_dir: &'a Path,
    pub(crate) env: &'a [(String, String)],
}

/// Prepares and lists what is mounted into a container: its volumes, the hosts file, the termination message.
pub(crate) fn container_mounts(input: &MountInput<'_>) -> Result<Vec<v1::Mount>, Error> {
    let mut mounts = Vec::new();
    for (index, mount) in input.container.volume_mounts.iter().flatten().enumerate() {
        mounts.push(volume_mount(input, index, mount)?);
    }
    let plain = |container_path: &str, host_path: &Path| v1::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.display().to_string(),
        ..v1::Mount::default()
    };
    let has = |path: &str| input.container.volume_mounts.iter().flatten().any(|mount| mount.mount_path == path);
    if !has("/etc/hosts") {
        mounts.push(plain("/etc/hosts", &input.pod_dir.join("etc-hosts")));
    }
    let message = message_file(input.pod_dir, &input.container.name, input.attempt);
    if let Some(parent) = message.parent() {
        fs::create_dir_all(parent).map_err(file("cannot make directory", parent))?;
    }
    fs::write(&message, "").map_err(file("cannot make file", &message))?;
    super::set_mode(&message, 0o666)?;
    let path = message_path(input.container);
    if !has(path) {
        mounts.push(plain(path, &message));
    }
    Ok(mounts)
}

/// The file on the node that a container's termination message goes to.
pub(crate) fn message_file(pod_dir: &Path, container: &str, attempt: u32) -> std::path::PathBuf {
    pod_dir.join("containers").join(container).join(attempt.to_string())
}

fn volume_mount(input: &MountInput<'_>, index: usize, mount: &VolumeMount) -> Result<v1::Mount, Error> {
    let refuse = |reason: String| Error::Mount {
        container: input.container.name.clone(),
        mount: mount.mount_path.clone(),
        reason,
    };
    let volumes = input.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let volume = volumes.into_iter().find(|volume| volume.name == mount.name);
    let volume = volume.ok_or_else(|| refuse(format!("volume {} not found", mount.name)))?;
    let mut host_path = volume_path(input.pod_dir, volume)
        .ok_or_else(|| refuse(format!("volume {} is of a kind that is not supported", mount.name)))?;
    let lookup = |name: &str| input.env.iter().find(|(held, _)| held == name).map(|(_, value)| value.clone());
    let sub_path = match (&mount.sub_path, &mount.sub_path_expr) {
        (Some(path), _) if !path.is_empty() => Some(path.clone()),
        (_, Some(text)) if !text.is_empty() => Some(expand(text, lookup)),
        _ => None,
    };
    if let Some(sub_path) = sub_path {
        let container = format!("{}-{}", input.container.name, input.attempt);
        let target = input.pod_dir.join("volume-subpaths").join(&volume.name).join(container).join(index.to_string());
        subpath::bind(&host_path, &sub_path, &target)
            .map_err(|error| refuse(format!("failed to prepare subPath {sub_path}: {error}")))?;
        host_path = target;
    } else if volume.host_path.is_some() && !host_path.exists() {
        fs::create_dir_all(&host_path).map_err(file("cannot make directory", &host_path))?;
    }
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
        _ => v1::MountPropagation::PropagationPrivate,
    };
    let container_path = match mount.mount_path.strip_prefix('/') {
        Some(_) => mount.mount_path.clone(),
        None => format!("/{}", mount.mount_path),
    };
    // The kubelet mounts these four kinds read-only whatever the pod says.
    let generated = volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some();
    Ok(v1::Mount {
        container_path,
        host_path: host_path.display().to_string(),
        readonly: generated || mount.read_only == Some(true),
        propagation: propagation as i32,
        ..v1::Mount::default()
    })
}
