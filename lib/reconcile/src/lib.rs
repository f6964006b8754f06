//! One keyed control loop for every controller.
//!
//! A controller implements [`Reconciler`]: four functions, always in this order: `observe`, `plan` (pure), `apply`,
//! `report`. [`run`] calls them for the keys that a [`Queue`] holds. Nothing here knows a resource.
//!
//! Invariants:
//! * a key is never worked on twice at once; one that is added while it runs, runs again afterwards;
//! * a key is told to the controller and nothing else: what woke it only goes to the span and to logs;
//! * the queue holds each key at most once and at most [`Options::queue_len_max`] keys; one more means that all of
//!   [`Reconciler::keys`] are looked at again;
//! * a failed key comes back after a delay that doubles, from [`Options::backoff_min`] to [`Options::backoff_max`].
//!
//! Tasks: [`run`] is one task that dispatches, and spawns one for each reconcile in flight, up to
//! [`Options::workers`]. It ends when its token is cancelled, after those in flight ended or were aborted.

mod metrics;
mod options;
mod queue;
mod reconciler;
mod run;
mod state;

pub use options::Options;
pub use queue::Queue;
pub use reconciler::{Fault, Key, Next, Reconciler};
pub use run::run;
pub use tokio_util::sync::CancellationToken;
