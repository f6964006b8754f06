//! Measures anew what a namespace uses of its quotas, whenever something in it goes.
//!
//! What comes is charged by the API server with the write itself, so that only what goes needs looking at. A measurement counts
//! only if nothing was charged since the quota was read: the lists are read after the quota, and the status is written against the
//! version that was read.

mod counts;
mod plan;
mod run;

pub(crate) use run::run;
