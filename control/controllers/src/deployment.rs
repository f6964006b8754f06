//! Deployments: from one pod template to the next, without losing the service.
//!
//! One reconcile plans at most one step of a rollout: it first grows the new ReplicaSet; only when there was nothing to
//! grow does it shrink old ones; only when nothing is left to move does it clear history. Each step wakes the next.

mod annotations;
mod hash;
mod numbers;
mod plan;
mod proportional;
mod rollout;
mod run;
mod status;

pub(crate) use run::run;
