//! What to do next for a pod: a pure function of its spec, what the runtime holds, and what failed lately.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{self, Pod, PodSpec};

use super::backoff::Backoffs;
use super::runtime::{Container, Runtime};

/// The key under which work on the sandbox is busy or failing. No container can have this name.
pub(crate) const SANDBOX: &str = "/sandbox";

/// How long a failed piece of work rests before it is tried again.
pub(crate) const RETRY: SignedDuration = SignedDuration::from_secs(5);

/// Everything that a plan is made from.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) runtime: &'a Runtime,
    pub(crate) backoffs: &'a Backoffs,
    /// When work that failed may be tried again, by container or [`SANDBOX`].
    pub(crate) retry_at: &'a BTreeMap<String, Timestamp>,
    /// Work under way, by container or [`SANDBOX`].
    pub(crate) busy: &'a BTreeSet<String>,
    /// Ids of containers that failed a probe, with why and the grace that the probe asks for.
    pub(crate) unhealthy: &'a BTreeMap<String, Unhealthy>,
    /// Ids of running containers whose startup probe has passed (or that have none).
    pub(crate) started: &'a BTreeSet<String>,
    /// The pod must end: it is being deleted, has failed, or is done.
    pub(crate) stop: bool,
    pub(crate) now: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unhealthy {
    pub(crate) probe: &'static str,
    pub(crate) grace_s: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    CreateSandbox { attempt: u32 },
    StopSandbox { id: String },
    RemoveSandbox { id: String },
    Start { name: String, attempt: u32 },
    Stop { id: String, name: String, why: Why, grace_s: Option<i64> },
    Remove { id: String },
}

/// Why a container is stopped. Tells the event's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    PodEnds,
    SpecChanged,
    SandboxGone,
    Probe(&'static str),
}

/// The actions that can be taken now, and when to look again if nothing happens before.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) wake_at: Option<Timestamp>,
}

impl Plan {
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |held| held.min(at)));
    }
}

/// How a pod's containers restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// The policy that holds for a container: its own where it has one, else the pod's.
pub(crate) fn restart_policy(spec: &PodSpec, container: &v1::Container) -> Restart {
    match container.restart_policy.as_deref().or(spec.restart_policy.as_deref()) {
        Some("Never") => Restart::Never,
        Some("OnFailure") => Restart::OnFailure,
        _ => Restart::Always,
    }
}

/// The policy of an init container, for which the pod's `Always` means until it succeeds.
fn init_restart_policy(spec: &PodSpec, container: &v1::Container) -> Restart {
    match restart_policy(spec, container) {
        Restart::Always if !is_sidecar(container) => Restart::OnFailure,
        policy => policy,
    }
}

/// An init container that keeps running beside the main ones.
pub(crate) fn is_sidecar(container: &v1::Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The hash that tells whether a running container still is what its spec says. As upstream, only name and image count.
pub(crate) fn spec_hash(container: &v1::Container) -> String {
    let image = container.image.as_deref().unwrap_or_default();
    let hash = [container.name.as_bytes(), b"\0", image.as_bytes()]
        .concat()
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("{hash:x}")
}

/// The back-off key of a container: another image starts over.
pub(crate) fn backoff_key(container: &v1::Container) -> String {
    format!("{}/{}", container.name, spec_hash(container))
}

/// Whether the pod has come to its end by itself: no container runs, and none will again.
pub(crate) fn finished(pod: &Pod, runtime: &Runtime) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let over = |container: &v1::Container, policy: Restart| {
        runtime.latest(&container.name).and_then(Container::exit).is_some_and(|exit| !restarts(policy, exit.code))
    };
    let mains_over = spec.containers.iter().all(|container| over(container, restart_policy(spec, container)));
    let init_failed = inits.iter().any(|container| {
        let failed = runtime.latest(&container.name).and_then(Container::exit).is_some_and(|exit| exit.code != 0);
        failed && over(container, init_restart_policy(spec, container))
    });
    (mains_over && !spec.containers.is_empty()) || init_failed
}

