//! The loop over Services, for their EndpointSlices.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::DeleteParams;
use skep_informer::{Index, Recorder, reference};
use skep_reconcile::{Next, Queue, Reconciler};

use super::plan::{self, CONTROLLER, MANAGED_BY, Observed, Plan, SERVICE_NAME};
use crate::context::{Context, now, warning};
use crate::error::Error;
use crate::objects::{ObjectKey, Objects, name, namespace};
use crate::pod;
use crate::selection::Selection;
use crate::service::managed_selector;

const ZONE: &str = "topology.kubernetes.io/zone";

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context) {
    let slices: Objects<EndpointSlice> = Objects::namespaced(&context.informers);
    let of_service =
        slices.informer().index("service", |slice| service_of(slice).iter().map(ObjectKey::to_string).collect());
    let controller = Controller {
        selection: Selection::new(&context.informers),
        slices,
        of_service,
        nodes: Objects::cluster(&context.informers),
        recorder: context.recorder("endpoint-slice-controller"),
    };
    let queue = context.queue::<Controller>();
    watch(&controller, &queue);
    context.run(controller, queue).await;
}

struct Controller {
    selection: Selection,
    slices: Objects<EndpointSlice>,
    /// This controller's slices, by Service.
    of_service: Index<EndpointSlice>,
    nodes: Objects<Node>,
    recorder: Recorder,
}

fn watch(controller: &Controller, queue: &Queue<ObjectKey>) {
    controller.selection.wake(queue);
    let wake = queue.clone();
    controller.slices.informer().on_change(move |change| {
        for service in change.each().filter_map(|slice| service_of(slice)) {
            wake.add(service, "EndpointSlice");
        }
    });
}

fn label<'a>(slice: &'a EndpointSlice, key: &str) -> Option<&'a str> {
    slice.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// The Service of one of this controller's slices.
fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let own = label(slice, MANAGED_BY) == Some(CONTROLLER);
    let service = label(slice, SERVICE_NAME).filter(|_| own)?;
    Some(ObjectKey::new(namespace(slice), service))
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Observed = Observed;
    type Plan = Plan;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        "endpointslice"
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.selection.services.keys()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, Error> {
        let Some(service) = self.selection.services.get(key) else { return Ok(None) };
        if managed_selector(&service).is_none() || service.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let mut slices = self.of_service.get(&key.to_string());
        slices.retain(|slice| slice.metadata.deletion_timestamp.is_none());
        slices.sort_by(|a, b| name(a.as_ref()).cmp(name(b.as_ref())));
        let pods = self.selection.pods_of(&service);
        let zone = |node: &str| {
            let node = self.nodes.get(&ObjectKey::new("", node))?;
            Some((name(node.as_ref()).to_owned(), node.metadata.labels.as_ref()?.get(ZONE)?.clone()))
        };
        let zones = pods.iter().filter_map(|pod| zone(pod::node_name(pod)?)).collect();
        Ok(Some(Observed { pods, service, slices, zones, now: now() }))
    }

    fn plan(observed: &Observed) -> Plan {
        plan::plan(observed)
    }

    /// Creates before it deletes, so that no endpoint is missing in between.
    async fn apply(&self, _: &ObjectKey, _: &Observed, plan: &Plan) -> Result<(), Error> {
        for slice in &plan.create {
            match self.slices.create(slice).await {
                Err(error) if error.is_namespace_terminating() => return Ok(()),
                result => result?,
            };
        }
        for slice in &plan.update {
            self.slices.replace(slice).await?;
        }
        for slice in &plan.delete {
            self.slices.delete(slice, DeleteParams::default()).await?;
        }
        Ok(())
    }

    async fn report(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        _: &Plan,
        applied: &Result<(), Error>,
    ) -> Result<Next, Error> {
        if let Err(error) = applied
            && !error.is_conflict()
        {
            let message = format!("Error updating Endpoint Slices for Service {key}: {}", error.answer());
            let service = reference(observed.service.as_ref());
            warning(&self.recorder, service, "FailedToUpdateEndpointSlices", message);
        }
        Ok(Next::Done)
    }
}
