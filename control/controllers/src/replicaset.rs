//! ReplicaSets: as many pods as are wanted.
//!
//! No expectations are kept: an own write is in the pod cache before the next decision ([`crate::objects`]), so that
//! counting what is seen never creates or deletes twice.

mod plan;
mod rank;
mod run;

pub(crate) use run::run;