fn restarts(policy: Restart, code: i32) -> bool {
    match policy {
        Restart::Always => true,
        Restart::OnFailure => code != 0,
        Restart::Never => false,
    }
}

/// Plans one step for a pod.
pub(crate) fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = &input.pod.spec else { return plan };
    plan_garbage(input, &mut plan);
    if input.stop {
        plan_stop(input, spec, &Why::PodEnds, &mut plan);
        return plan;
    }
    let Some(sandbox) = input.runtime.ready_sandbox() else {
        plan_sandbox(input, spec, &mut plan);
        return plan;
    };
    let planner = Planner { input, spec, sandbox: &sandbox.id };
    for container in super::ephemeral(spec) {
        planner.plan_ephemeral(&container, &mut plan);
    }
    if planner.plan_init(&mut plan) {
        for container in &spec.containers {
            planner.plan_container(container, restart_policy(spec, container), &mut plan);
        }
    }
    plan
}

/// Stops what runs, sidecars after the others and in reverse, and the sandboxes last.
fn plan_stop(input: &Input<'_>, spec: &PodSpec, why: &Why, plan: &mut Plan) {
    let sidecars: Vec<&str> = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| is_sidecar(container))
        .map(|container| container.name.as_str())
        .collect();
    let (late, early): (Vec<_>, Vec<_>) = input
        .runtime
        .containers
        .iter()
        .filter(|container| container.alive())
        .partition(|container| sidecars.contains(&container.name.as_str()));
    let next = if early.is_empty() {
        let rank = |container: &&&Container| sidecars.iter().position(|name| *name == container.name);
        late.iter().max_by_key(rank).into_iter().copied().collect()
    } else {
        early
    };
    for container in &next {
        if !input.busy.contains(&container.name) {
            plan.actions.push(Action::Stop {
                id: container.id.clone(),
                name: container.name.clone(),
                why: why.clone(),
                grace_s: None,
            });
        }
    }
    if next.is_empty() && input.busy.is_empty() {
        let ready = input.runtime.sandboxes.iter().filter(|sandbox| sandbox.ready);
        plan.actions.extend(ready.map(|sandbox| Action::StopSandbox { id: sandbox.id.clone() }));
    }
}

/// The sandbox is missing or dead: what lived in it is stopped, and a new one made if anything is left to run.
fn plan_sandbox(input: &Input<'_>, spec: &PodSpec, plan: &mut Plan) {
    if input.runtime.containers.iter().any(Container::alive) {
        plan_stop(input, spec, &Why::SandboxGone, plan);
        return;
    }
    if input.busy.contains(SANDBOX) {
        return;
    }
    let never_ran = input.runtime.containers.iter().all(|container| container.exit().is_none());
    if spec.restart_policy.as_deref() == Some("Never") && !never_ran {
        return;
    }
    if let Some(at) = input.retry_at.get(SANDBOX).filter(|at| **at > input.now) {
        plan.wake(*at);
        return;
    }
    let attempt = input.runtime.sandboxes.first().map_or(0, |sandbox| sandbox.attempt + 1);
    plan.actions.push(Action::CreateSandbox { attempt });
}

/// Removes dead instances that nobody asks for any more: per container the newest and the newest dead one stay.
fn plan_garbage(input: &Input<'_>, plan: &mut Plan) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for container in &input.runtime.containers {
        let newer = seen.entry(&container.name).or_default();
        *newer += 1;
        let kept = if matches!(container.state, super::runtime::State::Created) { 1 } else { 2 };
        if *newer > kept && !container.alive() && !input.busy.contains(&container.name) {
            plan.actions.push(Action::Remove { id: container.id.clone() });
        }
    }
    let used = |id: &str| input.runtime.containers.iter().any(|container| container.sandbox == id);
    for sandbox in input.runtime.sandboxes.iter().skip(1).filter(|_| !input.busy.contains(SANDBOX)) {
        if sandbox.ready {
            plan.actions.push(Action::StopSandbox { id: sandbox.id.clone() });
        } else if !used(&sandbox.id) {
            plan.actions.push(Action::RemoveSandbox { id: sandbox.id.clone() });
        }
    }
}

