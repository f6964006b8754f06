//! NodePorts: ports that a pod takes on its node.

use crate::framework::{ClusterEvent, Plugin, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

/// Only nodes on which the pod's host ports are free.
pub(super) fn plugin() -> Plugin {
    let mut plugin = Plugin::named("NodePorts", &[ClusterEvent::NodeAdded, ClusterEvent::PodRemoved]);
    plugin.filter = Some(filter);
    plugin
}

fn filter(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    let taken = |wanted| node.host_ports().any(|port| port.conflicts(wanted));
    if pod.host_ports.iter().any(taken) {
        Verdict::no("node(s) didn't have free ports for the requested pod ports")
    } else {
        Verdict::Fits
    }
}
