use jiff::ToSpan;
use serde_json::json;

use super::super::runtime::{Exit, Sandbox, State};
use super::*;

/// A made-up world, in which plans are asked for as text.
struct World {
    pod: Pod,
    runtime: Runtime,
    backoffs: Backoffs,
    retry_at: BTreeMap<String, Timestamp>,
    busy: BTreeSet<String>,
    unhealthy: BTreeMap<String, Unhealthy>,
    started: BTreeSet<String>,
    stop: bool,
    now: Timestamp,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn world(spec: serde_json::Value) -> World {
    World {
        pod: serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap(),
        runtime: Runtime::default(),
        backoffs: Backoffs::default(),
        retry_at: BTreeMap::new(),
        busy: BTreeSet::new(),
        unhealthy: BTreeMap::new(),
        started: BTreeSet::new(),
        stop: false,
        now: at(100),
    }
}

fn exited(code: i32) -> State {
    State::Exited(Exit { code, reason: String::new(), message: String::new(), started: at(0), finished: at(99) })
}

fn running() -> State {
    State::Running { started: at(0) }
}

impl World {
    fn sandbox(mut self, id: &str, attempt: u32, ready: bool) -> Self {
        self.runtime.sandboxes.push(Sandbox { id: id.to_owned(), attempt, ready, created: at(0), ips: Vec::new() });
        self.runtime.sort();
        self
    }

    /// Adds an instance `name.attempt`, newer than those before it, in the sandbox `s`.
    fn has(self, name: &str, attempt: u32, state: State) -> Self {
        self.has_in("s", name, attempt, state)
    }

    fn has_in(mut self, sandbox: &str, name: &str, attempt: u32, state: State) -> Self {
        let spec = crate::pod::container(&self.pod, name).unwrap();
        let created = at(0) + i64::try_from(self.runtime.containers.len()).unwrap().seconds();
        let id = format!("{name}.{attempt}");
        if matches!(state, State::Running { .. }) {
            self.started.insert(id.clone());
        }
        self.runtime.containers.push(Container {
            id,
            sandbox: sandbox.to_owned(),
            name: name.to_owned(),
            attempt,
            hash: spec_hash(&spec),
            image: String::new(),
            image_id: String::new(),
            created,
            state,
        });
        self.runtime.sort();
        self
    }

    fn plan(&self) -> Plan {
        plan(&Input {
            pod: &self.pod,
            runtime: &self.runtime,
            backoffs: &self.backoffs,
            retry_at: &self.retry_at,
            busy: &self.busy,
            unhealthy: &self.unhealthy,
            started: &self.started,
            stop: self.stop,
            now: self.now,
        })
    }

