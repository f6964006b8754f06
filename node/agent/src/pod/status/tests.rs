use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use super::super::plan;
use super::super::runtime::Sandbox;
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

struct World {
    pod: Pod,
    runtime: Runtime,
    backoffs: Backoffs,
    failures: BTreeMap<String, Failure>,
    ready: BTreeSet<String>,
    failed: Option<(String, String)>,
    stop: bool,
}

fn world(spec: Value) -> World {
    World {
        pod: serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 2}, "spec": spec
        }))
        .unwrap(),
        runtime: Runtime::default(),
        backoffs: Backoffs::default(),
        failures: BTreeMap::new(),
        ready: BTreeSet::new(),
        failed: None,
        stop: false,
    }
}

impl World {
    fn sandbox(mut self, ready: bool) -> Self {
        let ips = vec!["10.42.0.5".parse().unwrap()];
        self.runtime.sandboxes = vec![Sandbox { id: "s".to_owned(), attempt: 0, ready, created: at(0), ips }];
        self
    }

    fn has(mut self, name: &str, attempt: u32, state: State) -> Self {
        let created = at(i64::try_from(self.runtime.containers.len()).unwrap());
        self.runtime.containers.push(Container {
            id: format!("{name}.{attempt}"),
            sandbox: "s".to_owned(),
            name: name.to_owned(),
            attempt,
            hash: String::new(),
            image: "image".to_owned(),
            image_id: "sha256:1".to_owned(),
            created,
            state,
        });
        self.runtime.sort();
        self
    }

    fn build(&self) -> PodStatus {
        let ids: BTreeSet<String> = self.runtime.containers.iter().map(|held| held.id.clone()).collect();
        build(&View {
            pod: &self.pod,
            runtime: &self.runtime,
            busy: &BTreeSet::new(),
            backoffs: &self.backoffs,
            failures: &self.failures,
            started: &ids,
            ready: &self.ready,
            host_network: false,
            node_ips: &[IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))],
            failed: self.failed.as_ref(),
            stop: self.stop,
            now: at(100),
        })
    }

    /// The phase, and each condition as `Type=Status`.
    fn summary(&self) -> String {
        let status = self.build();
        let conditions = status.conditions.unwrap();
        let conditions: Vec<String> =
            conditions.iter().map(|condition| format!("{}={}", condition.type_, &condition.status[..1])).collect();
        format!("{} {}", status.phase.unwrap(), conditions.join(" "))
    }
}

fn exited(code: i32) -> State {
    let reason = if code == 0 { "Completed" } else { "Error" };
    State::Exited(Exit { code, reason: reason.to_owned(), message: String::new(), started: at(1), finished: at(99) })
}

fn running() -> State {
    State::Running { started: at(1) }
}

fn one() -> Value {
    json!({"containers": [{"name": "a", "image": "i"}]})
}

#[test]
fn a_pod_on_its_way_to_ready() {
    let mut world = world(one());
    assert_eq!(world.summary(), "Pending PodReadyToStartContainers=F Initialized=T Ready=F ContainersReady=F");
    let waiting = world.build().container_statuses.unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("ContainerCreating"));
    world = world.sandbox(true).has("a", 0, running());
    assert_eq!(world.summary(), "Running PodReadyToStartContainers=T Initialized=T Ready=F ContainersReady=F");
    world.ready.insert("a.0".to_owned());
    let status = world.build();
    assert_eq!(status.pod_ip.as_deref(), Some("10.42.0.5"));
    assert_eq!(status.observed_generation, Some(2));
    assert_eq!(world.summary(), "Running PodReadyToStartContainers=T Initialized=T Ready=T ContainersReady=T");
}

