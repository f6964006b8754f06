//! Tracing set-up and the metric registry.
//!
//! [`init`] is called once, by a binary. [`Registry::global`] is what a process exposes; families register themselves
//! with it where they are declared, as statics. Owns no tasks and no channels.

mod logging;
mod metrics;

pub use logging::{InitError, Settings, init};
pub use metrics::{Counter, Family, Gauge, Histogram, Labels, Registry};
