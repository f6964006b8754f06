//! A pod's status: a pure function of its spec, its last status, and what the runtime and the probes say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    self, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::backoff::Backoffs;
use super::plan::{backoff_key, is_sidecar, restart_policy};
use super::runtime::{Container, Exit, Runtime, State};
use super::{conditions, phase};

/// Everything that a status is made from.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) runtime: &'a Runtime,
    /// Containers that are being started or stopped.
    pub(crate) busy: &'a BTreeSet<String>,
    pub(crate) backoffs: &'a Backoffs,
    /// What went wrong last, by container.
    pub(crate) failures: &'a BTreeMap<String, Failure>,
    /// Ids of containers that have passed their startup probe, or need not.
    pub(crate) started: &'a BTreeSet<String>,
    /// Ids of containers that pass their readiness probe, or need not.
    pub(crate) ready: &'a BTreeSet<String>,
    pub(crate) host_network: bool,
    pub(crate) node_ips: &'a [IpAddr],
    /// Reason and message with which the agent has failed the pod.
    pub(crate) failed: Option<&'a (String, String)>,
    /// The pod is at its end: every container that does not run has run for the last time.
    pub(crate) stop: bool,
    pub(crate) now: Timestamp,
}

/// Why a container cannot be created or started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// As `kubectl` shows it: `ErrImagePull`, `CreateContainerConfigError`, …
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) since: Timestamp,
    pub(crate) retry_at: Timestamp,
}

/// Builds the whole status.
pub(crate) fn build(view: &View<'_>) -> PodStatus {
    let Some(spec) = &view.pod.spec else { return PodStatus::default() };
    let old = view.pod.status.clone().unwrap_or_default();
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let init_statuses: Vec<_> = inits.iter().map(|container| container_status(view, spec, &old, container)).collect();
    let mut statuses: Vec<_> =
        spec.containers.iter().map(|container| container_status(view, spec, &old, container)).collect();
    statuses.sort_by(|a, b| a.name.cmp(&b.name));
    let added: Vec<_> =
        super::ephemeral(spec).iter().map(|container| container_status(view, spec, &old, container)).collect();
    let phase = phase::phase(view, spec, &old, &init_statuses, &statuses);
    let conditions = conditions::build(view, spec, &old, &phase, &init_statuses, &statuses);
    let pod_ips = pod_ips(view, &old);
    PodStatus {
        conditions: Some(conditions),
        container_statuses: Some(statuses),
        init_container_statuses: (!init_statuses.is_empty()).then_some(init_statuses),
        ephemeral_container_statuses: (!added.is_empty()).then_some(added),
        host_ip: view.node_ips.first().map(ToString::to_string),
        host_ips: Some(view.node_ips.iter().map(|ip| HostIP { ip: ip.to_string() }).collect()),
        pod_ip: pod_ips.first().map(ToString::to_string),
        pod_ips: (!pod_ips.is_empty()).then(|| pod_ips.iter().map(|ip| PodIP { ip: ip.to_string() }).collect()),
        start_time: old.start_time.or(Some(Time(view.now))),
        qos_class: old.qos_class.or_else(|| Some(crate::config::qos_class(spec).to_owned())),
        observed_generation: view.pod.metadata.generation,
        reason: view.failed.map(|(reason, _)| reason.clone()).or(old.reason),
        message: view.failed.map(|(_, message)| message.clone()).or(old.message),
        phase: Some(phase),
        ..PodStatus::default()
    }
}

fn pod_ips(view: &View<'_>, old: &PodStatus) -> Vec<String> {
    if view.host_network {
        let there = if view.runtime.sandboxes.is_empty() { &[][..] } else { view.node_ips };
        return there.iter().map(ToString::to_string).collect();
    }
    match view.runtime.ready_sandbox() {
        Some(sandbox) if !sandbox.ips.is_empty() => sandbox.ips.iter().map(ToString::to_string).collect(),
        // A pod that ended keeps the address that it had.
        _ => old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect(),
    }
}

fn container_status(view: &View<'_>, spec: &PodSpec, old: &PodStatus, container: &v1::Container) -> ContainerStatus {
    let name = &container.name;
    let is_init = spec.init_containers.iter().flatten().any(|init| init.name == *name);
    let is_added = spec.ephemeral_containers.iter().flatten().any(|added| added.name == *name);
    let known = match (is_init, is_added) {
        (true, _) => &old.init_container_statuses,
        (_, true) => &old.ephemeral_container_statuses,
        _ => &old.container_statuses,
    };
    let known = known.iter().flatten().find(|status| status.name == *name);
    let mut status = ContainerStatus {
        name: name.clone(),
        image: container.image.clone().unwrap_or_default(),
        started: Some(false),
        state: Some(waiting(view, spec, container)),
        last_state: Some(ContainerState::default()),
        ..ContainerStatus::default()
    };
    let instances: Vec<&Container> = view.runtime.instances(name).collect();
    // An instance that never ran tells nothing that the one before it does not.
    let ran = instances.iter().position(|held| !matches!(held.state, State::Created));
    let Some(held) = ran.map(|index| instances[index]) else {
        keep_known(view, known, &mut status);
        return status;
    };
    let previous = instances.iter().skip_while(|other| other.id != held.id).skip(1).find_map(|other| terminated(other));
    let previous = previous.or_else(|| known_last(known, held));
    status.restart_count = i32::try_from(held.attempt).unwrap_or(i32::MAX);
    status.container_id = Some(container_id(&held.id));
    status.image.clone_from(&held.image);
    status.image_id.clone_from(&held.image_id);
    match &held.state {
        State::Running { started } => {
            status.started = Some(view.started.contains(&held.id));
            let counts = !is_added && (!is_init || is_sidecar(container));
            status.ready = counts && view.ready.contains(&held.id);
            let running = ContainerStateRunning { started_at: Some(Time(*started)) };
            status.state = Some(ContainerState { running: Some(running), ..ContainerState::default() });
            status.last_state = Some(previous.unwrap_or_default());
        }
        State::Exited(exit) => {
            let terminated = terminated(held).unwrap_or_default();
            match restart_reason(view, spec, container, exit) {
                Some(reason) => {
                    status.state = Some(ContainerState { waiting: Some(reason), ..ContainerState::default() });
                    status.last_state = Some(terminated);
                }
                None => {
                    status.state = Some(terminated);
                    status.last_state = Some(previous.unwrap_or_default());
                    status.ready = is_init && !is_sidecar(container) && exit.code == 0;
                }
            }
        }
        State::Created | State::Unknown => status.last_state = Some(previous.unwrap_or_default()),
    }
    status
}

