//! The Node object: registered at start, its status kept true, its Lease renewed.

mod facts;
mod lease;
mod presence;
mod register;
mod status;

pub(crate) use facts::Facts;
pub(crate) use lease::run as keep_lease;
pub(crate) use presence::run as watch_presence;
pub use register::RangeTaken;
pub(crate) use register::run as register;
pub(crate) use status::{Reporter, allocatable};
