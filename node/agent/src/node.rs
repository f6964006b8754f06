//! The Node object: registered at start, its status kept true, its Lease renewed.

mod facts;
mod lease;
mod register;
mod status;

pub(crate) use facts::Facts;
pub(crate) use lease::run as keep_lease;
pub(crate) use register::run as register;
pub(crate) use status::{Reporter, allocatable};
