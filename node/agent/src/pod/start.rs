//! Starting one container: image, environment, mounts, create, start, `postStart`.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodIP};
use skep_cri::v1;

use super::status::Failure;
use super::{PodKey, hook};
use crate::config::{ContainerInput, container_config, sandbox_config};
use crate::context::Shared;
use crate::env::{self, Sources};
use crate::{image, volume};

/// Where a container is to start.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) sandbox: String,
    pub(crate) sandbox_attempt: u32,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) attempt: u32,
    /// The id of the container whose processes this one is to see.
    pub(crate) target: Option<String>,
}

/// Starts a container. What goes wrong is told in events, and returned for the pod's status.
pub(crate) async fn start(
    context: Shared,
    mut pod: Pod,
    key: PodKey,
    container: Container,
    place: Place,
) -> Result<(), Failure> {
    see_address(&mut pod, &place, &context);
    let at = Some(container.name.as_str());
    let failed = |reason: &str, message: String| {
        let now = Timestamp::now();
        Failure { reason: reason.to_owned(), message, since: now, retry_at: now + super::plan::RETRY }
    };
    let refused = |reason: &str, message: String| {
        context.recorder.warning(&pod, at, "Failed", format!("Error: {message}"));
        failed(reason, message)
    };
    let sandbox = sandbox_config(&pod, &key, place.sandbox_attempt, &context.options, &context.host_dns);
    let image = image::ensure(&context, &pod, &container, &sandbox)
        .await
        .map_err(|missing| Failure { retry_at: missing.retry_at, ..failed(missing.reason, missing.message) })?;
    let config = config(&context, &pod, &key, &container, &place, image)
        .await
        .map_err(|message| refused("CreateContainerConfigError", message))?;
    let log_dir = context.options.log_dir(&key.namespace, &key.name, &key.uid).join(&container.name);
    std::fs::create_dir_all(&log_dir)
        .map_err(|error| refused("CreateContainerError", format!("log directory {}: {error}", log_dir.display())))?;
    let request = v1::CreateContainerRequest {
        pod_sandbox_id: place.sandbox.clone(),
        config: Some(config),
        sandbox_config: Some(sandbox),
    };
    let created = context.cri.create_container(request).await;
    let id = created.map_err(|error| refused("CreateContainerError", error.message()))?.container_id;
    context.recorder.normal(&pod, at, "Created", format!("Created container: {}", container.name));
    let started = context.cri.start_container(v1::StartContainerRequest { container_id: id.clone() }).await;
    started.map_err(|error| refused("RunContainerError", error.message()))?;
    context.recorder.normal(&pod, at, "Started", format!("Started container {}", container.name));
    let post_start = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone());
    if let Some(hook) = post_start {
        let run = hook::run(&context, &pod, &container, &id, place.ips.first().copied(), &hook).await;
        if let Err(error) = run {
            let text = format!("PostStartHook failed: {error}");
            context.recorder.warning(&pod, at, "FailedPostStartHook", text.clone());
            context.recorder.normal(&pod, at, "Killing", "FailedPostStartHook");
            let request = v1::StopContainerRequest { container_id: id, timeout: super::grace_s(&pod) };
            if let Err(error) = context.cri.stop_container(request).await {
                tracing::warn!(pod = %key, container = container.name, %error, "container not stopped");
            }
            return Err(failed("PostStartHookError", text));
        }
    }
    Ok(())
}

/// Lets the pod's containers see its address before the API does.
fn see_address(pod: &mut Pod, place: &Place, context: &Shared) {
    let own = if super::host_network(pod) { context.options.node_ips() } else { place.ips.clone() };
    let status = pod.status.get_or_insert_default();
    status.pod_ips = Some(own.iter().map(|ip| PodIP { ip: ip.to_string() }).collect());
}

async fn config(
    context: &Shared,
    pod: &Pod,
    key: &PodKey,
    container: &Container,
    place: &Place,
    image: image::Image,
) -> Result<v1::ContainerConfig, String> {
    let sources = volume::fetch(&context.client, &key.namespace, Sources::of(container)).await;
    let sources = sources.map_err(|error| error.to_string())?;
    let enabled = pod.spec.as_ref().and_then(|spec| spec.enable_service_links) != Some(false);
    let services = context.services.state();
    let links = env::service_links(services.iter().map(AsRef::as_ref), &key.namespace, enabled);
    let env = env::build(pod, container, &sources, &links, &context.node).map_err(|error| error.to_string())?;
    let (owned, own, vars) = (pod.clone(), container.clone(), env.clone());
    let (attempt, pod_dir) = (place.attempt, context.options.pod_dir(&key.uid));
    let mounts = tokio::task::spawn_blocking(move || {
        let input = volume::MountInput { pod: &owned, container: &own, attempt, pod_dir: &pod_dir, env: &vars };
        volume::container_mounts(&input)
    });
    let mounts = mounts.await.map_err(|error| error.to_string())?.map_err(|error| crate::chain(&error))?;
    let (target, host) = (place.target.clone(), context.host);
    let input =
        ContainerInput { key, attempt, target, image_ref: &image.id, image_user: image.user, env, mounts, host };
    container_config(pod, container, input).map_err(|error| error.to_string())
}
