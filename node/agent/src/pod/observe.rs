//! Reading pods from the runtime: one pod in full, or all of them as fingerprints that show which changed.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use jiff::Timestamp;
use skep_cri::v1::{self, ContainerState, PodSandboxState};

use super::PodKey;
use super::runtime::{Container, Exit, Runtime, Sandbox, State};
use crate::config::{ANNOTATION, LABEL};
use crate::context::Context;
use crate::volume::message_file;

const MESSAGE_BYTES_MAX: usize = 4096;
/// With `FallbackToLogsOnError`: how much of the log's end stands in for a message.
const LOG_MESSAGE_BYTES_MAX: usize = 2048;
const LOG_MESSAGE_LINES_MAX: usize = 80;

/// Reads one pod, and remembers what cannot change any more.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    sandboxes: HashMap<String, Sandbox>,
    containers: HashMap<String, Container>,
}

impl Observer {
    pub(crate) async fn observe(&mut self, context: &Context, key: &PodKey) -> Result<Runtime, skep_cri::Error> {
        let selector = HashMap::from([(LABEL.pod_uid.to_owned(), key.uid.clone())]);
        let filter = v1::PodSandboxFilter { label_selector: selector.clone(), ..v1::PodSandboxFilter::default() };
        let listed = context.cri.list_pod_sandbox(v1::ListPodSandboxRequest { filter: Some(filter) }).await?.items;
        let mut runtime = Runtime::default();
        for item in listed {
            if let Some(sandbox) = self.sandbox(context, &item).await? {
                runtime.sandboxes.push(sandbox);
            }
        }
        let filter = v1::ContainerFilter { label_selector: selector, ..v1::ContainerFilter::default() };
        let listed = context.cri.list_containers(v1::ListContainersRequest { filter: Some(filter) }).await?.containers;
        for item in listed {
            if let Some(container) = self.container(context, key, &item).await? {
                runtime.containers.push(container);
            }
        }
        runtime.sort();
        self.sandboxes = runtime.sandboxes.iter().map(|held| (held.id.clone(), held.clone())).collect();
        self.containers = runtime.containers.iter().map(|held| (held.id.clone(), held.clone())).collect();
        Ok(runtime)
    }

    async fn sandbox(&self, context: &Context, item: &v1::PodSandbox) -> Result<Option<Sandbox>, skep_cri::Error> {
        let ready = item.state == PodSandboxState::SandboxReady as i32;
        let known =
            self.sandboxes.get(&item.id).filter(|known| known.ready == ready && !(ready && known.ips.is_empty()));
        if let Some(known) = known {
            return Ok(Some(known.clone()));
        }
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: item.id.clone(), verbose: false };
        let status = match context.cri.pod_sandbox_status(request).await {
            Ok(answer) => answer.status,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let network = status.and_then(|status| status.network).unwrap_or_default();
        let ips = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
        Ok(Some(Sandbox {
            id: item.id.clone(),
            attempt: item.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
            ready,
            created: timestamp(item.created_at),
            ips: ips.filter_map(|ip| ip.parse().ok()).collect(),
        }))
    }

    async fn container(
        &self,
        context: &Context,
        key: &PodKey,
        item: &v1::Container,
    ) -> Result<Option<Container>, skep_cri::Error> {
        let same = |known: &&Container| {
            matches!(
                (&known.state, ContainerState::try_from(item.state)),
                (State::Created, Ok(ContainerState::ContainerCreated))
                    | (State::Running { .. }, Ok(ContainerState::ContainerRunning))
                    | (State::Exited(_), Ok(ContainerState::ContainerExited))
            )
        };
        if let Some(known) = self.containers.get(&item.id).filter(same) {
            return Ok(Some(known.clone()));
        }
        let request = v1::ContainerStatusRequest { container_id: item.id.clone(), verbose: false };
        let status = match context.cri.container_status(request).await {
            Ok(answer) => answer.status.unwrap_or_default(),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let name = item.labels.get(LABEL.container).cloned().unwrap_or_default();
        let attempt = item.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
        let state = match ContainerState::try_from(status.state) {
            Ok(ContainerState::ContainerCreated) => State::Created,
            Ok(ContainerState::ContainerRunning) => State::Running { started: timestamp(status.started_at) },
            Ok(ContainerState::ContainerExited) => State::Exited(Exit {
                code: status.exit_code,
                reason: reason(&status),
                message: termination_message(context, key, &name, attempt, &status).await,
                started: timestamp(status.started_at),
                finished: timestamp(status.finished_at),
            }),
            _ => State::Unknown,
        };
        Ok(Some(Container {
            id: item.id.clone(),
            sandbox: item.pod_sandbox_id.clone(),
            name,
            attempt,
            hash: item.annotations.get(ANNOTATION.hash).cloned().unwrap_or_default(),
            image: status.image.map(|image| image.image).unwrap_or_default(),
            image_id: status.image_ref,
            created: timestamp(item.created_at),
            state,
        }))
    }
}

fn reason(status: &v1::ContainerStatus) -> String {
    match status.reason.as_str() {
        "" if status.exit_code == 0 => "Completed".to_owned(),
        "" => "Error".to_owned(),
        reason => reason.to_owned(),
    }
}

/// What the container wrote to its message file; failing that, what the runtime says; or the log's end where the spec wants it.
async fn termination_message(
    context: &Context,
    key: &PodKey,
    name: &str,
    attempt: u32,
    status: &v1::ContainerStatus,
) -> String {
    let path = message_file(&context.options.pod_dir(&key.uid), name, attempt);
    let written = tokio::task::spawn_blocking(move || read_start(&path)).await.unwrap_or_default();
    if !written.is_empty() {
        return written;
    }
    let policy = status.annotations.get(ANNOTATION.message_policy).map(String::as_str);
    if policy == Some("FallbackToLogsOnError") && status.exit_code != 0 {
        let log = std::path::PathBuf::from(&status.log_path);
        let end = crate::log::last_lines(log, LOG_MESSAGE_LINES_MAX, LOG_MESSAGE_BYTES_MAX).await;
        if !end.is_empty() {
            return end;
        }
    }
    status.message.clone()
}

fn read_start(path: &Path) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(MESSAGE_BYTES_MAX as u64).read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// CRI's nanoseconds since the epoch.
fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Every pod that the runtime holds, with a fingerprint of its sandboxes and containers.
pub(crate) async fn relist(cri: &skep_cri::Client) -> Result<BTreeMap<PodKey, u64>, skep_cri::Error> {
    let sandboxes = cri.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?.items;
    let containers = cri.list_containers(v1::ListContainersRequest::default()).await?.containers;
    let mut parts: BTreeMap<PodKey, Vec<(String, i32)>> = BTreeMap::new();
    for item in sandboxes {
        parts.entry(labelled(&item.labels)).or_default().push((item.id, item.state));
    }
    for item in containers {
        parts.entry(labelled(&item.labels)).or_default().push((item.id, item.state));
    }
    let fingerprint = |mut parts: Vec<(String, i32)>| {
        parts.sort_unstable();
        let mut hasher = DefaultHasher::new();
        parts.hash(&mut hasher);
        hasher.finish()
    };
    let ours = parts.into_iter().filter(|(key, _)| !key.uid.is_empty());
    Ok(ours.map(|(key, parts)| (key, fingerprint(parts))).collect())
}

fn labelled(labels: &HashMap<String, String>) -> PodKey {
    let text = |label: &str| labels.get(label).cloned().unwrap_or_default();
    PodKey { namespace: text(LABEL.pod_namespace), name: text(LABEL.pod_name), uid: text(LABEL.pod_uid) }
}
