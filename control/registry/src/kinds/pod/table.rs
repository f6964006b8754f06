//! What `kubectl get pods` prints.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::strategy::{Cell, Column};
use crate::table::{self, or_none, since};

pub(super) const COLUMNS: &[Column] = &[
    table::NAME,
    table::text("Ready", "The aggregate readiness state of this pod for accepting traffic."),
    table::text("Status", "The aggregate status of the containers in this pod."),
    table::text("Restarts", "How often containers of this pod were restarted, and when last."),
    table::AGE,
    table::wide("IP", "The pod's first address."),
    table::wide("Node", "The node that the pod is bound to."),
    table::wide("Nominated Node", "The node on which room is being made for the pod."),
    table::wide("Readiness Gates", "How many of the pod's readiness gates hold."),
];

pub(super) fn row(pod: &Pod, now: Timestamp) -> Vec<Cell> {
    let (spec, status) = (pod.spec.clone().unwrap_or_default(), pod.status.clone().unwrap_or_default());
    let summary = Summary::of(pod, &spec, &status);
    let restarts = match &summary.last_restart {
        Some(time) if summary.restarts != 0 => format!("{} ({} ago)", summary.restarts, since(Some(time), now)),
        _ => summary.restarts.to_string(),
    };
    let ip = status.pod_ips.iter().flatten().next().map(|ip| ip.ip.as_str()).or(status.pod_ip.as_deref());
    vec![
        table::name(&pod.metadata),
        Cell::from(format!("{}/{}", summary.ready, summary.total)),
        Cell::from(summary.reason),
        Cell::from(restarts),
        table::age(&pod.metadata, now),
        or_none(ip),
        or_none(spec.node_name.as_deref()),
        or_none(status.nominated_node_name.as_deref()),
        Cell::from(readiness_gates(&spec, &status)),
    ]
}

fn readiness_gates(spec: &PodSpec, status: &PodStatus) -> String {
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let held = gates.iter().filter(|gate| condition_is_true(status, &gate.condition_type)).count();
    format!("{held}/{}", gates.len())
}

fn condition_is_true(status: &PodStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == kind && condition.status == "True")
}

/// What the containers of a pod add up to.
#[derive(Default)]
struct Summary {
    total: usize,
    ready: usize,
    restarts: i32,
    last_restart: Option<Time>,
    reason: String,
}

