//! What is left to do once a pod has ended.

use std::path::PathBuf;

use skep_cri::v1;

use super::PodKey;
use super::runtime::Runtime;
use crate::context::Shared;
use crate::volume;

/// Removes the cgroup and unmounts the volumes of a pod whose containers have all ended. Its logs stay.
pub(crate) async fn release(context: &Shared, key: &PodKey) -> Result<(), String> {
    let (cgroups, cgroup) = (context.cgroups.clone(), context.options.pod_cgroup(&key.uid));
    let volumes = ["volumes", "volume-subpaths"].map(|name| context.options.pod_dir(&key.uid).join(name));
    blocking(move || {
        // Subpaths are mounts of what is in the volumes.
        volumes.iter().rev().try_for_each(|dir| remove(dir.clone()))?;
        cgroups.kill(&cgroup).map_err(|error| crate::chain(&error))?;
        cgroups.remove(&cgroup).map_err(|error| crate::chain(&error))
    })
    .await
}

/// Removes every trace of a pod from the node.
pub(crate) async fn remove_all(context: &Shared, key: &PodKey, runtime: &Runtime) -> Result<(), String> {
    for container in &runtime.containers {
        remove_container(context, &container.id).await?;
    }
    for sandbox in &runtime.sandboxes {
        remove_sandbox(context, &sandbox.id).await?;
    }
    release(context, key).await?;
    let dirs = [context.options.pod_dir(&key.uid), context.options.log_dir(&key.namespace, &key.name, &key.uid)];
    blocking(move || dirs.into_iter().try_for_each(remove)).await
}

pub(crate) async fn remove_container(context: &Shared, id: &str) -> Result<(), String> {
    let removed = context.cri.remove_container(v1::RemoveContainerRequest { container_id: id.to_owned() }).await;
    ignore_missing(removed.map(drop))
}

pub(crate) async fn remove_sandbox(context: &Shared, id: &str) -> Result<(), String> {
    let removed = context.cri.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() }).await;
    ignore_missing(removed.map(drop))
}

pub(crate) async fn stop_sandbox(context: &Shared, id: &str) -> Result<(), String> {
    let stopped = context.cri.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() }).await;
    ignore_missing(stopped.map(drop))
}

fn ignore_missing(answer: Result<(), skep_cri::Error>) -> Result<(), String> {
    match answer {
        Err(error) if !error.is_not_found() => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn remove(dir: PathBuf) -> Result<(), String> {
    volume::remove_tree(&dir).map_err(|error| format!("cannot remove {}: {error}", dir.display()))
}

async fn blocking(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}