#[test]
fn transition_times_move_only_with_their_condition() {
    let mut world = world(one()).sandbox(true).has("a", 0, running());
    world.pod.status = Some(PodStatus {
        start_time: Some(Time(at(5))),
        conditions: serde_json::from_value(json!([
            {"type": "Ready", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z"},
            {"type": "ContainersReady", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"},
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
        ]))
        .unwrap(),
        ..PodStatus::default()
    });
    let status = world.build();
    assert_eq!(status.start_time, Some(Time(at(5))));
    let old: Time = serde_json::from_value(json!("2020-01-01T00:00:00Z")).unwrap();
    let time = |type_: &str| {
        let held = status.conditions.iter().flatten().find(|condition| condition.type_ == type_).unwrap();
        held.last_transition_time.clone().unwrap()
    };
    assert_eq!(time("Ready"), old);
    assert_eq!(time("ContainersReady"), Time(at(100)));
    assert_eq!(time("PodScheduled"), old);
}

#[test]
fn a_crash_loop_shows_its_backoff_and_its_last_exit() {
    let mut world = world(one()).sandbox(true).has("a", 0, exited(2)).has("a", 1, exited(3));
    let direct = world.build().container_statuses.unwrap().remove(0);
    assert_eq!(direct.state.unwrap().terminated.unwrap().exit_code, 3);
    assert_eq!(direct.last_state.unwrap().terminated.unwrap().exit_code, 2);
    let container = world.pod.spec.as_ref().unwrap().containers[0].clone();
    world.backoffs.step(&plan::backoff_key(&container), at(50), at(50));
    let status = world.build().container_statuses.unwrap().remove(0);
    let waiting = status.state.unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(waiting.message.as_deref(), Some("back-off 10s restarting failed container=a pod=p_ns(u)"));
    assert_eq!(status.last_state.unwrap().terminated.unwrap().exit_code, 3);
    assert_eq!(status.restart_count, 1);
    assert!(world.summary().starts_with("Running "));
}

#[test]
fn a_missing_image_shows_its_reason() {
    let mut world = world(one()).sandbox(true);
    let failure = Failure {
        reason: "ErrImagePull".to_owned(),
        message: "not found".to_owned(),
        since: at(99),
        retry_at: at(109),
    };
    world.failures.insert("a".to_owned(), failure);
    let waiting = world.build().container_statuses.unwrap().remove(0).state.unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("ErrImagePull"));
    assert!(world.summary().starts_with("Pending "));
}

#[test]
fn phases_at_the_end() {
    let two = |policy: &str| json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]});
    for (policy, codes, phase) in
        [("Never", (0, 0), "Succeeded"), ("OnFailure", (0, 0), "Succeeded"), ("Never", (0, 1), "Failed")]
    {
        let mut world = world(two(policy)).sandbox(false).has("a", 0, exited(codes.0)).has("b", 0, exited(codes.1));
        world.stop = true;
        assert_eq!(world.build().phase.as_deref(), Some(phase), "{policy} {codes:?}");
    }
    let mut deleted = world(two("Always")).sandbox(true).has("a", 0, exited(0)).has("b", 0, running());
    deleted.stop = true;
    assert_eq!(deleted.build().phase.as_deref(), Some("Running"));
    let mut failed = world(one()).sandbox(false).has("a", 0, exited(0));
    failed.stop = true;
    failed.failed = Some(("DeadlineExceeded".to_owned(), "too long".to_owned()));
    let status = failed.build();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("DeadlineExceeded")));
}

#[test]
fn init_containers_hold_the_pod_pending() {
    let spec = json!({
        "initContainers": [{"name": "i"}, {"name": "side", "restartPolicy": "Always"}], "containers": [{"name": "a"}]
    });
    let world = world(spec).sandbox(true).has("i", 0, running());
    let status = world.build();
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let initialized = status.conditions.iter().flatten().find(|condition| condition.type_ == "Initialized").unwrap();
    assert_eq!(initialized.message.as_deref(), Some("containers with incomplete status: [i side]"));
    let waiting = status.container_statuses.unwrap().remove(0).state.unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("PodInitializing"));
}

#[test]
fn gates_hold_back_readiness() {
    let mut spec = one();
    spec["readinessGates"] = json!([{"conditionType": "x.io/gate"}]);
    let mut world = world(spec).sandbox(true).has("a", 0, running());
    world.ready.insert("a.0".to_owned());
    assert!(world.summary().contains("Ready=F ContainersReady=T"));
    world.pod.status =
        serde_json::from_value(json!({"conditions": [{"type": "x.io/gate", "status": "True"}]})).unwrap();
    assert!(world.summary().contains("Ready=T ContainersReady=T"));
}

#[test]
fn what_the_runtime_lost_is_kept_from_the_api() {
    let mut world = world(one()).sandbox(false);
    world.stop = true;
    world.pod.status = serde_json::from_value(json!({"phase": "Running", "containerStatuses": [{
        "name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 3, "containerID": "containerd://x",
        "state": {"running": {}}
    }]}))
    .unwrap();
    let status = world.build().container_statuses.unwrap().remove(0);
    assert_eq!(status.restart_count, 3);
    let ended = status.state.unwrap().terminated.unwrap();
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
}
