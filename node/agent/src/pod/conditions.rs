//! A pod's conditions: the agent's own five, and whatever others have set, kept as they are.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::is_sidecar;
use super::status::View;

/// The conditions that the agent writes.
pub(crate) const OWNED: [&str; 4] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];

struct Verdict {
    status: bool,
    reason: Option<String>,
    message: Option<String>,
}

impl Verdict {
    fn yes() -> Self {
        Self { status: true, reason: None, message: None }
    }

    fn no(reason: &str, message: Option<String>) -> Self {
        Self { status: false, reason: Some(reason.to_owned()), message }
    }
}

pub(crate) fn build(
    view: &View<'_>,
    spec: &PodSpec,
    old: &PodStatus,
    phase: &str,
    inits: &[ContainerStatus],
    mains: &[ContainerStatus],
) -> Vec<PodCondition> {
    let held = old.conditions.as_deref().unwrap_or_default();
    let containers_ready = containers_ready(spec, phase, inits, mains);
    let ready = ready(spec, held, phase, &containers_ready);
    let verdicts = [
        ("PodReadyToStartContainers", sandbox_ready(view)),
        ("Initialized", initialized(spec, phase, inits, mains)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
    ];
    let mut conditions: Vec<PodCondition> =
        verdicts.into_iter().map(|(type_, verdict)| condition(view, held, type_, verdict)).collect();
    conditions.extend(held.iter().filter(|other| !OWNED.contains(&other.type_.as_str())).cloned());
    conditions
}

fn condition(view: &View<'_>, held: &[PodCondition], type_: &str, verdict: Verdict) -> PodCondition {
    let status = if verdict.status { "True" } else { "False" };
    let before = held.iter().find(|condition| condition.type_ == type_ && condition.status == status);
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason,
        message: verdict.message,
        last_probe_time: None,
        last_transition_time: before
            .and_then(|condition| condition.last_transition_time.clone())
            .or(Some(Time(view.now))),
        observed_generation: view.pod.metadata.generation,
    }
}

fn sandbox_ready(view: &View<'_>) -> Verdict {
    let ready = view.runtime.ready_sandbox().is_some_and(|sandbox| view.host_network || !sandbox.ips.is_empty());
    Verdict { status: ready, reason: None, message: None }
}

fn initialized(spec: &PodSpec, phase: &str, inits: &[ContainerStatus], mains: &[ContainerStatus]) -> Verdict {
    if phase == "Succeeded" {
        return Verdict { reason: Some("PodCompleted".to_owned()), ..Verdict::yes() };
    }
    let main_ran = mains.iter().any(|status| status.container_id.is_some());
    let incomplete: Vec<&str> = inits
        .iter()
        .filter(|status| if sidecar(spec, &status.name) { status.started != Some(true) } else { !status.ready })
        .map(|status| status.name.as_str())
        .collect();
    if incomplete.is_empty() || main_ran {
        return Verdict::yes();
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    Verdict::no("ContainersNotInitialized", Some(message))
}

fn containers_ready(spec: &PodSpec, phase: &str, inits: &[ContainerStatus], mains: &[ContainerStatus]) -> Verdict {
    match phase {
        "Succeeded" => return Verdict::no("PodCompleted", None),
        "Failed" => return Verdict::no("PodFailed", None),
        _ => {}
    }
    let sidecars = inits.iter().filter(|status| sidecar(spec, &status.name));
    let unready: Vec<&str> =
        sidecars.chain(mains).filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    if unready.is_empty() {
        return Verdict::yes();
    }
    Verdict::no("ContainersNotReady", Some(format!("containers with unready status: [{}]", unready.join(" "))))
}

fn ready(spec: &PodSpec, held: &[PodCondition], phase: &str, containers: &Verdict) -> Verdict {
    if !containers.status {
        let reason = match phase {
            "Succeeded" => "PodCompleted",
            "Failed" => "PodFailed",
            _ => "ContainersNotReady",
        };
        return Verdict::no(reason, containers.message.clone());
    }
    let mut open = Vec::new();
    for gate in spec.readiness_gates.iter().flatten() {
        match held.iter().find(|condition| condition.type_ == gate.condition_type) {
            None => open.push(format!(
                "corresponding condition of pod readiness gate \"{}\" does not exist.",
                gate.condition_type
            )),
            Some(condition) if condition.status != "True" => {
                open.push(format!(
                    "the status of pod readiness gate \"{}\" is not \"True\", but {}",
                    gate.condition_type, condition.status
                ));
            }
            Some(_) => {}
        }
    }
    if open.is_empty() { Verdict::yes() } else { Verdict::no("ReadinessGatesNotReady", Some(open.join(", "))) }
}

fn sidecar(spec: &PodSpec, name: &str) -> bool {
    spec.init_containers.iter().flatten().any(|init| init.name == name && is_sidecar(init))
}
