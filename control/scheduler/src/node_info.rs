//! A node, and what the pods on it take.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::pod_info::{HostPort, PodInfo};
use crate::resources::Resources;

/// A node, and what the pods on it take.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// The node; absent while only pods on it are known.
    pub node: Option<Arc<Node>>,
    /// What it has for pods.
    pub allocatable: Resources,
    /// What its pods ask for.
    pub requested: Resources,
    /// What its pods count as when nodes are compared.
    pub(crate) requested_for_scoring: Resources,
    /// Sizes in bytes of the images it holds, by name.
    pub(crate) images: HashMap<String, i64>,
    pods: BTreeMap<String, Arc<PodInfo>>,
}

impl NodeInfo {
    pub(crate) fn set_node(&mut self, node: Option<Arc<Node>>) {
        let status = node.as_ref().and_then(|node| node.status.as_ref());
        self.allocatable = Resources::of(status.and_then(|status| status.allocatable.as_ref()));
        self.images = status
            .iter()
            .flat_map(|status| status.images.iter().flatten())
            .flat_map(|image| image.names.iter().flatten().map(|name| (name.clone(), image.size_bytes.unwrap_or(0))))
            .collect();
        self.node = node;
    }

    pub(crate) fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.requested_for_scoring.add(&pod.requests_for_scoring);
        if let Some(replaced) = self.pods.insert(pod.uid().to_owned(), pod) {
            self.take_off(&replaced);
        }
    }

    pub(crate) fn remove_pod(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            self.take_off(&pod);
        }
    }

    fn take_off(&mut self, pod: &PodInfo) {
        self.requested.subtract(&pod.requests);
        self.requested_for_scoring.subtract(&pod.requests_for_scoring);
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.node.is_none() && self.pods.is_empty()
    }

    /// How many pods are on it.
    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }

    pub(crate) fn host_ports(&self) -> impl Iterator<Item = &HostPort> {
        self.pods.values().flat_map(|pod| &pod.host_ports)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.node.as_ref().and_then(|node| node.metadata.name.as_deref()).unwrap_or_default()
    }

    pub(crate) fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.node.as_ref()?.metadata.labels.as_ref()
    }

    pub(crate) fn taints(&self) -> &[Taint] {
        let spec = self.node.as_ref().and_then(|node| node.spec.as_ref());
        spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
    }

    pub(crate) fn is_unschedulable(&self) -> bool {
        let spec = self.node.as_ref().and_then(|node| node.spec.as_ref());
        spec.and_then(|spec| spec.unschedulable).unwrap_or(false)
    }
}
