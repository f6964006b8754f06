//! The loop over objects, by UID.

use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::Client;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use skep_reconcile::{Next, Queue, Reconciler};
use tracing::info;

use super::graph::{Graph, Node};
use super::plan::{self, Observed, OwnerState, Plan};
use super::watches::{Kinds, Served, keep};
use crate::context::Context;
use crate::error::Error;

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context) {
    let options = skep_reconcile::Options { workers: 20, ..context.reconcile.clone() };
    let queue = Queue::new(&options);
    let controller = Controller {
        client: context.client.clone(),
        graph: Arc::default(),
        kinds: Arc::default(),
        queue: queue.clone(),
    };
    let watches = keep(
        context.client.clone(),
        Arc::clone(&controller.graph),
        Arc::clone(&controller.kinds),
        queue.clone(),
        context.stop.clone(),
    );
    tokio::join!(watches, context.run_with(controller, queue, options));
}

struct Controller {
    client: Client,
    graph: Arc<Mutex<Graph>>,
    kinds: Arc<Mutex<Kinds>>,
    queue: Queue<String>,
}

impl Reconciler for Controller {
    type Key = String;
    type Observed = Observed;
    type Plan = Plan;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        "garbage"
    }

    fn keys(&self) -> Vec<String> {
        self.with_graph(|graph| graph.keys())
    }

    async fn observe(&self, uid: &String) -> Result<Option<Observed>, Error> {
        let Some((node, dependents)) = self.with_graph(|graph| Some((graph.get(uid)?, graph.dependents(uid)))) else {
            return Ok(None);
        };
        let mut owners = Vec::with_capacity(node.owners().len());
        if !node.is_deleting() {
            for owner in node.owners() {
                owners.push((owner.clone(), self.owner_state(&node, owner).await?));
            }
        }
        Ok(Some(Observed { node, owners, dependents }))
    }

    fn plan(observed: &Observed) -> Plan {
        plan::plan(observed)
    }

    async fn apply(&self, _: &String, observed: &Observed, plan: &Plan) -> Result<(), Error> {
        let node = observed.node.as_ref();
        match plan {
            Plan::Nothing => Ok(()),
            Plan::WakeDependents => {
                observed.dependents.iter().for_each(|dependent| self.queue.add(dependent.uid().to_owned(), "owner"));
                Ok(())
            }
            Plan::Delete(policy) => {
                info!(object = %describe(node), policy = ?policy, "deleting: no owner is left");
                self.delete(node, *policy).await
            }
            Plan::DropOwners(uids) => self.set_owners(node, |owner| !uids.contains(&owner.uid)).await,
            Plan::Finish(finalizer) => {
                let rest: Vec<_> = node.meta.finalizers.iter().flatten().filter(|name| name != finalizer).collect();
                self.patch(node, json!({"finalizers": rest})).await
            }
            Plan::Orphan => {
                for dependent in &observed.dependents {
                    self.set_owners(dependent, |owner| owner.uid != node.uid()).await?;
                }
                Ok(())
            }
            Plan::Unblock => {
                let mut owners = node.owners().to_vec();
                owners.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
                self.patch(node, json!({"ownerReferences": owners})).await
            }
        }
    }

    async fn report(&self, _: &String, _: &Observed, plan: &Plan, applied: &Result<(), Error>) -> Result<Next, Error> {
        // What was changed comes back by its watch; the next step follows from that.
        Ok(match (plan, applied) {
            (Plan::Orphan, Ok(())) => Next::Retry("dependents are let go of"),
            _ => Next::Done,
        })
    }
}

impl Controller {
    fn with_graph<T>(&self, f: impl FnOnce(&mut Graph) -> T) -> T {
        f(&mut self.graph.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn api(&self, node: &Node) -> Api<DynamicObject> {
        match node.meta.namespace.as_deref() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, node.resource.as_ref()),
            None => Api::all_with(self.client.clone(), node.resource.as_ref()),
        }
    }

    /// An owner that the graph does not hold is asked for: its watch may not be there yet.
    async fn owner_state(&self, node: &Node, owner: &OwnerReference) -> Result<OwnerState, Error> {
        if let Some(known) = self.with_graph(|graph| graph.get(&owner.uid)) {
            let reachable = known.meta.namespace.is_none() || known.meta.namespace == node.meta.namespace;
            return Ok(match reachable {
                // An owner in another namespace is none.
                false => OwnerState::Absent,
                true if known.is_foreground() => OwnerState::Waiting,
                true => OwnerState::Solid,
            });
        }
        let kind = (owner.api_version.clone(), owner.kind.clone());
        let served = self.kinds.lock().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned();
        let Some(Served { resource, namespaced }) = served else {
            let message = format!("owner {} {} is of a kind that is not served", owner.api_version, owner.kind);
            return Err(Error::Unusable { object: describe(node), message });
        };
        let namespace = node.meta.namespace.as_deref();
        let api: Api<DynamicObject> = match (namespaced, namespace) {
            (true, Some(namespace)) => Api::namespaced_with(self.client.clone(), namespace, resource.as_ref()),
            // A cluster-scoped object cannot have an owner in a namespace.
            (true, None) => return Ok(OwnerState::Absent),
            (false, _) => Api::all_with(self.client.clone(), resource.as_ref()),
        };
        let found = api.get_metadata_opt(&owner.name).await.map_err(|source| error("get owner of", node, source))?;
        Ok(match found {
            Some(found) if found.metadata.uid.as_deref() == Some(&owner.uid) => {
                let foreground = Node { resource, meta: found.metadata }.is_foreground();
                if foreground { OwnerState::Waiting } else { OwnerState::Solid }
            }
            _ => OwnerState::Absent,
        })
    }

    async fn delete(&self, node: &Node, policy: plan::Policy) -> Result<(), Error> {
        let params = DeleteParams {
            propagation_policy: Some(policy.into()),
            preconditions: Some(Preconditions {
                uid: node.meta.uid.clone(),
                resource_version: node.meta.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        self.settle(node, "delete", self.api(node).delete(name(node), &params).await.map(|_| ()))
    }

    async fn set_owners(&self, node: &Node, keep: impl Fn(&OwnerReference) -> bool) -> Result<(), Error> {
        let owners: Vec<_> = node.owners().iter().filter(|owner| keep(owner)).collect();
        let owners = if owners.is_empty() { Value::Null } else { json!(owners) };
        self.patch(node, json!({"ownerReferences": owners})).await
    }

    /// A merge patch of the metadata, guarded by the version.
    async fn patch(&self, node: &Node, mut metadata: Value) -> Result<(), Error> {
        metadata["uid"] = json!(node.meta.uid);
        metadata["resourceVersion"] = json!(node.meta.resource_version);
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let patched = self.api(node).patch_metadata(name(node), &PatchParams::default(), &patch).await;
        self.settle(node, "patch", patched.map(|_| ()))
    }

    fn settle(&self, node: &Node, verb: &'static str, answer: kube::Result<()>) -> Result<(), Error> {
        match answer.map_err(|source| error(verb, node, source)) {
            // Gone already; its watch will say so.
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }
}

fn name(node: &Node) -> &str {
    node.meta.name.as_deref().unwrap_or_default()
}

fn describe(node: &Node) -> String {
    match node.meta.namespace.as_deref() {
        Some(namespace) => format!("{} {namespace}/{}", node.resource.kind, name(node)),
        None => format!("{} {}", node.resource.kind, name(node)),
    }
}

fn error(verb: &'static str, node: &Node, source: kube::Error) -> Error {
    Error::Api { verb, object: describe(node), source: Box::new(source) }
}
