//! The loop over nodes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::DeleteParams;
use serde_json::json;
use skep_informer::{Index, Recorder, reference};
use skep_reconcile::{Next, Reconciler};
use tracing::warn;

use super::plan::{self, Observed, Plan};
use crate::context::{Context, normal, now, wait, warning};
use crate::error::Error;
use crate::objects::{ObjectKey, Objects, uid};
use crate::options::NodeHealth;
use crate::pod;

/// Where nodes keep their Leases.
const LEASES: &str = "kube-node-lease";

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context, settings: NodeHealth) {
    let pods: Objects<Pod> = Objects::namespaced(&context.informers);
    let controller = Controller {
        nodes: Objects::cluster(&context.informers),
        leases: Objects::namespaced(&context.informers),
        of_node: pods.informer().index("node", |pod| pod::node_name(pod).map(str::to_owned).into_iter().collect()),
        pods,
        recorder: context.recorder("node-controller"),
        heard: Mutex::default(),
        settings,
    };
    let queue = context.queue::<Controller>();
    controller.nodes.wake(&queue, "Node");
    context.run(controller, queue).await;
}

struct Controller {
    nodes: Objects<Node>,
    leases: Objects<Lease>,
    pods: Objects<Pod>,
    of_node: Index<Pod>,
    recorder: Recorder,
    /// What each node last said, and when that was new here: clocks of nodes are not trusted.
    heard: Mutex<HashMap<String, Heard>>,
    settings: NodeHealth,
}

struct Heard {
    lease: Option<String>,
    heartbeat: Option<Time>,
    at: Instant,
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Observed = Observed;
    type Plan = Plan;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        "nodehealth"
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.nodes.keys()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, Error> {
        let Some(node) = self.nodes.get(key) else {
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).remove(&key.name);
            return Ok(None);
        };
        let silent = self.silence(&node, &key.name);
        let pods = self.of_node.get(&key.name);
        Ok(Some(Observed { node, silent, pods, settings: self.settings, now: now() }))
    }

    fn plan(observed: &Observed) -> Plan {
        plan::plan(observed)
    }

    async fn apply(&self, _: &ObjectKey, observed: &Observed, plan: &Plan) -> Result<(), Error> {
        let node = observed.node.as_ref();
        if let Some(taints) = &plan.taints {
            let version = &node.metadata.resource_version;
            let taints = if taints.is_empty() { serde_json::Value::Null } else { json!(taints) };
            let patch = json!({
                "metadata": {"uid": uid(node), "resourceVersion": version}, "spec": {"taints": taints},
            });
            self.nodes.merge(node, &patch).await?;
        }
        for pod in &plan.not_ready {
            self.report_not_ready(pod, observed).await?;
        }
        for pod in &plan.evict {
            let message = format!("Marking for deletion Pod {}", ObjectKey::of(pod.as_ref()));
            normal(&self.recorder, reference(pod.as_ref()), "TaintManagerEviction", message);
            self.pods.delete(pod, DeleteParams::default()).await?;
        }
        Ok(())
    }

    async fn report(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        plan: &Plan,
        _: &Result<(), Error>,
    ) -> Result<Next, Error> {
        if let Some(conditions) = &plan.conditions {
            warn!(node = key.name, silent_s = observed.silent.as_secs(), "node does not report");
            let patch = json!({"metadata": {"uid": uid(observed.node.as_ref())}, "status": {"conditions": conditions}});
            match self.nodes.merge_status(&observed.node, &patch).await {
                Err(error) if error.is_not_found() => return Ok(Next::Done),
                result => result?,
            };
            let message = format!("Node {} status is now: NodeNotReady", key.name);
            normal(&self.recorder, reference(observed.node.as_ref()), "NodeNotReady", message);
        }
        let period = self.settings.period;
        Ok(Next::After(plan.evict_in.map_or(period, |left| period.min(wait(left)))))
    }
}

impl Controller {
    /// How long a node has said nothing new.
    fn silence(&self, node: &Node, name: &str) -> Duration {
        let lease = self.leases.get(&ObjectKey::new(LEASES, name));
        let lease = lease.and_then(|lease| lease.metadata.resource_version.clone());
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ready = conditions.clone().find(|condition| condition.type_ == "Ready");
        let heartbeat = ready.and_then(|ready| ready.last_heartbeat_time.clone());
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let last = heard.entry(name.to_owned()).or_insert_with(|| Heard {
            lease: lease.clone(),
            heartbeat: heartbeat.clone(),
            at: Instant::now(),
        });
        if last.lease != lease || last.heartbeat != heartbeat {
            *last = Heard { lease, heartbeat, at: Instant::now() };
        }
        last.at.elapsed()
    }

    async fn report_not_ready(&self, pod: &Arc<Pod>, observed: &Observed) -> Result<(), Error> {
        let mut conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        for condition in conditions.iter_mut().filter(|condition| condition.type_ == "Ready") {
            condition.status = "False".to_owned();
            condition.last_transition_time = Some(Time(observed.now));
        }
        let version = &pod.metadata.resource_version;
        let patch = json!({
            "metadata": {"uid": uid(pod.as_ref()), "resourceVersion": version}, "status": {"conditions": conditions},
        });
        match self.pods.merge_status(pod, &patch).await {
            Err(error) if error.is_not_found() => return Ok(()),
            result => result?,
        };
        warning(&self.recorder, reference(pod.as_ref()), "NodeNotReady", "Node is not ready".to_owned());
        Ok(())
    }
}
