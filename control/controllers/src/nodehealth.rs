//! Nodes that fall silent: their conditions, their taints, and the pods that must leave.

mod evict;
mod plan;
mod run;

pub(crate) use run::run;
