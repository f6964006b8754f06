//! The desired tables against what the kernel holds: ordered map operations, and decoding back to names.
//!
//! [`Tables`] is what one node's kernel holds of services. It is told of changes and answers with a [`Plan`]: rows into a range that
//! no head points at, then heads, then what is no longer used. Whoever carries the plan out reports a passed grace period, after
//! which the old ranges may be written again.
//!
//! Invariants:
//! * a row that a head points at is never written, until a grace period after the last such head is gone;
//! * a plan is made as a whole or not at all: a table that is too small is found out before anything is written ([`Full`]);
//! * [`Tables::restore`] from the kernel's content yields what had been planned, so that a restart changes nothing.

mod decode;
mod plan;
mod range;
mod remote;
mod restore;
mod tables;

pub use decode::{BackendRow, ServiceRow, decode_services};
pub use plan::{Full, Plan};
pub use range::{Range, Ranges};
pub use remote::{RemoteHeld, RemotePlan, plan_remotes};
pub use restore::Dump;
pub use tables::{Limits, Tables};
