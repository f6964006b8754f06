//! Endpoints, the older form of EndpointSlices: one object per Service, cut off at 1000 addresses.

mod plan;
mod run;

pub(crate) use run::run;
