//! Namespaces that are deleted: first their pods go, then all else in them, then they themselves.

mod plan;
mod run;

pub(crate) use run::run;
