//! The loop over ReplicaSets.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use skep_informer::{Recorder, reference};
use skep_reconcile::{Next, Reconciler};

use super::plan::{self, Observed, Plan, pod_from_template, same_status, set_failure};
use crate::context::{Context, normal, now, wait, warning};
use crate::error::Error;
use crate::objects::{ObjectKey, Objects, name, uid};
use crate::owned::Owned;
use crate::owner::controller_of;
use crate::pod;

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context) {
    let controller = Controller {
        replica_sets: Objects::namespaced(&context.informers),
        pods: Owned::new(&context.informers),
        siblings: Owned::new(&context.informers),
        recorder: context.recorder("replicaset-controller"),
    };
    let queue = context.queue::<Controller>();
    controller.replica_sets.wake(&queue, "ReplicaSet");
    controller.pods.wake_controllers(&controller.replica_sets, |set| &set.spec.selector, &queue, "Pod");
    context.run(controller, queue).await;
}

struct Controller {
    replica_sets: Objects<ReplicaSet>,
    pods: Owned<Pod>,
    /// The ReplicaSets once more, by their own controllers.
    siblings: Owned<ReplicaSet>,
    recorder: Recorder,
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Observed = Observed;
    type Plan = Plan;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        "replicaset"
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.replica_sets.keys()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, Error> {
        let Some(replica_set) = self.replica_sets.get(key) else { return Ok(None) };
        let pods = self.pods.candidates(replica_set.as_ref());
        let related_by_node = self.related_by_node(&replica_set);
        Ok(Some(Observed { replica_set, pods, related_by_node, now: now() }))
    }

    fn plan(observed: &Observed) -> Plan {
        plan::plan(observed)
    }

    async fn apply(&self, _: &ObjectKey, observed: &Observed, plan: &Plan) -> Result<(), Error> {
        let replica_set = observed.replica_set.as_ref();
        self.pods.settle(replica_set, &plan.adopt, &plan.release).await?;
        self.create_pods(replica_set, plan.create).await?;
        self.delete_pods(replica_set, &plan.delete).await
    }

    async fn report(
        &self,
        _: &ObjectKey,
        observed: &Observed,
        plan: &Plan,
        applied: &Result<(), Error>,
    ) -> Result<Next, Error> {
        let failure = match applied {
            Err(error) if error.is_conflict() => return Ok(Next::Done),
            Err(error) if plan.create > 0 => Some(("FailedCreate", error.answer())),
            Err(error) if !plan.delete.is_empty() => Some(("FailedDelete", error.answer())),
            _ => None,
        };
        let mut status = plan.status.clone();
        set_failure(&mut status, failure, observed.now);
        let known = observed.replica_set.status.clone().unwrap_or_default();
        if !same_status(&known, &status) {
            let mut replica_set = ReplicaSet::clone(&observed.replica_set);
            replica_set.status = Some(status);
            match self.replica_sets.replace_status(&replica_set).await {
                Err(error) if error.is_not_found() => return Ok(Next::Done),
                result => result?,
            };
        }
        Ok(plan.available_in.map_or(Next::Done, |left| Next::After(wait(left))))
    }
}

impl Controller {
    fn related_by_node(&self, replica_set: &ReplicaSet) -> HashMap<String, usize> {
        let siblings: Vec<String> = match controller_of(&replica_set.metadata) {
            Some(owner) => self.siblings.of(&owner.uid).iter().map(|other| uid(other.as_ref()).to_owned()).collect(),
            None => vec![uid(replica_set).to_owned()],
        };
        let mut by_node = HashMap::new();
        for pod in siblings.iter().flat_map(|sibling| self.pods.of(sibling)).filter(|pod| pod::is_active(pod)) {
            if let Some(node) = pod::node_name(&pod) {
                *by_node.entry(node.to_owned()).or_default() += 1;
            }
        }
        by_node
    }

    /// Creates in batches that double, so that a set that cannot have pods does not ask for all of them in vain.
    async fn create_pods(&self, replica_set: &ReplicaSet, count: usize) -> Result<(), Error> {
        let template = pod_from_template(replica_set);
        let mut left = count;
        let mut batch = 1;
        while left > 0 {
            let size = batch.min(left);
            let results = join_all((0..size).map(|_| self.pods.objects.create(&template))).await;
            let mut failure = None;
            for result in results {
                match result {
                    Ok(pod) => {
                        let message = format!("Created pod: {}", name(&pod));
                        normal(&self.recorder, reference(replica_set), "SuccessfulCreate", message);
                    }
                    Err(error) => failure = Some(error),
                }
            }
            match failure {
                // Nothing helps but the namespace's end, which takes the set with it.
                Some(error) if error.is_namespace_terminating() => return Ok(()),
                Some(error) => {
                    let message = format!("Error creating: {}", error.answer());
                    warning(&self.recorder, reference(replica_set), "FailedCreate", message);
                    return Err(error);
                }
                None => {}
            }
            left -= size;
            batch *= 2;
        }
        Ok(())
    }

    async fn delete_pods(&self, replica_set: &ReplicaSet, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let results = join_all(pods.iter().map(|pod| self.pods.objects.delete(pod, DeleteParams::default()))).await;
        let mut outcome = Ok(());
        for (pod, result) in pods.iter().zip(results) {
            match result {
                Ok(()) => {
                    let message = format!("Deleted pod: {}", name(pod.as_ref()));
                    normal(&self.recorder, reference(replica_set), "SuccessfulDelete", message);
                }
                Err(error) => {
                    let message = format!("Error deleting: {}", error.answer());
                    warning(&self.recorder, reference(replica_set), "FailedDelete", message);
                    outcome = Err(error);
                }
            }
        }
        outcome
    }
}
