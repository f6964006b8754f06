//! A pod's life on the node. Each pod has a [`worker`](worker::Worker) that observes, plans, applies and reports.

mod backoff;
mod cleanup;
mod conditions;
mod hook;
mod observe;
mod phase;
mod plan;
mod report;
mod runtime;
mod sandbox;
mod set;
mod start;
mod status;
mod stop;
mod worker;

use k8s_openapi::api::core::v1::Pod;

pub(crate) use backoff::Backoffs;
pub(crate) use observe::relist;
pub(crate) use plan::{Unhealthy, spec_hash};
pub(crate) use runtime::{Container, Runtime, State};
pub(crate) use set::PodSet;
pub(crate) use status::container_id;

/// What a pod is known by. The uid alone identifies it; the names are for people and paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PodKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl PodKey {
    pub(crate) fn of(pod: &Pod) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let meta = &pod.metadata;
        Self { namespace: text(&meta.namespace), name: text(&meta.name), uid: text(&meta.uid) }
    }
}

impl std::fmt::Display for PodKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How long the pod's containers may take to end: what its deletion says, else its spec.
pub(crate) fn grace_s(pod: &Pod) -> i64 {
    const DEFAULT_S: i64 = 30;
    let spec = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    let deletion = pod.metadata.deletion_timestamp.as_ref().and(pod.metadata.deletion_grace_period_seconds);
    deletion.or(spec).unwrap_or(DEFAULT_S).max(0)
}

/// Every container of a pod's spec, init containers first.
pub(crate) fn containers(pod: &Pod) -> impl Iterator<Item = &k8s_openapi::api::core::v1::Container> {
    pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
}

/// The containers that were added to a running pod to look into it, as the other containers are written: they only lack fields.
pub(crate) fn ephemeral(spec: &k8s_openapi::api::core::v1::PodSpec) -> Vec<k8s_openapi::api::core::v1::Container> {
    let all = spec.ephemeral_containers.iter().flatten();
    let as_container = |held| serde_json::from_value(serde_json::to_value(held).ok()?).ok();
    all.filter_map(as_container).collect()
}

/// One container of a pod, of whatever sort.
pub(crate) fn container(pod: &Pod, name: &str) -> Option<k8s_openapi::api::core::v1::Container> {
    let named = |held: &&k8s_openapi::api::core::v1::Container| held.name == name;
    let added = || ephemeral(pod.spec.as_ref()?).into_iter().find(|held| held.name == name);
    containers(pod).find(named).cloned().or_else(added)
}

/// The container whose processes an added one is to see.
pub(crate) fn target_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let all = pod.spec.as_ref()?.ephemeral_containers.as_ref()?;
    all.iter().find(|held| held.name == name)?.target_container_name.as_deref().filter(|target| !target.is_empty())
}

/// Whether the pod lives in the node's own network.
pub(crate) fn host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true))
}
