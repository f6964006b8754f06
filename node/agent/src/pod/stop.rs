//! Stopping one container: `preStop`, then SIGTERM and what is left of its grace, then SIGKILL.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, Pod};
use skep_cri::v1;

use super::hook;
use super::plan::Why;
use crate::context::Shared;

/// However long `preStop` took, this much is left for the container itself.
const GRACE_MIN_S: i64 = 2;

/// What is to be stopped, and how long that may take.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) why: Why,
    pub(crate) grace_s: i64,
    pub(crate) ip: Option<IpAddr>,
}

/// Stops a container and waits for its end.
pub(crate) async fn stop(
    context: Shared,
    pod: Pod,
    container: Option<Container>,
    target: Target,
) -> Result<(), String> {
    let name = &target.name;
    let text = match &target.why {
        Why::PodEnds | Why::SandboxGone => format!("Stopping container {name}"),
        Why::SpecChanged => format!("Container {name} definition changed, will be restarted"),
        Why::Probe("Startup") => format!("Container {name} failed startup probe, will be restarted"),
        Why::Probe(_) => format!("Container {name} failed liveness probe, will be restarted"),
    };
    context.recorder.normal(&pod, Some(name), "Killing", text);
    let began = Instant::now();
    let pre_stop = container.as_ref().and_then(|container| container.lifecycle.as_ref()?.pre_stop.clone());
    if let (Some(container), Some(hook)) = (&container, pre_stop.filter(|_| target.grace_s > 0)) {
        let bound = Duration::from_secs(target.grace_s.unsigned_abs());
        let run = hook::run(&context, &pod, container, &target.id, target.ip, &hook);
        let failure = match tokio::time::timeout(bound, run).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some("PreStopHook not completed in grace period".to_owned()),
        };
        if let Some(error) = failure {
            let text = format!("PreStopHook failed: {error}");
            context.recorder.warning(&pod, Some(name), "FailedPreStopHook", text);
        }
    }
    let spent_s = i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
    let timeout = if target.grace_s == 0 { 0 } else { (target.grace_s - spent_s).max(GRACE_MIN_S) };
    let request = v1::StopContainerRequest { container_id: target.id.clone(), timeout };
    match context.cri.stop_container(request).await {
        Err(error) if !error.is_not_found() => Err(error.to_string()),
        _ => Ok(()),
    }
}
