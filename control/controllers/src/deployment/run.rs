//! The loop over Deployments.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::json;
use skep_informer::{Recorder, reference};
use skep_reconcile::{Next, Queue, Reconciler};

use super::annotations::REVISION;
use super::hash::same_template;
use super::numbers::wanted;
use super::plan::{self, Observed, Plan, Step};
use super::status::{note_create_error, same_status};
use crate::context::{Context, normal, now, wait, warning};
use crate::error::Error;
use crate::objects::{ObjectKey, Objects, name, namespace, uid};
use crate::owned::Owned;
use crate::owner::{controller_of, is_controlled_by};

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context) {
    let controller = Controller {
        deployments: Objects::namespaced(&context.informers),
        replica_sets: Owned::new(&context.informers),
        pods: Owned::new(&context.informers),
        recorder: context.recorder("deployment-controller"),
    };
    let queue = context.queue::<Controller>();
    watch(&controller, &queue);
    context.run(controller, queue).await;
}

struct Controller {
    deployments: Objects<Deployment>,
    replica_sets: Owned<ReplicaSet>,
    pods: Owned<Pod>,
    recorder: Recorder,
}

/// What became of a plan.
enum Applied {
    Done,
    /// Another ReplicaSet has the name that the template hashes to.
    Collision,
}

fn watch(controller: &Controller, queue: &Queue<ObjectKey>) {
    controller.deployments.wake(queue, "Deployment");
    let replica_sets = &controller.replica_sets;
    replica_sets.wake_controllers(&controller.deployments, |deployment| &deployment.spec.selector, queue, "ReplicaSet");
    // A Deployment that recreates waits for its last old pod, which no ReplicaSet's status counts while it terminates.
    let wake = queue.clone();
    let replica_sets = replica_sets.objects.clone();
    controller.pods.objects.informer().on_change(move |change| {
        let (Some(pod), None) = (&change.old, &change.new) else { return };
        let Some(owner) = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet") else { return };
        let set = replica_sets.get(&ObjectKey::new(namespace(pod.as_ref()), &owner.name));
        let deployment = set.as_ref().and_then(|set| controller_of(&set.metadata));
        if let Some(deployment) = deployment.filter(|owner| owner.kind == "Deployment") {
            wake.add(ObjectKey::new(namespace(pod.as_ref()), &deployment.name), "Pod");
        }
    });
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Observed = Observed;
    type Plan = Plan;
    type Applied = Applied;
    type Error = Error;

    fn kind(&self) -> &'static str {
        "deployment"
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.deployments.keys()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, Error> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(None) };
        let replica_sets = self.replica_sets.candidates(deployment.as_ref());
        let strategy = deployment.spec.strategy.as_ref();
        let recreates = strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate");
        let pods = if recreates { self.pods_of(&deployment, &replica_sets) } else { Vec::new() };
        Ok(Some(Observed { deployment, replica_sets, pods, now: now() }))
    }

    fn plan(observed: &Observed) -> Plan {
        plan::plan(observed)
    }

    async fn apply(&self, _: &ObjectKey, observed: &Observed, plan: &Plan) -> Result<Applied, Error> {
        let deployment = observed.deployment.as_ref();
        self.replica_sets.settle(deployment, &plan.adopt, &plan.release).await?;
        for step in &plan.steps {
            if let Applied::Collision = self.apply_step(deployment, step).await? {
                return Ok(Applied::Collision);
            }
        }
        if let Some(revision) = plan.revision {
            let patch = json!({"metadata": {"uid": uid(deployment), "annotations": {REVISION: revision.to_string()}}});
            self.deployments.merge(deployment, &patch).await?;
        }
        Ok(Applied::Done)
    }

    async fn report(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        plan: &Plan,
        applied: &Result<Applied, Error>,
    ) -> Result<Next, Error> {
        let mut status = plan.status.clone();
        match applied {
            Ok(Applied::Done) => {}
            Ok(Applied::Collision) => status.collision_count = Some(status.collision_count.unwrap_or(0) + 1),
            Err(error) if error.is_conflict() || error.is_namespace_terminating() => return Ok(Next::Done),
            Err(error) => {
                let creating = plan.steps.iter().any(|step| matches!(step, Step::Create(_)));
                if creating && observed.deployment.spec.progress_deadline_seconds.is_some() {
                    note_create_error(&mut status, error.answer(), observed.now);
                }
            }
        }
        self.write_status(key, observed, status).await?;
        Ok(match applied {
            Ok(Applied::Collision) => Next::Retry("the ReplicaSet's name is taken"),
            _ => plan.deadline_in.map_or(Next::Done, |left| Next::After(wait(left))),
        })
    }
}

impl Controller {
    fn pods_of(&self, deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Vec<Arc<Pod>> {
        let own = sets.iter().filter(|set| is_controlled_by(&set.metadata, uid(deployment)));
        own.flat_map(|set| self.pods.of(uid(set.as_ref()))).collect()
    }

    async fn apply_step(&self, deployment: &Deployment, step: &Step) -> Result<Applied, Error> {
        match step {
            Step::Create(set) => match self.replica_sets.objects.create(set).await {
                Ok(created) => self.tell_scaled(deployment, &created, 0),
                Err(error) if error.is_already_exists() => {
                    let known = self.replica_sets.objects.get(&ObjectKey::of(set.as_ref()));
                    // Not in the cache yet: the write of an earlier run of this process, which the watch will tell.
                    let ours = known.is_none_or(|known| is_same(deployment, &known, set));
                    return if ours { Err(error) } else { Ok(Applied::Collision) };
                }
                Err(error) => {
                    let message =
                        format!("Failed to create new replica set {:?}: {}", name(set.as_ref()), error.answer());
                    warning(&self.recorder, reference(deployment), "ReplicaSetCreateError", message);
                    return Err(error);
                }
            },
            Step::Update { new, from } => {
                let updated = self.replica_sets.objects.replace(new).await?;
                self.tell_scaled(deployment, &updated, *from);
            }
            Step::Delete(set) => self.replica_sets.objects.delete(set, DeleteParams::background()).await?,
        }
        Ok(Applied::Done)
    }

    fn tell_scaled(&self, deployment: &Deployment, set: &ReplicaSet, from: i32) {
        let to = wanted(set);
        if to != from {
            let direction = if to > from { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {} from {from} to {to}", name(set));
            normal(&self.recorder, reference(deployment), "ScalingReplicaSet", message);
        }
    }

    /// Writes the status if it differs, onto the object as the cache has it now: `apply` may have written to it.
    async fn write_status(&self, key: &ObjectKey, observed: &Observed, status: DeploymentStatus) -> Result<(), Error> {
        let known = observed.deployment.status.clone().unwrap_or_default();
        if same_status(&known, &status) {
            return Ok(());
        }
        let Some(current) =
            self.deployments.get(key).filter(|now| now.metadata.uid == observed.deployment.metadata.uid)
        else {
            return Ok(());
        };
        let mut deployment = Deployment::clone(&current);
        deployment.status = Some(status);
        match self.deployments.replace_status(&deployment).await {
            Err(error) if error.is_not_found() => Ok(()),
            result => result.map(|_| ()),
        }
    }
}

fn is_same(deployment: &Deployment, known: &ReplicaSet, wanted: &ReplicaSet) -> bool {
    let template = |set: &ReplicaSet| set.spec.template.clone().unwrap_or_default();
    is_controlled_by(&known.metadata, uid(deployment)) && same_template(&template(known), &template(wanted))
}