impl Summary {
    fn of(pod: &Pod, spec: &PodSpec, status: &PodStatus) -> Self {
        let phase = status.phase.as_deref().unwrap_or_default();
        let mut summary = Self { total: spec.containers.len(), ..Self::default() };
        summary.reason = status.reason.as_deref().filter(|r| !r.is_empty()).unwrap_or(phase).to_owned();
        let gated = |condition: &&k8s_openapi::api::core::v1::PodCondition| {
            condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("SchedulingGated")
        };
        if status.conditions.iter().flatten().find(gated).is_some() {
            summary.reason = "SchedulingGated".to_owned();
        }
        let initializing = summary.add_init_containers(spec, status);
        if !initializing || condition_is_true(status, "Initialized") {
            summary.add_containers(spec, status);
        }
        if pod.metadata.deletion_timestamp.is_some() {
            if status.reason.as_deref() == Some("NodeLost") {
                summary.reason = "Unknown".to_owned();
            } else if !matches!(phase, "Failed" | "Succeeded") {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    /// Whether an init container has yet to finish.
    fn add_init_containers(&mut self, spec: &PodSpec, status: &PodStatus) -> bool {
        let containers = spec.init_containers.as_deref().unwrap_or_default();
        self.total += containers.iter().filter(|container| is_sidecar(container)).count();
        for (i, container) in status.init_container_statuses.iter().flatten().enumerate() {
            self.add_restarts(container);
            let state = container.state.clone().unwrap_or_default();
            let terminated = state.terminated.as_ref();
            if terminated.is_some_and(|t| t.exit_code == 0) {
                continue;
            }
            if sidecar_named(containers, &container.name) && container.started == Some(true) {
                self.ready += usize::from(container.ready);
                continue;
            }
            let waiting = state.waiting.and_then(|w| w.reason).filter(|r| !r.is_empty() && r != "PodInitializing");
            self.reason = match (terminated, waiting) {
                (Some(terminated), _) => format!("Init:{}", end_reason(terminated)),
                (None, Some(reason)) => format!("Init:{reason}"),
                (None, None) => format!("Init:{i}/{}", containers.len()),
            };
            return true;
        }
        false
    }

    fn add_containers(&mut self, spec: &PodSpec, status: &PodStatus) {
        let containers = spec.init_containers.as_deref().unwrap_or_default();
        // Of the init containers only the sidecars still count.
        (self.restarts, self.last_restart) = (0, None);
        let init = status.init_container_statuses.iter().flatten();
        for sidecar in init.filter(|status| sidecar_named(containers, &status.name)) {
            self.add_restarts(sidecar);
        }
        let mut running = false;
        for container in status.container_statuses.iter().flatten().rev() {
            self.add_restarts(container);
            let state = container.state.clone().unwrap_or_default();
            if let Some(reason) = state.waiting.and_then(|w| w.reason).filter(|r| !r.is_empty()) {
                self.reason = reason;
            } else if let Some(terminated) = &state.terminated {
                self.reason = end_reason(terminated);
            } else if container.ready && state.running.is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            self.reason = if condition_is_true(status, "Ready") { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn add_restarts(&mut self, container: &ContainerStatus) {
        self.restarts = self.restarts.saturating_add(container.restart_count);
        let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        if let Some(time) = ended.and_then(|ended| ended.finished_at.as_ref()) {
            self.last_restart = self.last_restart.take().max(Some(time.clone()));
        }
    }
}

fn end_reason(terminated: &k8s_openapi::api::core::v1::ContainerStateTerminated) -> String {
    match (terminated.reason.as_deref().unwrap_or_default(), terminated.signal.unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", terminated.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// An init container that runs beside the others.
fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn sidecar_named(containers: &[Container], name: &str) -> bool {
    containers.iter().any(|container| container.name == name && is_sidecar(container))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cells(spec: Value, status: Value, deleted: bool) -> String {
        let mut pod = json!({"metadata": {"name": "p", "creationTimestamp": "2024-01-01T00:00:00Z"}});
        pod["spec"] = spec;
        pod["status"] = status;
        if deleted {
            pod["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:30Z");
        }
        let now = "2024-01-01T00:01:00Z".parse().unwrap();
        let row = row(&crate::decode::decode(pod).unwrap().0, now);
        row.iter().map(|cell| cell.as_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    fn container(state: Value, ready: bool) -> Value {
        json!({"name": "c", "ready": ready, "restartCount": 0, "image": "", "imageID": "", "state": state})
    }

    #[test]
    fn rows_read_as_kubectl_prints_them() {
        let spec = || json!({"containers": [{"name": "c"}], "nodeName": "n"});
        let running = || json!({"running": {}});
        assert_eq!(cells(spec(), json!({"phase": "Pending"}), false), "p 0/1 Pending 0 60s <none> n <none> <none>");
        let status =
            json!({"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [container(running(), true)]});
        assert_eq!(cells(spec(), status.clone(), false), "p 1/1 Running 0 60s 10.0.0.1 n <none> <none>");
        assert!(cells(spec(), status, true).starts_with("p 1/1 Terminating 0"));

        let mut crashing = container(json!({"waiting": {"reason": "CrashLoopBackOff"}}), false);
        crashing["restartCount"] = json!(1);
        crashing["lastState"] = json!({"terminated": {"exitCode": 1, "finishedAt": "2024-01-01T00:00:55Z"}});
        let status = json!({"phase": "Running", "containerStatuses": [crashing]});
        assert!(cells(spec(), status, false).starts_with("p 0/1 CrashLoopBackOff 1 (5s ago) 60s"));

        let done = container(json!({"terminated": {"exitCode": 0, "reason": "Completed"}}), false);
        let status = json!({"phase": "Succeeded", "containerStatuses": [done]});
        assert!(cells(spec(), status.clone(), false).starts_with("p 0/1 Completed 0"));
        assert!(cells(spec(), status, true).starts_with("p 0/1 Completed 0"));
        let failed = container(json!({"terminated": {"exitCode": 3}}), false);
        assert!(cells(spec(), json!({"containerStatuses": [failed]}), false).starts_with("p 0/1 ExitCode:3"));
    }

    #[test]
    fn init_containers_show_their_progress() {
        let spec = || json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]});
        let init = |state: Value| {
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": state}]})
        };
        assert!(cells(spec(), init(json!({"running": {}})), false).starts_with("p 0/1 Init:0/1 0"));
        let state = json!({"waiting": {"reason": "ErrImagePull"}});
        assert!(cells(spec(), init(state), false).starts_with("p 0/1 Init:ErrImagePull 0"));
        let state = json!({"terminated": {"exitCode": 2, "reason": "Error"}});
        assert!(cells(spec(), init(state), false).starts_with("p 0/1 Init:Error 0"));
    }
}
