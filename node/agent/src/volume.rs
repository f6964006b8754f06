//! A pod's volumes on the node: made before its sandbox, kept up to date, and removed after it.

mod atomic;
mod content;
mod host_path;
mod mount;
mod mounts;
mod source;
mod subpath;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, Volume};

pub(crate) use content::{Payload, Token};
pub(crate) use mount::remove_tree;
pub(crate) use mounts::{MountInput, container_mounts, message_file};
pub(crate) use source::{fetch, sources_of, tokens};

use crate::env::{Node, Sources};

/// Why a volume cannot be had. The text is shown in an event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {reason}")]
    SetUp { volume: String, reason: String },
    #[error("{what} {path:?}")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("container {container}: volumeMounts {mount}: {reason}")]
    Mount { container: String, mount: String, reason: String },
}

impl Error {
    fn set_up(volume: &str, reason: impl ToString) -> Self {
        Self::SetUp { volume: volume.to_owned(), reason: reason.to_string() }
    }
}

fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}

/// Where a volume is on the node.
pub(crate) fn volume_path(pod_dir: &Path, volume: &Volume) -> Option<PathBuf> {
    if let Some(host_path) = &volume.host_path {
        return Some(PathBuf::from(&host_path.path));
    }
    let plugin = match volume {
        _ if volume.empty_dir.is_some() => "empty-dir",
        _ if volume.config_map.is_some() => "configmap",
        _ if volume.secret.is_some() => "secret",
        _ if volume.downward_api.is_some() => "downward-api",
        _ if volume.projected.is_some() => "projected",
        _ => return None,
    };
    Some(pod_dir.join("volumes").join(format!("kubernetes.io~{plugin}")).join(&volume.name))
}

/// Makes every volume of a pod, or brings it up to date. Blocks on the disk.
pub(crate) fn ensure(pod: &Pod, pod_dir: &Path, sources: &Sources, tokens: &[Token], node: &Node) -> Result<(), Error> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let group = crate::config::fs_group(spec).and_then(|group| u32::try_from(group).ok());
    for volume in spec.volumes.iter().flatten() {
        let unsupported = || Error::set_up(&volume.name, "this kind of volume is not supported");
        let path = volume_path(pod_dir, volume).ok_or_else(unsupported)?;
        if let Some(source) = &volume.host_path {
            host_path::ensure(source).map_err(|reason| Error::set_up(&volume.name, reason))?;
            continue;
        }
        if let Some(source) = &volume.empty_dir {
            ensure_empty_dir(source, &volume.name, &path, group)?;
            continue;
        }
        let payload = content::payload(pod, volume, sources, tokens, node);
        let payload = payload.map_err(|reason| Error::set_up(&volume.name, reason))?;
        make_dir(&path, 0o755)?;
        if volume.secret.is_some() || volume.projected.is_some() {
            mount::ensure_tmpfs(&path, None).map_err(file("cannot mount a tmpfs at", &path))?;
        }
        atomic::write(&path, &payload, group).map_err(file("cannot write volume", &path))?;
    }
    Ok(())
}

fn ensure_empty_dir(
    source: &k8s_openapi::api::core::v1::EmptyDirVolumeSource,
    name: &str,
    path: &Path,
    group: Option<u32>,
) -> Result<(), Error> {
    if path.is_dir() && source.medium.as_deref() != Some("Memory") {
        return Ok(());
    }
    make_dir(path, 0o777)?;
    match source.medium.as_deref().unwrap_or_default() {
        "" => {}
        "Memory" => {
            let size = source.size_limit.as_ref().and_then(crate::quantity::whole).filter(|size| *size > 0);
            let fresh = mount::ensure_tmpfs(path, size).map_err(file("cannot mount a tmpfs at", path))?;
            if !fresh {
                return Ok(());
            }
            set_mode(path, 0o777)?;
        }
        other => return Err(Error::set_up(name, format!("emptyDir medium {other} is not supported"))),
    }
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group)).map_err(file("cannot change the group of", path))?;
        set_mode(path, 0o2777)?;
    }
    Ok(())
}

fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    if !path.is_dir() {
        fs::create_dir_all(path).map_err(file("cannot make directory", path))?;
        set_mode(path, mode)?;
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(file("cannot set the mode of", path))
}
