//! A pod's phase, from the states of its containers.

use k8s_openapi::api::core::v1::{ContainerStatus, PodSpec, PodStatus};

use super::plan::is_sidecar;
use super::status::View;

#[derive(Default)]
struct Tally {
    running: usize,
    waiting: usize,
    stopped: usize,
    succeeded: usize,
}

/// The phase. A terminal one is never left again.
pub(crate) fn phase(
    view: &View<'_>,
    spec: &PodSpec,
    old: &PodStatus,
    inits: &[ContainerStatus],
    mains: &[ContainerStatus],
) -> String {
    if let Some(phase @ ("Failed" | "Succeeded")) = old.phase.as_deref() {
        return phase.to_owned();
    }
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    // What still runs is being ended: the phase becomes terminal when it has.
    let ended = view.stop && view.runtime.stopped();
    if ended && view.failed.is_some() {
        return "Failed".to_owned();
    }
    let init_failed =
        inits.iter().any(|status| !sidecar(spec, status) && exit_code(status).is_some_and(|code| code != 0));
    let init_pending = inits.iter().any(|status| pending_init(spec, status));
    if (init_pending || init_failed) && !main_ran(mains) {
        let over = ended || (init_failed && policy == "Never" && view.runtime.stopped());
        return if over { "Failed" } else { "Pending" }.to_owned();
    }
    let tally = tally(mains);
    let verdict = || if tally.stopped == tally.succeeded { "Succeeded" } else { "Failed" };
    let all_stopped = tally.running == 0 && tally.waiting == 0 && tally.stopped > 0;
    let phase = if ended {
        if all_stopped { verdict() } else { "Failed" }
    } else if tally.waiting > 0 {
        "Pending"
    } else if tally.running > 0 {
        "Running"
    } else if all_stopped && view.stop && view.pod.metadata.deletion_timestamp.is_none() && view.failed.is_none() {
        // Done by itself: only the sandbox, or a sidecar, is left to end.
        if view.runtime.containers.iter().any(|held| held.alive()) { "Running" } else { verdict() }
    } else if all_stopped {
        "Running"
    } else {
        "Pending"
    };
    phase.to_owned()
}

fn sidecar(spec: &PodSpec, status: &ContainerStatus) -> bool {
    spec.init_containers.iter().flatten().any(|init| init.name == status.name && is_sidecar(init))
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    status.state.as_ref()?.terminated.as_ref().map(|ended| ended.exit_code)
}

fn pending_init(spec: &PodSpec, status: &ContainerStatus) -> bool {
    if sidecar(spec, status) { status.started != Some(true) } else { exit_code(status) != Some(0) }
}

fn main_ran(mains: &[ContainerStatus]) -> bool {
    mains.iter().any(|status| status.container_id.is_some())
}

fn tally(mains: &[ContainerStatus]) -> Tally {
    let mut tally = Tally::default();
    for status in mains {
        let state = status.state.clone().unwrap_or_default();
        let last = status.last_state.clone().unwrap_or_default();
        if state.running.is_some() {
            tally.running += 1;
        } else if let Some(ended) = state.terminated {
            tally.stopped += 1;
            tally.succeeded += usize::from(ended.exit_code == 0);
        } else if last.terminated.is_some() {
            // It waits for its restart: not stopped for good, and not new either.
            tally.stopped += 1;
        } else {
            tally.waiting += 1;
        }
    }
    tally
}
