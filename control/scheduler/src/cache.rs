//! What is known of nodes and the pods on them, kept up to date change by change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

/// All nodes at one moment. A clone shares what has not changed.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: BTreeMap<String, Arc<NodeInfo>>,
}

impl Snapshot {
    /// The nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<NodeInfo>> {
        self.nodes.values().filter(|info| info.node.is_some())
    }

    /// The node of a name.
    pub fn node(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        self.nodes.get(name).filter(|info| info.node.is_some())
    }
}

struct KnownPod {
    node: String,
    /// Promised a node, but not confirmed by the API.
    assumed: bool,
}

/// Nodes and the pods on them. Every change may be told more than once.
#[derive(Default)]
pub(crate) struct Cache {
    snapshot: Snapshot,
    pods: HashMap<String, KnownPod>,
}

impl Cache {
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    pub(crate) fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        Arc::make_mut(self.snapshot.nodes.entry(name).or_default()).set_node(Some(node));
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        self.change_node(name, |info| info.set_node(None));
    }

    /// A pod as the API has it, bound to a node.
    pub(crate) fn set_pod(&mut self, pod: &Arc<Pod>, node: &str) {
        self.put(Arc::new(PodInfo::new(Arc::clone(pod))), node, false);
    }

    /// A pod that is about to be bound.
    pub(crate) fn assume(&mut self, pod: &PodInfo, node: &str) {
        self.put(Arc::new(pod.clone()), node, true);
    }

    /// A pod that was not bound after all.
    pub(crate) fn forget(&mut self, uid: &str) {
        if self.pods.get(uid).is_some_and(|pod| pod.assumed) {
            self.remove_pod(uid);
        }
    }

    pub(crate) fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|pod| pod.assumed)
    }

    pub(crate) fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(known) = self.pods.remove(uid) else { return false };
        self.change_node(&known.node, |info| info.remove_pod(uid));
        true
    }

    fn put(&mut self, info: Arc<PodInfo>, node: &str, assumed: bool) {
        let uid = info.uid().to_owned();
        if self.pods.get(&uid).is_some_and(|known| known.node != node) {
            self.remove_pod(&uid);
        }
        Arc::make_mut(self.snapshot.nodes.entry(node.to_owned()).or_default()).add_pod(info);
        self.pods.insert(uid, KnownPod { node: node.to_owned(), assumed });
    }

    fn change_node(&mut self, name: &str, change: impl FnOnce(&mut NodeInfo)) {
        let Some(info) = self.snapshot.nodes.get_mut(name) else { return };
        let info = Arc::make_mut(info);
        change(info);
        if info.is_unused() {
            self.snapshot.nodes.remove(name);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn pod(uid: &str, cpu: &str) -> Arc<Pod> {
        let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
        Arc::new(from_value(json!({"metadata": {"name": uid, "uid": uid}, "spec": spec})).unwrap())
    }

    fn node() -> Arc<Node> {
        Arc::new(
            from_value(json!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "2", "pods": "5"}}}))
                .unwrap(),
        )
    }

    fn requested(cache: &Cache) -> i64 {
        cache.snapshot.nodes.get("n").map_or(0, |info| info.requested.get("cpu"))
    }

    #[test]
    fn changes_told_twice_count_once() {
        let mut cache = Cache::default();
        cache.set_pod(&pod("a", "100m"), "n");
        assert_eq!(cache.snapshot().nodes().count(), 0, "the node is not known yet");
        cache.set_node(node());
        cache.set_pod(&pod("a", "150m"), "n");
        cache.set_pod(&pod("b", "50m"), "n");
        assert_eq!(requested(&cache), 200);
        cache.remove_pod("a");
        cache.remove_pod("a");
        assert_eq!(requested(&cache), 50);
        cache.remove_node("n");
        cache.remove_pod("b");
        assert!(cache.snapshot.nodes.is_empty());
    }

    #[test]
    fn an_assumed_pod_takes_room_until_it_is_forgotten_or_confirmed() {
        let mut cache = Cache::default();
        cache.set_node(node());
        cache.assume(&PodInfo::new(pod("a", "100m")), "n");
        assert_eq!(requested(&cache), 100);
        cache.forget("a");
        assert_eq!(requested(&cache), 0);
        cache.assume(&PodInfo::new(pod("a", "100m")), "n");
        cache.set_pod(&pod("a", "100m"), "n");
        cache.forget("a");
        assert_eq!(requested(&cache), 100, "confirmed, so that there is nothing to forget");
    }

    #[test]
    fn a_snapshot_does_not_change() {
        let mut cache = Cache::default();
        cache.set_node(node());
        let before = cache.snapshot();
        cache.set_pod(&pod("a", "100m"), "n");
        assert_eq!(before.node("n").unwrap().requested.get("cpu"), 0);
    }
}
