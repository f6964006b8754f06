//! Pods that nobody ends any more: of nodes that are gone, deleted before they had a node, and ended ones beyond a number.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::DeleteParams;
use kube::{Api, Client};
use serde_json::json;
use skep_reconcile::{Next, Reconciler};
use tracing::info;

use crate::context::{Context, now};
use crate::error::Error;
use crate::objects::{ObjectKey, Objects, uid};
use crate::pod;

const PERIOD: Duration = Duration::from_secs(20);
/// A node counts as gone when it has been missing for so long.
const QUARANTINE: Duration = Duration::from_secs(40);
/// Ended pods that are kept.
const ENDED_MAX: usize = 12_500;
/// All pods are looked at together.
const KEY: &str = "pods";

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context) {
    let controller = Controller {
        client: context.client.clone(),
        nodes: Objects::cluster(&context.informers),
        pods: Objects::namespaced(&context.informers),
        missing: Mutex::default(),
    };
    let queue = context.queue::<Controller>();
    context.run(controller, queue).await;
}

struct Controller {
    client: Client,
    nodes: Objects<Node>,
    pods: Objects<Pod>,
    /// Nodes that pods are bound to and that are not there, and since when.
    missing: Mutex<HashMap<String, Instant>>,
}

struct Observed {
    pods: Vec<Arc<Pod>>,
    /// Nodes that are gone for good.
    gone: HashSet<String>,
    now: Timestamp,
}

#[derive(Default)]
struct Plan {
    /// Pods whose node is gone: they failed.
    orphaned: Vec<Arc<Pod>>,
    /// Pods to remove as they are.
    surplus: Vec<Arc<Pod>>,
}

fn plan(observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let mut ended = Vec::new();
    for pod in &observed.pods {
        match pod::node_name(pod) {
            Some(node) if observed.gone.contains(node) => plan.orphaned.push(Arc::clone(pod)),
            None if pod.metadata.deletion_timestamp.is_some() => plan.surplus.push(Arc::clone(pod)),
            _ if pod::is_terminal(pod) => ended.push(Arc::clone(pod)),
            _ => {}
        }
    }
    ended.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let surplus = ended.len().saturating_sub(ENDED_MAX);
    plan.surplus.extend(ended.into_iter().take(surplus));
    plan
}

impl Reconciler for Controller {
    type Key = &'static str;
    type Observed = Observed;
    type Plan = Plan;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        "podgc"
    }

    fn keys(&self) -> Vec<&'static str> {
        vec![KEY]
    }

    async fn observe(&self, _: &&'static str) -> Result<Option<Observed>, Error> {
        let pods = self.pods.all();
        let missing: HashSet<_> = pods
            .iter()
            .filter_map(|pod| pod::node_name(pod))
            .filter(|node| self.nodes.get(&ObjectKey::new("", node)).is_none())
            .map(str::to_owned)
            .collect();
        let mut gone = HashSet::new();
        for node in self.quarantined(&missing) {
            // The cache may be behind.
            let api: Api<Node> = Api::all(self.client.clone());
            let found = api.get_metadata_opt(&node).await.map_err(|source| Error::Api {
                verb: "get",
                object: format!("Node {node}"),
                source: Box::new(source),
            })?;
            if found.is_none() {
                gone.insert(node);
            }
        }
        Ok(Some(Observed { pods, gone, now: now() }))
    }

    fn plan(observed: &Observed) -> Plan {
        plan(observed)
    }

    async fn apply(&self, _: &&'static str, observed: &Observed, plan: &Plan) -> Result<(), Error> {
        let at_once = || DeleteParams::default().grace_period(0);
        for pod in &plan.orphaned {
            info!(pod = %ObjectKey::of(pod.as_ref()), "deleting a pod whose node is gone");
            if !pod::is_terminal(pod) {
                match self.pods.merge_status(pod, &failed_patch(pod, observed.now)).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
            }
            self.pods.delete(pod, at_once()).await?;
        }
        for pod in &plan.surplus {
            self.pods.delete(pod, at_once()).await?;
        }
        Ok(())
    }

    async fn report(&self, _: &&'static str, _: &Observed, _: &Plan, _: &Result<(), Error>) -> Result<Next, Error> {
        Ok(Next::After(PERIOD))
    }
}

impl Controller {
    /// Of the nodes that are missing now, those that have been for long enough.
    fn quarantined(&self, missing: &HashSet<String>) -> Vec<String> {
        let mut since = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|node, _| missing.contains(node));
        for node in missing {
            since.entry(node.clone()).or_insert_with(Instant::now);
        }
        since.iter().filter(|(_, since)| since.elapsed() >= QUARANTINE).map(|(node, _)| node.clone()).collect()
    }
}

fn failed_patch(pod: &Pod, now: Timestamp) -> serde_json::Value {
    let mut conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    conditions.retain(|condition| condition.type_ != "DisruptionTarget");
    conditions.push(k8s_openapi::api::core::v1::PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some("DeletionByPodGC".to_owned()),
        message: Some("PodGC: node no longer exists".to_owned()),
        last_transition_time: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now)),
        ..Default::default()
    });
    let version = &pod.metadata.resource_version;
    json!({
        "metadata": {"uid": uid(pod), "resourceVersion": version},
        "status": {"phase": "Failed", "conditions": conditions},
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, from_value};

    use super::*;

    #[test]
    fn only_pods_that_nobody_ends() {
        let pod = |name: &str, node: Option<&str>, deleted: bool| -> Arc<Pod> {
            let deleted = if deleted { json!("2026-01-01T00:00:00Z") } else { Value::Null };
            let pod = json!({
                "metadata": {"name": name, "deletionTimestamp": deleted},
                "spec": {"containers": [], "nodeName": node}, "status": {"phase": "Running"},
            });
            Arc::new(from_value(pod).unwrap())
        };
        let pods = vec![
            pod("runs", Some("here"), false),
            pod("ends", Some("here"), true),
            pod("lost", Some("gone"), false),
            pod("waits", None, false),
            pod("never", None, true),
        ];
        let plan = plan(&Observed { pods, gone: HashSet::from(["gone".to_owned()]), now: Timestamp::UNIX_EPOCH });
        let names = |pods: &[Arc<Pod>]| pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&plan.orphaned), ["lost"]);
        assert_eq!(names(&plan.surplus), ["never"]);
    }
}
