//! The kubelet's role: it registers the node, runs the pods that are bound to it through CRI, probes them, and reports.
//!
//! [`run`] is the entry; [`Options`] says for which node.
//!
//! Invariants:
//! * What to do is decided by pure functions (`pod::plan`, `pod::status`) of the pod, of what the runtime holds now, and
//!   of what failed lately. Nothing is compared with what was last sent.
//! * Nothing is only in memory that a restarted agent needs: it finds containers, their restart counts and specs in the
//!   runtime's labels and annotations, and the rest in the API. A killed agent leaves containers running.
//! * One piece of work at a time for each container, and one for each pod's sandbox.
//!
//! Tasks: one for the set of pods (watch and relist) with one worker per pod below it, whose work and probes are tasks
//! again; the node's status; its lease; events; log rotation; the HTTPS server. Channels: a bounded queue of events (full:
//! dropped); a watch channel with the wanted state of each pod; a [`tokio::sync::Notify`] that wakes each worker.

mod agent;
mod config;
mod context;
mod env;
mod event;
mod image;
mod limits;
mod log;
mod node;
mod options;
mod pod;
mod probe;
mod quantity;
mod server;
mod volume;

pub use agent::{register, run};
pub use node::RangeTaken;
pub use options::Options;

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
