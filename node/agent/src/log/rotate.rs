//! Keeping logs small: a file that has grown is renamed, and the runtime begins a new one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use skep_cri::v1;
use tokio_util::sync::CancellationToken;

use crate::context::Shared;

const INTERVAL: Duration = Duration::from_secs(10);
const FILE_BYTES_MAX: u64 = 10 << 20;
/// With the one that is written to.
const FILES_MAX: usize = 5;

/// Rotates logs of running containers until `stop`.
pub(crate) async fn run(context: Shared, stop: CancellationToken) {
    let mut tick = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        if let Err(error) = rotate_all(&context).await {
            tracing::debug!(%error, "log rotation");
        }
    }
}

async fn rotate_all(context: &Shared) -> Result<(), skep_cri::Error> {
    let state = Some(v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning as i32 });
    let filter = Some(v1::ContainerFilter { state, ..v1::ContainerFilter::default() });
    let running = context.cri.list_containers(v1::ListContainersRequest { filter }).await?.containers;
    for container in running {
        let Some(path) = log_path(context, &container) else { continue };
        if tokio::fs::metadata(&path).await.is_ok_and(|meta| meta.len() > FILE_BYTES_MAX) {
            rotate(context, &container.id, &path).await?;
        }
    }
    Ok(())
}

/// The log of a container, by its labels.
fn log_path(context: &Shared, container: &v1::Container) -> Option<PathBuf> {
    let label = |name: &str| container.labels.get(name);
    let names = crate::config::LABEL;
    let dir = context.options.log_dir(label(names.pod_namespace)?, label(names.pod_name)?, label(names.pod_uid)?);
    let attempt = container.metadata.as_ref()?.attempt;
    Some(dir.join(label(names.container)?).join(format!("{attempt}.log")))
}

async fn rotate(context: &Shared, id: &str, path: &Path) -> Result<(), skep_cri::Error> {
    let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S%.3f").to_string();
    let rotated = PathBuf::from(format!("{}.{stamp}", path.display()));
    if let Err(error) = tokio::fs::rename(path, &rotated).await {
        tracing::debug!(%error, ?path, "log not rotated");
        return Ok(());
    }
    let request = v1::ReopenContainerLogRequest { container_id: id.to_owned() };
    if let Err(error) = context.cri.reopen_container_log(request).await {
        // The runtime still writes to the renamed file.
        let _ = tokio::fs::rename(&rotated, path).await;
        return Err(error);
    }
    remove_oldest(path).await;
    Ok(())
}

async fn remove_oldest(path: &Path) {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else { return };
    let mut rotated = Vec::new();
    let Ok(mut entries) = tokio::fs::read_dir(dir).await else { return };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let file = entry.file_name();
        if file.to_str().and_then(|file| file.strip_prefix(name)).is_some_and(|rest| rest.starts_with('.')) {
            rotated.push(entry.path());
        }
    }
    rotated.sort_unstable();
    let surplus = rotated.len().saturating_sub(FILES_MAX - 1);
    for old in &rotated[..surplus] {
        let _ = tokio::fs::remove_file(old).await;
    }
}