/// The runtime has no trace of the container: what the API knows of its past stands.
fn keep_known(view: &View<'_>, known: Option<&ContainerStatus>, status: &mut ContainerStatus) {
    let Some(known) = known else { return };
    status.restart_count = known.restart_count;
    status.last_state = Some(known.last_state.clone().unwrap_or_default());
    let ended = known.state.as_ref().is_some_and(|state| state.terminated.is_some());
    if known.container_id.is_some() && (ended || view.stop) {
        let lost = || ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some("The container could not be located when the pod was terminated".to_owned()),
            container_id: known.container_id.clone(),
            ..ContainerStateTerminated::default()
        };
        let terminated = known.state.as_ref().and_then(|state| state.terminated.clone()).unwrap_or_else(lost);
        *status = ContainerStatus {
            state: Some(ContainerState { terminated: Some(terminated), ..ContainerState::default() }),
            ready: ended && known.ready,
            started: Some(false),
            ..known.clone()
        };
    }
}

/// The last state that the API knows, for an instance whose predecessor the runtime has already removed.
fn known_last(known: Option<&ContainerStatus>, held: &Container) -> Option<ContainerState> {
    let known = known?;
    if known.container_id.as_deref() == Some(&container_id(&held.id)) {
        return known.last_state.clone();
    }
    known.state.as_ref().filter(|state| state.terminated.is_some()).or(known.last_state.as_ref()).cloned()
}

fn terminated(held: &Container) -> Option<ContainerState> {
    let exit = held.exit()?;
    let terminated = ContainerStateTerminated {
        container_id: Some(container_id(&held.id)),
        exit_code: exit.code,
        reason: Some(exit.reason.clone()),
        message: Some(exit.message.clone()).filter(|message| !message.is_empty()),
        started_at: Some(Time(exit.started)),
        finished_at: Some(Time(exit.finished)),
        signal: None,
    };
    Some(ContainerState { terminated: Some(terminated), ..ContainerState::default() })
}

/// Why an ended container waits for its restart; `None` if it does not, or restarts this instant.
fn restart_reason(
    view: &View<'_>,
    spec: &PodSpec,
    container: &v1::Container,
    exit: &Exit,
) -> Option<ContainerStateWaiting> {
    if view.stop {
        return None;
    }
    if let Some(failure) = view.failures.get(&container.name) {
        return Some(waiting_state(&failure.reason, &failure.message));
    }
    if view.busy.contains(&container.name) {
        return None;
    }
    if spec.ephemeral_containers.iter().flatten().any(|added| added.name == container.name) {
        return None;
    }
    let policy = restart_policy(spec, container);
    if policy == super::plan::Restart::Never || (exit.code == 0 && policy == super::plan::Restart::OnFailure) {
        return None;
    }
    let (delay, _) = view.backoffs.waiting(&backoff_key(container), exit.finished, view.now)?;
    let pod = &view.pod.metadata;
    let text = format!(
        "back-off {} restarting failed container={} pod={}_{}({})",
        go_duration(delay.as_secs()),
        container.name,
        pod.name.as_deref().unwrap_or_default(),
        pod.namespace.as_deref().unwrap_or_default(),
        pod.uid.as_deref().unwrap_or_default(),
    );
    Some(waiting_state("CrashLoopBackOff", &text))
}

/// The state of a container that has no instance yet.
fn waiting(view: &View<'_>, spec: &PodSpec, container: &v1::Container) -> ContainerState {
    let has_inits = spec.init_containers.as_ref().is_some_and(|inits| !inits.is_empty());
    let waiting = match view.failures.get(&container.name) {
        Some(failure) => waiting_state(&failure.reason, &failure.message),
        None if has_inits => waiting_state("PodInitializing", ""),
        None => waiting_state("ContainerCreating", ""),
    };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn waiting_state(reason: &str, message: &str) -> ContainerStateWaiting {
    ContainerStateWaiting {
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()).filter(|message| !message.is_empty()),
    }
}

/// A container's id as the API spells it.
pub(crate) fn container_id(id: &str) -> String {
    format!("containerd://{id}")
}

/// Seconds as Go prints a duration: `10s`, `2m40s`, `5m0s`.
pub(crate) fn go_duration(seconds: i64) -> String {
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
