#![allow(clippy::unwrap_used)]

use serde_json::{Value, from_value, json};

use super::*;

fn deployment(replicas: i32, image: &str, strategy: Value) -> Deployment {
    from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 2},
        "spec": {
            "replicas": replicas, "revisionHistoryLimit": 2, "progressDeadlineSeconds": 600, "strategy": strategy,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    }))
    .unwrap()
}

fn rolling(surge: i32, unavailable: i32) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// A little cluster: applies plans to ReplicaSets, and makes pods come and go at once.
struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    clock: Timestamp,
    /// Whether new pods become available.
    healthy: bool,
}

impl World {
    fn new(deployment: Deployment) -> Self {
        Self { deployment, sets: Vec::new(), clock: "2026-01-01T00:00:00Z".parse().unwrap(), healthy: true }
    }

    fn plan(&self) -> Plan {
        plan(&Observed {
            deployment: Arc::new(self.deployment.clone()),
            replica_sets: self.sets.iter().cloned().map(Arc::new).collect(),
            pods: Vec::new(),
            now: self.clock,
        })
    }

    fn step(&mut self) -> bool {
        self.clock += SignedDuration::from_secs(1);
        let plan = self.plan();
        let moved = !plan.steps.is_empty() || self.deployment.status.as_ref() != Some(&plan.status);
        for step in plan.steps {
            match step {
                Step::Create(mut set) => {
                    set.metadata.uid = set.metadata.name.clone();
                    set.metadata.creation_timestamp =
                        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.clock));
                    self.sets.push(*set);
                }
                Step::Update { new, .. } => {
                    let known = self.sets.iter_mut().find(|set| set.metadata.uid == new.metadata.uid).unwrap();
                    *known = *new;
                }
                Step::Delete(gone) => self.sets.retain(|set| set.metadata.uid != gone.metadata.uid),
            }
        }
        if let Some(revision) = plan.revision {
            let annotations = self.deployment.metadata.annotations.get_or_insert_default();
            annotations.insert(crate::deployment::annotations::REVISION.to_owned(), revision.to_string());
        }
        self.deployment.status = Some(plan.status);
        moved
    }

    /// The ReplicaSet controller and the nodes, at once.
    fn settle_pods(&mut self) {
        let template = self.deployment.spec.template.clone();
        for set in &mut self.sets {
            let is_new = same_template(set.spec.template.as_ref().unwrap(), &template);
            let wanted = wanted(set);
            let status = set.status.get_or_insert_default();
            let healthy = if is_new && !self.healthy { 0 } else { wanted };
            status.replicas = wanted;
            status.ready_replicas = Some(healthy);
            status.available_replicas = Some(healthy);
        }
    }

    fn total(&self) -> i32 {
        self.sets.iter().map(wanted).sum()
    }

    fn available(&self) -> i32 {
        self.sets.iter().map(|set| crate::deployment::numbers::available(set).min(wanted(set))).sum()
    }

    fn run(&mut self, surge: i32, unavailable: i32, check: bool) {
        let replicas = self.deployment.spec.replicas.unwrap();
        for _ in 0..200 {
            let moved = self.step();
            if check {
                assert!(self.total() <= replicas + surge, "{} pods", self.total());
                assert!(self.available() >= replicas - unavailable, "{} available", self.available());
            }
            self.settle_pods();
            if !moved {
                return;
            }
        }
        panic!("does not settle");
    }

    fn set_image(&mut self, image: &str) {
        let template = &mut self.deployment.spec.template;
        template.spec.as_mut().unwrap().containers[0].image = Some(image.to_owned());
        *self.deployment.metadata.generation.as_mut().unwrap() += 1;
    }

    fn set_replicas(&mut self, replicas: i32) {
        self.deployment.spec.replicas = Some(replicas);
        *self.deployment.metadata.generation.as_mut().unwrap() += 1;
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(wanted).collect()
    }

    fn reason(&self, kind: &str) -> String {
        let status = self.deployment.status.as_ref().unwrap();
        let condition = status.conditions.iter().flatten().find(|condition| condition.type_.as_deref() == Some(kind));
        condition.and_then(|condition| condition.reason.clone()).unwrap_or_default()
    }

    fn revision(&self) -> i64 {
        revision(&self.deployment.metadata)
    }
}

