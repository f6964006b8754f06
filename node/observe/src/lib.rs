//! What a node's kernel holds, shown over gRPC and to programs on the same machine.
//!
//! [`InspectService`] answers on the node's socket, [`connect`] asks there. [`read`] turns the pinned tables into the same messages
//! without a daemon.
//!
//! Invariants: every answer is read from the kernel when it is asked for; the programs' debug lines are on only while someone
//! follows them.
//!
//! Task and channel: one of each per follower of debug lines, 256 lines deep.

mod client;
pub mod read;
mod service;
mod timing;
mod verify;

/// The protocol, generated from `proto/`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("skep.inspect.v1");
}

pub use client::{ClientError, connect};
pub use service::InspectService;
pub use skep_bpf::{Inspector, pin_dir};
pub use skep_datapath::Difference;
pub use timing::Timing;
pub use verify::Verify;
