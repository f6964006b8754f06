//! The scheduling and binding cycles, and the plugin framework.
//!
//! [`plan`] is the scheduling cycle's decision: a pure function of a [`Snapshot`] and a pod. [`run`] is the loop around it.
//! A [`Profile`] lists [`Plugin`]s: plain functions, each at some of the framework's extension points.
//!
//! Invariants: one scheduling cycle runs at a time, so that no two pods are promised the same room; a pod that was
//! promised a node takes its room in the cache until the API has confirmed or refused it; binding cycles run beside.
//!
//! Tasks: the loop, and one per binding cycle in flight, bounded. Queues: the scheduling queue holds each
//! pending pod once, and as many as there are.

mod cache;
mod framework;
mod node_info;
mod plan;
mod plugins;
mod pod_info;
mod queue;
mod resources;
mod run;

pub use cache::Snapshot;
pub use framework::{BindPlugin, ClusterEvent, Plugin, PreFiltered, Profile, Score, Verdict};
pub use node_info::NodeInfo;
pub use plan::{Hints, Placement, Unschedulable, plan};
pub use plugins::{default_plugins, tolerates};
pub use pod_info::PodInfo;
pub use resources::Resources;
pub use run::{Options, run};
pub use tokio_util::sync::CancellationToken;
