//! Making a pod's sandbox, and everything that must be there before it.

use std::fs;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use skep_cri::v1;

use super::{PodKey, host_network};
use crate::config::{hostname, hosts_file, pod_resources, sandbox_config};
use crate::context::Shared;
use crate::{limits, volume};

/// Makes the cgroup, the volumes, the log directory, and then the sandbox. Failures are told in events.
pub(crate) async fn create(context: Shared, pod: Pod, key: PodKey, attempt: u32) -> Result<(), String> {
    ensure_volumes(context.clone(), pod.clone(), key.clone()).await?;
    let failed = |error: String| {
        context.recorder.warning(
            &pod,
            None,
            "FailedCreatePodSandBox",
            format!("Failed to create pod sandbox: {error}"),
        );
        error
    };
    let spec = pod.spec.clone().unwrap_or_default();
    let log_dir = context.options.log_dir(&key.namespace, &key.name, &key.uid);
    fs::create_dir_all(&log_dir).map_err(|error| failed(format!("log directory {}: {error}", log_dir.display())))?;
    let (cgroups, cgroup) = (context.cgroups.clone(), context.options.pod_cgroup(&key.uid));
    let made = tokio::task::spawn_blocking(move || limits::ensure(&cgroups, &cgroup, &pod_resources(&spec))).await;
    made.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
    let config = sandbox_config(&pod, &key, attempt, &context.options, &context.host_dns);
    let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
    let answer = context.cri.run_pod_sandbox(request).await.map_err(|error| failed(error.to_string()))?;
    let request = v1::PodSandboxStatusRequest { pod_sandbox_id: answer.pod_sandbox_id, verbose: false };
    let status = context.cri.pod_sandbox_status(request).await.map_err(|error| failed(error.to_string()))?;
    let ip = status.status.and_then(|status| status.network).and_then(|network| network.ip.parse().ok());
    write_hosts(&context, &pod, &key, ip).map_err(|error| failed(format!("hosts file: {error}")))
}

fn write_hosts(context: &Shared, pod: &Pod, key: &PodKey, ip: Option<std::net::IpAddr>) -> std::io::Result<()> {
    let (host, full) = hostname(pod, &context.options.cluster_domain);
    let base = if host_network(pod) { Some(fs::read_to_string("/etc/hosts").unwrap_or_default()) } else { None };
    let ips: Vec<_> = ip.into_iter().collect();
    let text = hosts_file(pod, &ips, &host, full.as_deref(), base.as_deref());
    fs::write(context.options.pod_dir(&key.uid).join("etc-hosts"), text)
}

/// Makes the pod's volumes or brings them up to date.
pub(crate) async fn ensure_volumes(context: Shared, pod: Pod, key: PodKey) -> Result<(), String> {
    let failed = |error: String| {
        context.recorder.warning(&pod, None, "FailedMount", error.clone());
        error
    };
    let pod_dir = context.options.pod_dir(&key.uid);
    fs::create_dir_all(&pod_dir).map_err(|error| failed(format!("{}: {error}", pod_dir.display())))?;
    let sources = volume::fetch(&context.client, &key.namespace, volume::sources_of(&pod)).await;
    let sources = sources.map_err(|error| failed(error.to_string()))?;
    let tokens = volume::tokens(&context.client, &pod, &key, &pod_dir).await;
    let tokens = tokens.map_err(|error| failed(error.to_string()))?;
    let (owned, node) = (pod.clone(), context.node.clone());
    let made = tokio::task::spawn_blocking(move || volume::ensure(&owned, &pod_dir, &sources, &tokens, &node)).await;
    let made = made.map_err(|error| failed(error.to_string()))?;
    made.map_err(|error| failed(crate::chain(&error)))
}

/// When a failed sandbox is tried again.
pub(crate) fn retry_at() -> Timestamp {
    Timestamp::now() + super::plan::RETRY
}
