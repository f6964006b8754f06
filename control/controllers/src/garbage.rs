//! Garbage collection by owner references, for every resource that the API serves.
//!
//! The graph of objects comes from watches of metadata. An object goes when none of its owners is left; an owner in
//! foreground deletion waits for the dependents that block it; one in orphan deletion lets go of its dependents first.

mod graph;
mod plan;
mod run;
mod watches;

pub(crate) use run::run;
pub(crate) use watches::discover;
