//! Server-side apply (KEP-555), after `sigs.k8s.io/structured-merge-diff`: who owns which field of an object, and how
//! an applied configuration merges into it.
//!
//! [`Managers`] is the entry type: `metadata.managedFields`, decoded. [`Managers::update`] follows every other write,
//! [`Managers::apply_configuration`] merges. Both see objects as JSON through the [`ObjectShape`](skep_schema::ObjectShape) of their kind, in one version:
//! all served versions of a kind are taken to have the same fields.
//!
//! Invariants: no input panics; applying a configuration twice changes nothing the second time; what an applier sets is in the
//! merged object; what nobody owns stays. Times come from the caller.

mod element;
mod fields;
mod last_applied;
mod managers;
mod merge;
mod set;
mod typed;

pub use element::{Element, ElementError, Scalar, path_text};
pub use fields::FieldsError;
pub use last_applied::LAST_APPLIED;
pub use managers::{ManagerId, Managers, ManagersError, Operation, Owned, is_reset, same_but_for_times};
pub use merge::{Conflict, Kind, Refusal, Writer, blank, conflicts_text};
pub use set::Set;
pub use typed::{Changes, Fault, check, compare, faults_text, fields};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
