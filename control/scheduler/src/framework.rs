//! The extension points, and the profile that says which plugins stand at them.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;

use crate::cache::Snapshot;
use crate::node_info::NodeInfo;
use crate::plan::Unschedulable;
use crate::pod_info::PodInfo;

/// What may make room for a pod that had none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClusterEvent {
    /// A node came.
    NodeAdded,
    /// A node's labels, taints, resources or spec changed.
    NodeChanged,
    /// A pod left a node.
    PodRemoved,
    /// The waiting pod itself changed.
    PodChanged,
}

/// What a plugin says of a pod, or of a pod and a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing speaks against it.
    Fits,
    /// Not now; each reason is counted over the nodes.
    Unschedulable(Vec<String>),
}

impl Verdict {
    /// A verdict with one reason.
    pub fn no(reason: impl Into<String>) -> Self {
        Self::Unschedulable(vec![reason.into()])
    }

    /// Fits if there are no reasons.
    pub fn of(reasons: Vec<String>) -> Self {
        if reasons.is_empty() { Self::Fits } else { Self::Unschedulable(reasons) }
    }
}

/// What PreFilter says of a pod.
pub struct PreFiltered {
    /// Whether any node can fit.
    pub verdict: Verdict,
    /// The only nodes that can, if that is known by name.
    pub only: Option<BTreeSet<String>>,
}

/// Score and its normalization.
pub struct Score {
    /// Factor of the normalized score.
    pub weight: i64,
    /// A node's raw score, higher is better; 0 to 100 where there is no `normalize`.
    pub score: fn(&PodInfo, &NodeInfo, &Snapshot) -> i64,
    /// Brings the scores of all nodes into 0 to 100.
    pub normalize: Option<fn(&mut [i64])>,
    /// PreScore: whether this plugin has anything to say about the pod.
    pub applies: fn(&PodInfo) -> bool,
}

/// A plugin: plain functions, each at an extension point of the scheduling cycle.
pub struct Plugin {
    /// Its name, as upstream's.
    pub name: &'static str,
    /// Which events may turn its refusal.
    pub wakes: &'static [ClusterEvent],
    /// Whether the pod may enter the queue.
    pub pre_enqueue: Option<fn(&Pod) -> Verdict>,
    /// Looks at the pod before any node.
    pub pre_filter: Option<fn(&PodInfo, &Snapshot) -> PreFiltered>,
    /// Looks at the pod and one node.
    pub filter: Option<fn(&PodInfo, &NodeInfo) -> Verdict>,
    /// Tries to make room when no node fits; the node on which it did.
    pub post_filter: Option<fn(&PodInfo, &Snapshot, &Unschedulable) -> Option<String>>,
    /// Prefers one node to another.
    pub score: Option<Score>,
}

impl Plugin {
    /// A plugin at no extension point.
    pub const fn named(name: &'static str, wakes: &'static [ClusterEvent]) -> Self {
        Self { name, wakes, pre_enqueue: None, pre_filter: None, filter: None, post_filter: None, score: None }
    }
}

/// A plugin of the binding cycle. Its methods run in this order; `unreserve` after any later one failed.
pub trait BindPlugin: Send + Sync + 'static {
    /// Its name, as upstream's.
    fn name(&self) -> &'static str;

    /// Takes what the pod needs beside room on the node. Part of the scheduling cycle.
    ///
    /// # Errors
    /// Why it cannot be had.
    fn reserve(&self, _pod: &PodInfo, _node: &str) -> Result<(), String> {
        Ok(())
    }

    /// Gives back what `reserve` took. Also called where that did not run.
    fn unreserve(&self, _pod: &PodInfo, _node: &str) {}

    /// Lets the pod wait for something.
    fn permit<'a>(&'a self, _pod: &'a PodInfo, _node: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Does what must be done before the pod is bound.
    fn pre_bind<'a>(&'a self, _: &'a Client, _pod: &'a PodInfo, _node: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Binds the pod. `Ok(false)` leaves it to the next plugin.
    fn bind<'a>(&'a self, _: &'a Client, _pod: &'a PodInfo, _node: &'a str) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(async { Ok(false) })
    }

    /// Is told that the pod is bound.
    fn post_bind(&self, _pod: &PodInfo, _node: &str) {}
}

/// Which plugins schedule the pods of one `schedulerName`.
pub struct Profile {
    /// `spec.schedulerName` of its pods.
    pub scheduler_name: String,
    /// QueueSort: which of two waiting pods comes first. The time is that of entering the queue.
    pub queue_sort: fn(&Pod, &Pod) -> Ordering,
    /// Plugins of the scheduling cycle, in order.
    pub plugins: Vec<Plugin>,
    /// Plugins of the binding cycle, in order.
    pub bind_plugins: Vec<Arc<dyn BindPlugin>>,
}
