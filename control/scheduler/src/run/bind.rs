//! The binding cycle.

use skep_informer::{EventType, reference};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Shared;
use crate::plan::Placement;
use crate::pod_info::PodInfo;

/// Reserve, the last part of the scheduling cycle.
pub(super) fn reserve(shared: &Shared, pod: &PodInfo, node: &str) -> Result<(), String> {
    for plugin in &shared.profile.bind_plugins {
        if let Err(reason) = plugin.reserve(pod, node) {
            unreserve(shared, pod, node);
            return Err(format!("{}: {reason}", plugin.name()));
        }
    }
    Ok(())
}

fn unreserve(shared: &Shared, pod: &PodInfo, node: &str) {
    shared.profile.bind_plugins.iter().rev().for_each(|plugin| plugin.unreserve(pod, node));
}

/// Permit, PreBind, Bind, PostBind; gives everything back if one fails.
pub(super) async fn bind(shared: &Shared, pod: &PodInfo, placement: &Placement) {
    let node = placement.node.as_str();
    let meta = &pod.pod.metadata;
    let full_name =
        format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    match try_bind(shared, pod, node).await {
        Ok(()) => {
            info!(node, evaluated = placement.evaluated, feasible = placement.feasible, "pod bound");
            // The cache keeps the pod as assumed until the watch confirms it.
            shared.change(|state| state.queue.remove(pod.uid()));
            let message = format!("Successfully assigned {full_name} to {node}");
            shared.recorder.event(EventType::Normal, reference(pod.pod.as_ref()), "Scheduled", message);
            shared.profile.bind_plugins.iter().for_each(|plugin| plugin.post_bind(pod, node));
        }
        Err(reason) => {
            warn!(node, reason, "pod not bound");
            unreserve(shared, pod, node);
            shared.change(|state| {
                state.cache.forget(pod.uid());
                state.queue.retry(pod.uid(), Instant::now());
                state.queue.event(crate::framework::ClusterEvent::PodRemoved, Instant::now());
            });
            let message = format!("binding rejected: {reason}");
            shared.recorder.event(EventType::Warning, reference(pod.pod.as_ref()), "FailedScheduling", message);
        }
    }
}

async fn try_bind(shared: &Shared, pod: &PodInfo, node: &str) -> Result<(), String> {
    let plugins = &shared.profile.bind_plugins;
    for plugin in plugins {
        plugin.permit(pod, node).await.map_err(|reason| format!("{}: {reason}", plugin.name()))?;
    }
    for plugin in plugins {
        plugin.pre_bind(&shared.client, pod, node).await.map_err(|reason| format!("{}: {reason}", plugin.name()))?;
    }
    for plugin in plugins {
        let bound = plugin.bind(&shared.client, pod, node).await;
        if bound.map_err(|reason| format!("{}: {reason}", plugin.name()))? {
            return Ok(());
        }
    }
    Err("no plugin binds".to_owned())
}
