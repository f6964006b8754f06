//! NodeName and NodeUnschedulable.

use k8s_openapi::api::core::v1::Taint;

use super::taints::tolerations;
use crate::framework::{ClusterEvent, Plugin, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::tolerates;

/// Only the node that the pod names.
pub(super) fn name() -> Plugin {
    let mut plugin = Plugin::named("NodeName", &[ClusterEvent::NodeAdded]);
    plugin.filter = Some(|pod, node| {
        let wanted = pod.spec().and_then(|spec| spec.node_name.as_deref()).filter(|name| !name.is_empty());
        match wanted {
            Some(name) if name != node.name() => Verdict::no("node(s) didn't match the requested node name"),
            _ => Verdict::Fits,
        }
    });
    plugin
}

/// No cordoned node, unless the pod tolerates that.
pub(super) fn unschedulable() -> Plugin {
    let mut plugin = Plugin::named("NodeUnschedulable", &[ClusterEvent::NodeAdded, ClusterEvent::NodeChanged]);
    plugin.filter = Some(filter_unschedulable);
    plugin
}

fn filter_unschedulable(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    if !node.is_unschedulable() {
        return Verdict::Fits;
    }
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if tolerations(pod).iter().any(|toleration| tolerates(toleration, &taint)) {
        Verdict::Fits
    } else {
        Verdict::no("node(s) were unschedulable")
    }
}
