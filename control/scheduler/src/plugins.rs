//! The default plugins, in upstream's order and with upstream's weights.

mod affinity;
mod fit;
mod image;
mod node;
mod ports;
mod taints;

use std::cmp::Ordering;
use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::core::Status;
use kube::{Api, Client};

use crate::framework::{BindPlugin, ClusterEvent, Plugin, Profile, Verdict};
use crate::pod_info::PodInfo;
pub use taints::tolerates;

/// The plugins of the scheduling cycle.
pub fn default_plugins() -> Vec<Plugin> {
    vec![
        gates(),
        node::unschedulable(),
        node::name(),
        taints::plugin(),
        affinity::plugin(),
        ports::plugin(),
        fit::fit(),
        fit::balanced(),
        image::plugin(),
    ]
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            scheduler_name: "default-scheduler".to_owned(),
            queue_sort: priority_sort,
            plugins: default_plugins(),
            bind_plugins: vec![Arc::new(DefaultBinder)],
        }
    }
}

/// Higher priority first.
fn priority_sort(a: &Pod, b: &Pod) -> Ordering {
    let priority = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
    priority(b).cmp(&priority(a))
}

fn gates() -> Plugin {
    let mut plugin = Plugin::named("SchedulingGates", &[ClusterEvent::PodChanged]);
    plugin.pre_enqueue = Some(|pod| {
        let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_deref()).unwrap_or_default();
        if gates.is_empty() {
            return Verdict::Fits;
        }
        let names: Vec<_> = gates.iter().map(|gate| gate.name.as_str()).collect();
        Verdict::no(format!("waiting for scheduling gates: [{}]", names.join(" ")))
    });
    plugin
}

/// Binds by POST of a Binding.
struct DefaultBinder;

impl BindPlugin for DefaultBinder {
    fn name(&self) -> &'static str {
        "DefaultBinder"
    }

    fn bind<'a>(&'a self, client: &'a Client, pod: &'a PodInfo, node: &'a str) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(async move {
            let meta = &pod.pod.metadata;
            let name = meta.name.clone().unwrap_or_default();
            let binding = Binding {
                metadata: ObjectMeta {
                    namespace: meta.namespace.clone(),
                    name: meta.name.clone(),
                    uid: meta.uid.clone(),
                    ..ObjectMeta::default()
                },
                target: ObjectReference {
                    kind: Some("Node".to_owned()),
                    name: Some(node.to_owned()),
                    ..ObjectReference::default()
                },
            };
            let api: Api<Pod> = Api::namespaced(client.clone(), meta.namespace.as_deref().unwrap_or_default());
            let answer = api.create_subresource::<_, Status>("binding", &name, &PostParams::default(), &binding).await;
            answer.map(|_| true).map_err(|error| error.to_string())
        })
    }
}
