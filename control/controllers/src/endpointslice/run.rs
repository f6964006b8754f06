//! The loop over Services, for their EndpointSlices.

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::DeleteParams;
use skep_informer::{Recorder, reference};
use skep_reconcile::{Next, Queue, Reconciler};

use super::plan::{self, CONTROLLER, MANAGED_BY, Observed, Plan, SERVICE_NAME};
use crate::context::{Context, now, warning};
use crate::error::Error;
use crate::objects::{ObjectKey, Objects, name, namespace};
use crate::pod;
use crate::service::{endpoint_changed, managed_selector, selected_pods, services_of};

const ZONE: &str = "topology.kubernetes.io/zone";

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context) {
    let controller = Controller {
        services: Objects::namespaced(&context.informers),
        pods: Objects::namespaced(&context.informers),
        slices: Objects::namespaced(&context.informers),
        nodes: Objects::cluster(&context.informers),
        recorder: context.recorder("endpoint-slice-controller"),
    };
    let queue = context.queue::<Controller>();
    watch(&controller, &queue);
    context.run(controller, queue).await;
}

struct Controller {
    services: Objects<Service>,
    pods: Objects<Pod>,
    slices: Objects<EndpointSlice>,
    nodes: Objects<Node>,
    recorder: Recorder,
}

fn watch(controller: &Controller, queue: &Queue<ObjectKey>) {
    controller.services.wake(queue, "Service");
    let wake = queue.clone();
    let services = controller.services.clone();
    controller.pods.informer().on_change(move |change| {
        if endpoint_changed(change.old.as_ref(), change.new.as_ref()) {
            for key in change.each().flat_map(|pod| services_of(pod, &services)) {
                wake.add(key, "Pod");
            }
        }
    });
    let wake = queue.clone();
    controller.slices.informer().on_change(move |change| {
        for slice in change.each().filter(|slice| is_own(slice)) {
            if let Some(service) = service_name(slice) {
                wake.add(ObjectKey::new(namespace(slice.as_ref()), service), "EndpointSlice");
            }
        }
    });
}

fn label<'a>(slice: &'a EndpointSlice, key: &str) -> Option<&'a str> {
    slice.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn is_own(slice: &EndpointSlice) -> bool {
    label(slice, MANAGED_BY) == Some(CONTROLLER)
}

fn service_name(slice: &EndpointSlice) -> Option<&str> {
    label(slice, SERVICE_NAME)
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
        self.services.keys()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, Error> {
        let Some(service) = self.services.get(key) else { return Ok(None) };
        if managed_selector(&service).is_none() || service.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let mut slices = self.slices.list(&key.namespace);
        slices.retain(|slice| {
            let alive = slice.metadata.deletion_timestamp.is_none();
            alive && is_own(slice) && service_name(slice) == Some(name(service.as_ref()))
        });
        let pods = selected_pods(&service, &self.pods);
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
