//! EndpointSlices: the addresses behind Services that have a selector.

mod build;
mod pack;
mod plan;
mod run;

pub(crate) use run::run;