    /// The planned actions, a line each.
    fn lines(&self) -> Vec<String> {
        let line = |action: &Action| match action {
            Action::CreateSandbox { attempt } => format!("sandbox {attempt}"),
            Action::StopSandbox { id } => format!("stop sandbox {id}"),
            Action::RemoveSandbox { id } => format!("remove sandbox {id}"),
            Action::Start { name, attempt } => format!("start {name} {attempt}"),
            Action::Stop { id, why, .. } => format!("stop {id} {why:?}"),
            Action::Remove { id } => format!("remove {id}"),
        };
        self.plan().actions.iter().map(line).collect()
    }
}

fn two() -> serde_json::Value {
    json!({"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]})
}

fn with_inits(policy: &str) -> serde_json::Value {
    json!({
        "restartPolicy": policy,
        "initContainers": [{"name": "i"}, {"name": "side", "restartPolicy": "Always"}, {"name": "j"}],
        "containers": [{"name": "a"}]
    })
}

#[test]
fn begins_with_a_sandbox_and_then_starts_everything() {
    let world = world(two());
    assert_eq!(world.lines(), ["sandbox 0"]);
    let world = world.sandbox("s", 0, true);
    assert_eq!(world.lines(), ["start a 0", "start b 0"]);
    let mut world = world.has("a", 0, running());
    world.busy.insert("b".to_owned());
    assert!(world.lines().is_empty());
}

#[test]
fn failed_work_rests() {
    let mut world = world(two());
    world.retry_at.insert(SANDBOX.to_owned(), at(105));
    assert_eq!(world.plan(), Plan { actions: Vec::new(), wake_at: Some(at(105)) });
    world.now = at(105);
    assert_eq!(world.lines(), ["sandbox 0"]);
}

#[test]
fn init_containers_run_one_after_another() {
    let base = world(with_inits("Always")).sandbox("s", 0, true);
    assert_eq!(base.lines(), ["start i 0"]);
    let base = base.has("i", 0, exited(0));
    assert_eq!(base.lines(), ["start side 0"]);
    let mut base = base.has("side", 0, running());
    base.started.clear();
    assert!(base.lines().is_empty(), "the sidecar has not passed its startup probe");
    base.started.insert("side.0".to_owned());
    assert_eq!(base.lines(), ["start j 0"]);
    let base = base.has("j", 0, exited(0));
    assert_eq!(base.lines(), ["start a 0"]);
    let base = base.has("a", 0, running()).has("side", 1, exited(3));
    assert_eq!(base.lines(), ["start side 2"], "a sidecar restarts beside the main containers");
}

#[test]
fn failed_init_restarts_unless_never() {
    let always = world(with_inits("Always")).sandbox("s", 0, true).has("i", 0, exited(1));
    assert_eq!(always.lines(), ["start i 1"]);
    assert!(!finished(&always.pod, &always.runtime));
    let never = world(with_inits("Never")).sandbox("s", 0, true).has("i", 0, exited(1));
    assert!(never.lines().is_empty());
    assert!(finished(&never.pod, &never.runtime));
}

#[test]
fn restart_policy_decides_what_restarts() {
    for (policy, code, restarts) in
        [("Always", 0, true), ("Always", 1, true), ("OnFailure", 0, false), ("OnFailure", 1, true), ("Never", 1, false)]
    {
        let mut spec = two();
        spec["restartPolicy"] = json!(policy);
        let world = world(spec).sandbox("s", 0, true).has("a", 4, exited(code)).has("b", 0, running());
        let expected: &[&str] = if restarts { &["start a 5"] } else { &[] };
        assert_eq!(world.lines(), expected, "{policy} {code}");
        assert!(!finished(&world.pod, &world.runtime));
    }
}

#[test]
fn a_crash_loop_waits_for_its_backoff() {
    let mut world = world(two()).sandbox("s", 0, true).has("a", 1, exited(1)).has("b", 0, running());
    let container = crate::pod::containers(&world.pod).next().unwrap().clone();
    world.backoffs.step(&backoff_key(&container), at(50), at(50));
    assert_eq!(world.plan(), Plan { actions: Vec::new(), wake_at: Some(at(109)) });
    world.now = at(109);
    assert_eq!(world.lines(), ["start a 2"]);
}

#[test]
fn a_new_image_and_a_failed_probe_stop_the_container() {
    let mut world = world(two()).sandbox("s", 0, true).has("a", 0, running()).has("b", 0, running());
    world.unhealthy.insert("b.0".to_owned(), Unhealthy { probe: "Liveness", grace_s: Some(3) });
    world.pod.spec.as_mut().unwrap().containers[0].image = Some("other".to_owned());
    assert_eq!(world.lines(), ["stop a.0 SpecChanged", "stop b.0 Probe(\"Liveness\")"]);
}

#[test]
fn a_dead_sandbox_is_replaced_once_its_containers_have_ended() {
    let world = world(two()).sandbox("s", 0, false).has("a", 0, running());
    assert_eq!(world.lines(), ["stop a.0 SandboxGone"]);
    let mut world = world;
    world.runtime.containers[0].state = exited(137);
    assert_eq!(world.lines(), ["sandbox 1"]);
    let world = world.sandbox("t", 1, true);
    assert_eq!(world.lines(), ["start a 1", "start b 0"]);
}

#[test]
fn an_end_stops_sidecars_last_and_the_sandbox_after_them() {
    let mut world = world(with_inits("Always")).sandbox("s", 0, true).has("side", 0, running()).has("a", 0, running());
    world.stop = true;
    assert_eq!(world.lines(), ["stop a.0 PodEnds"]);
    world.runtime.containers.retain(|held| held.name != "a");
    assert_eq!(world.lines(), ["stop side.0 PodEnds"]);
    world.busy.insert("side".to_owned());
    assert!(world.lines().is_empty());
    world.busy.clear();
    world.runtime.containers.clear();
    assert_eq!(world.lines(), ["stop sandbox s"]);
}

#[test]
fn old_instances_are_removed() {
    let world = world(two())
        .sandbox("s", 1, true)
        .sandbox("old", 0, false)
        .has("a", 0, exited(1))
        .has("a", 1, exited(1))
        .has("a", 2, running())
        .has("b", 0, running());
    assert_eq!(world.lines(), ["remove a.0", "remove sandbox old"]);
}

#[test]
fn what_the_runtime_forgot_counts_on() {
    let mut world = world(two()).sandbox("s", 0, true);
    world.pod.status = serde_json::from_value(json!({"containerStatuses": [
        {"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 7, "containerID": "containerd://x"}
    ]}))
    .unwrap();
    assert_eq!(world.lines(), ["start a 8", "start b 0"]);
}

#[test]
fn what_is_added_runs_once_and_beside_all_else() {
    let spec = |added: serde_json::Value| {
        let mut spec = with_inits("Always");
        spec["ephemeralContainers"] = added;
        spec
    };
    let shell = json!([{"name": "shell", "image": "b", "targetContainerName": "a"}]);
    let mut world = world(spec(shell)).sandbox("s", 0, true).has("i", 0, running());
    assert_eq!(world.lines(), ["start shell 0"], "it does not wait for init containers");
    world = world.has("shell", 0, running());
    assert_eq!(world.lines(), Vec::<String>::new());
    world.stop = true;
    assert_eq!(world.lines(), ["stop shell.0 PodEnds", "stop i.0 PodEnds"]);
    let ended = super::tests::world(spec(json!([{"name": "shell", "image": "b"}])));
    let ended = ended.sandbox("s", 0, true).has("i", 0, running()).has("shell", 0, exited(1));
    assert_eq!(ended.lines(), Vec::<String>::new(), "it has ended for good");
    assert_eq!(crate::pod::target_of(&world.pod, "shell"), Some("a"));
}