#[test]
fn a_first_rollout_creates_one_full_replica_set() {
    let mut world = World::new(deployment(3, "a", rolling(1, 1)));
    world.run(1, 3, true);
    assert_eq!(world.sizes(), [3]);
    assert_eq!(world.revision(), 1);
    let status = world.deployment.status.as_ref().unwrap();
    assert_eq!(status.updated_replicas, Some(3));
    assert_eq!(status.observed_generation, Some(2));
    assert_eq!(world.reason("Progressing"), "NewReplicaSetAvailable");
    assert_eq!(world.reason("Available"), "MinimumReplicasAvailable");
}

#[test]
fn a_rollout_keeps_within_its_bounds() {
    for (replicas, surge, unavailable) in [(1, 1, 0), (3, 1, 0), (3, 0, 1), (10, 3, 2), (10, 10, 0), (4, 1, 4)] {
        let mut world = World::new(deployment(replicas, "a", rolling(surge, unavailable)));
        world.run(surge, replicas, true);
        world.set_image("b");
        world.run(surge, unavailable, true);
        assert_eq!(world.sizes(), [0, replicas], "{replicas} {surge} {unavailable}");
        assert_eq!(world.revision(), 2);
    }
}

#[test]
fn a_rollback_reuses_the_replica_set() {
    let mut world = World::new(deployment(3, "a", rolling(1, 0)));
    for image in ["a", "b", "a"] {
        world.set_image(image);
        world.run(1, 3, true);
    }
    assert_eq!(world.sizes(), [3, 0]);
    assert_eq!(world.revision(), 3);
}

#[test]
fn history_is_cut_to_its_limit() {
    let mut world = World::new(deployment(1, "a", rolling(1, 0)));
    for image in ["a", "b", "c", "d", "e"] {
        world.set_image(image);
        world.run(1, 1, true);
        for set in &mut world.sets {
            set.status.as_mut().unwrap().observed_generation = set.metadata.generation;
        }
    }
    world.run(1, 1, true);
    assert_eq!(world.sizes(), [0, 0, 1]);
}

#[test]
fn recreate_waits_until_the_old_are_gone() {
    let mut world = World::new(deployment(2, "a", json!({"type": "Recreate"})));
    world.run(0, 2, true);
    world.set_image("b");
    world.step();
    assert_eq!(world.sizes(), [0]);
    world.step();
    assert_eq!(world.sizes(), [0], "old pods still run");
    world.settle_pods();
    world.run(0, 2, true);
    assert_eq!(world.sizes(), [0, 2]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::new(deployment(2, "a", rolling(1, 0)));
    world.run(1, 2, true);
    world.deployment.spec.paused = Some(true);
    world.set_image("b");
    world.set_replicas(5);
    world.run(1, 5, true);
    assert_eq!(world.sizes(), [5]);
    assert_eq!(world.reason("Progressing"), "DeploymentPaused");
    world.deployment.spec.paused = Some(false);
    world.run(1, 0, true);
    assert_eq!(world.sizes(), [0, 5]);
}

#[test]
fn a_rollout_in_flight_is_scaled_in_proportion() {
    let mut world = World::new(deployment(10, "a", rolling(3, 2)));
    world.run(3, 10, true);
    world.set_image("b");
    world.healthy = false;
    world.run(3, 2, true);
    assert_eq!(world.sizes(), [8, 5]);
    world.set_replicas(15);
    world.step();
    // 5 more: 3 for the larger, 2 for the other.
    assert_eq!(world.sizes(), [11, 7]);
}

#[test]
fn a_rollout_that_stands_still_times_out() {
    let mut world = World::new(deployment(3, "a", rolling(1, 0)));
    world.run(1, 3, true);
    world.set_image("b");
    world.healthy = false;
    world.run(1, 0, true);
    assert_eq!(world.reason("Progressing"), "ReplicaSetUpdated");
    let left = world.plan().deadline_in.unwrap();
    assert!(left > SignedDuration::from_secs(590) && left <= SignedDuration::from_secs(601), "{left:?}");
    world.clock += left;
    world.step();
    assert_eq!(world.reason("Progressing"), "ProgressDeadlineExceeded");
    assert_eq!(world.plan().deadline_in, None);
}

#[test]
fn unhealthy_old_pods_go_first() {
    let mut world = World::new(deployment(4, "a", rolling(1, 0)));
    world.healthy = false;
    world.run(1, 4, false);
    world.set_image("b");
    world.step();
    assert_eq!(world.sizes(), [4, 1]);
    // The new pod is available, none of the old ones ever was.
    let status = world.sets[1].status.get_or_insert_default();
    (status.replicas, status.available_replicas) = (1, Some(1));
    world.step();
    assert_eq!(world.sizes(), [3, 1]);
}