struct Planner<'a> {
    input: &'a Input<'a>,
    spec: &'a PodSpec,
    sandbox: &'a str,
}

impl Planner<'_> {
    /// Brings the init containers on their way, in order. True once the main ones may run.
    fn plan_init(&self, plan: &mut Plan) -> bool {
        let inits = self.spec.init_containers.as_deref().unwrap_or_default();
        let latest = |name| self.input.runtime.latest_in(self.sandbox, name);
        let initialized = self.spec.containers.iter().any(|container| latest(&container.name).is_some());
        for container in inits {
            let instance = latest(&container.name);
            let done = match instance {
                Some(held) if is_sidecar(container) => held.running() && self.input.started.contains(&held.id),
                Some(held) => held.exit().is_some_and(|exit| exit.code == 0),
                None => false,
            };
            if is_sidecar(container) {
                self.plan_container(container, Restart::Always, plan);
            } else if !done && !initialized {
                self.plan_container(container, init_restart_policy(self.spec, container), plan);
            }
            if !done && !initialized {
                return false;
            }
        }
        true
    }

    /// What was added to look into the pod runs once, and does not wait for the init containers.
    fn plan_ephemeral(&self, container: &v1::Container, plan: &mut Plan) {
        let status = self.input.pod.status.as_ref().and_then(|status| status.ephemeral_container_statuses.as_ref());
        let ran = status.into_iter().flatten().any(|held| held.name == container.name && held.container_id.is_some());
        let known = ran || self.input.runtime.latest(&container.name).is_some();
        if !known && !self.input.busy.contains(&container.name) {
            self.plan_start(container, plan);
        }
    }

    fn plan_container(&self, container: &v1::Container, policy: Restart, plan: &mut Plan) {
        let input = self.input;
        if input.busy.contains(&container.name) {
            return;
        }
        let Some(held) = input.runtime.latest_in(self.sandbox, &container.name) else {
            self.plan_start(container, plan);
            return;
        };
        let changed = held.hash != spec_hash(container);
        if held.alive() {
            let unhealthy = input.unhealthy.get(&held.id);
            let why = match unhealthy {
                _ if changed => Why::SpecChanged,
                Some(unhealthy) => Why::Probe(unhealthy.probe),
                None if held.running() => return,
                None => Why::PodEnds,
            };
            let grace_s = unhealthy.and_then(|unhealthy| unhealthy.grace_s);
            plan.actions.push(Action::Stop { id: held.id.clone(), name: held.name.clone(), why, grace_s });
            return;
        }
        match held.exit() {
            Some(exit) if !changed && !restarts(policy, exit.code) => {}
            Some(exit) => {
                let waiting = input.backoffs.waiting(&backoff_key(container), exit.finished, input.now);
                match waiting.filter(|_| !changed) {
                    Some((_, end)) => plan.wake(end),
                    None => self.plan_start(container, plan),
                }
            }
            None => self.plan_start(container, plan),
        }
    }

    fn plan_start(&self, container: &v1::Container, plan: &mut Plan) {
        if let Some(at) = self.input.retry_at.get(&container.name).filter(|at| **at > self.input.now) {
            plan.wake(*at);
            return;
        }
        let attempt = next_attempt(self.input.pod, self.input.runtime, &container.name);
        plan.actions.push(Action::Start { name: container.name.clone(), attempt });
    }
}

/// The restart count of the next instance. The API's count holds where the runtime has forgotten.
pub(crate) fn next_attempt(pod: &Pod, runtime: &Runtime, name: &str) -> u32 {
    if let Some(held) = runtime.latest(name) {
        return held.attempt + 1;
    }
    let status = pod.status.as_ref();
    let statuses = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
    let inits = status.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten();
    statuses
        .chain(inits)
        .find(|status| status.name == name && status.container_id.is_some())
        .map_or(0, |status| u32::try_from(status.restart_count).unwrap_or(0) + 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
