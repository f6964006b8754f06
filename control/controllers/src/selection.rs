//! Services and the pods that they select, found from either side by index.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use skep_informer::{Index, Informers};
use skep_reconcile::Queue;

use crate::objects::{ObjectKey, Objects, name, namespace};
use crate::selector::matches_map;
use crate::service::{endpoint_changed, managed_selector};

/// Services and pods, each by labels.
#[derive(Clone)]
pub(crate) struct Selection {
    pub(crate) services: Objects<Service>,
    pods: Objects<Pod>,
    /// Services by the first pair of their selector.
    by_selector: Index<Service>,
    /// Pods by each of their labels.
    by_label: Index<Pod>,
}

impl Selection {
    pub(crate) fn new(informers: &Informers) -> Self {
        let services: Objects<Service> = Objects::namespaced(informers);
        let pods: Objects<Pod> = Objects::namespaced(informers);
        let by_selector = services.informer().index("selector", |service| {
            let first = managed_selector(service).and_then(BTreeMap::first_key_value);
            first.map(|(label, value)| key(namespace(service), label, value)).into_iter().collect()
        });
        let by_label = pods.informer().index("label", |pod| {
            let labels = pod.metadata.labels.iter().flatten();
            labels.map(|(label, value)| key(namespace(pod), label, value)).collect()
        });
        Self { services, pods, by_selector, by_label }
    }

    /// Each change of a Service puts it on the queue, each one of a pod that endpoints show the Services that select it.
    pub(crate) fn wake(&self, queue: &Queue<ObjectKey>) {
        self.services.wake(queue, "Service");
        let (selection, queue) = (self.clone(), queue.clone());
        self.pods.informer().on_change(move |change| {
            if endpoint_changed(change.old.as_ref(), change.new.as_ref()) {
                for service in change.each().flat_map(|pod| selection.services_of(pod)) {
                    queue.add(service, "Pod");
                }
            }
        });
    }

    /// The pods that a Service selects, by name.
    pub(crate) fn pods_of(&self, service: &Service) -> Vec<Arc<Pod>> {
        let Some(selector) = managed_selector(service) else { return Vec::new() };
        let keys = selector.iter().map(|(label, value)| key(namespace(service), label, value));
        let Some(rarest) = keys.min_by_key(|key| self.by_label.len(key)) else { return Vec::new() };
        let mut pods = self.by_label.get(&rarest);
        pods.retain(|pod| matches_map(selector, pod.metadata.labels.as_ref()));
        pods.sort_by(|a, b| name(a.as_ref()).cmp(name(b.as_ref())));
        pods
    }

    fn services_of(&self, pod: &Pod) -> Vec<ObjectKey> {
        let labels = pod.metadata.labels.as_ref();
        let pairs = labels.into_iter().flatten();
        let candidates = pairs.flat_map(|(label, value)| self.by_selector.get(&key(namespace(pod), label, value)));
        let selects =
            |service: &Arc<Service>| managed_selector(service).is_some_and(|selector| matches_map(selector, labels));
        candidates.filter(selects).map(|service| ObjectKey::of(service.as_ref())).collect()
    }
}

fn key(namespace: &str, label: &str, value: &str) -> String {
    format!("{namespace}/{label}={value}")
}
