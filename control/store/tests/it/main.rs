//! The state machine against a reference that keeps a full copy of the keys for each revision.
#![allow(clippy::unwrap_used)]

mod etcd;
mod model;
mod properties;
