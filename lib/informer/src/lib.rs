//! What a component hears from the API, and the events it tells people.
//!
//! [`Informers`] holds one [`Informer`] per resource, shared by all loops of a process: one watch, one cache, many
//! handlers. [`Recorder`] writes Kubernetes Events and folds repeats into one.
//!
//! Invariants:
//! * a cache never goes back: an object is only replaced by one of a higher resource version, except by a new list;
//! * what a component wrote is in its own cache before it decides again ([`Informer::record`]), so that a loop which
//!   counts what it sees never creates twice; this rests on resource versions being comparable numbers;
//! * an index holds what its cache holds, at every moment;
//! * handlers run after the cache has changed, see every change of an object once, and must not block.
//!
//! Tasks: one per informer, one per recorder. Channels: the recorder's, bounded; an event that does not fit is dropped.

mod cache;
mod index;
mod informer;
mod informers;
mod recorder;

pub use cache::Change;
pub use index::Index;
pub use informer::{Informer, Watched};
pub use informers::Informers;
pub use recorder::{EventType, Recorder, reference};
