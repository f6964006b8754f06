//! The loop over nodes.

use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;
use skep_informer::{Recorder, reference};
use skep_reconcile::{Next, Reconciler};

use super::plan::{self, Observed, Plan, after_last, pod_cidrs};
use crate::context::{Context, normal, warning};
use crate::error::Error;
use crate::objects::{ObjectKey, Objects, uid};
use crate::options::PodRange;

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context, ranges: Vec<PodRange>) {
    let controller = Controller {
        nodes: Objects::cluster(&context.informers),
        recorder: context.recorder("cidrAllocator"),
        next: Mutex::new(vec![None; ranges.len()]),
        ranges,
    };
    let queue = context.queue::<Controller>();
    controller.nodes.wake(&queue, "Node");
    // One at a time: each sees in the cache what the one before it was given.
    let options = skep_reconcile::Options { workers: 1, ..context.reconcile.clone() };
    context.run_with(controller, queue, options).await;
}

struct Controller {
    nodes: Objects<Node>,
    recorder: Recorder,
    ranges: Vec<PodRange>,
    /// For each range, the number of the block after the one that was given last.
    next: Mutex<Vec<Option<u64>>>,
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Observed = Observed;
    type Plan = Plan;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        "nodeipam"
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.nodes.keys()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, Error> {
        // A node that has its ranges asks for no look at all others.
        let Some(node) = self.nodes.get(key).filter(|node| pod_cidrs(node).is_empty()) else { return Ok(None) };
        let used: Vec<IpNet> = self.nodes.all().iter().flat_map(|node| pod_cidrs(node)).collect();
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let from =
            |(range, next): (&PodRange, &Option<u64>)| (*range, next.unwrap_or_else(|| after_last(range, &used)));
        let ranges = self.ranges.iter().zip(next.iter()).map(from).collect();
        Ok(Some(Observed { node, used, ranges }))
    }

    fn plan(observed: &Observed) -> Plan {
        plan::plan(observed)
    }

    async fn apply(&self, _: &ObjectKey, observed: &Observed, plan: &Plan) -> Result<(), Error> {
        let Plan::Assign(blocks) = plan else { return Ok(()) };
        let node = observed.node.as_ref();
        let cidrs: Vec<String> = blocks.iter().map(|(_, net)| net.to_string()).collect();
        let version = &node.metadata.resource_version;
        let patch = json!({
            "metadata": {"uid": uid(node), "resourceVersion": version},
            "spec": {"podCIDR": cidrs.first(), "podCIDRs": cidrs},
        });
        self.nodes.merge(node, &patch).await?;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = blocks.iter().map(|(number, _)| Some(number + 1)).collect();
        Ok(())
    }

    async fn report(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        plan: &Plan,
        applied: &Result<(), Error>,
    ) -> Result<Next, Error> {
        let regarding = reference(observed.node.as_ref());
        match plan {
            Plan::Assign(blocks) if applied.is_ok() => {
                let cidrs: Vec<String> = blocks.iter().map(|(_, net)| net.to_string()).collect();
                tracing::info!(node = key.name, cidrs = cidrs.join(","), "pod range allocated");
                let message = format!("Node {} has pod range {}", key.name, cidrs.join(","));
                normal(&self.recorder, regarding, "CIDRAssigned", message);
                Ok(Next::Done)
            }
            Plan::Exhausted(range) => {
                let message = format!("Node {} has no pod range: all of {range} is allocated", key.name);
                warning(&self.recorder, regarding, "CIDRNotAvailable", message);
                Ok(Next::Retry("the cluster's range is exhausted"))
            }
            Plan::Assign(_) | Plan::Nothing => Ok(Next::Done),
        }
    }
}
