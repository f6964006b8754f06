//! The desired tables against what the kernel holds: ordered map operations, and decoding back to names.
//!
//! [`Tables`] is what one node's kernel holds of services. It is told of changes and answers with a [`Plan`]: rows into a range that
//! no head points at, then heads, then what is no longer used. Whoever carries the plan out reports a passed grace period, after
//! which the old ranges may be written again.
//!
//! [`PolicyPlan`] does the same for policy, whose tables have no ranges: rows before the ids that lead to them, and away with what is
//! old at last.
//!
//! Invariants:
//! * a row that a head points at is never written, until a grace period after the last such head is gone;
//! * a plan is made as a whole or not at all: a table that is too small is found out before anything is written ([`Full`]);
//! * [`Tables::restore`] from the kernel's content yields what had been planned, so that a restart changes nothing.

mod addresses;
mod decode;
mod plan;
mod policy;
mod policy_rows;
mod range;
mod remote;
mod restore;
mod tables;
mod verify;

pub use decode::{BackendRow, ServiceRow, decode_services};
pub use plan::{Full, Plan};
pub use policy::{PolicyDump, PolicyPlan, encode, fits};
pub use policy_rows::{
    Difference, FlowEntry, IdentityEntry, PolicyEntry, decode_flow, decode_identities, decode_policy, verify_policy,
};
pub use range::{Range, Ranges};
pub use remote::{RemoteHeld, RemotePlan, plan_remotes};
pub use restore::Dump;
pub use tables::{Limits, Tables};
pub use verify::verify_services;
