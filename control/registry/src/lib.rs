//! Every built-in resource, as data and pure functions.
//!
//! [`Registry`] is the entry type: a table of [`Resource`]s. The API server has one generic request path, which knows
//! no resource; it asks the resource's [`Strategy`] for whatever differs between kinds. A resource is added by
//! implementing [`Kind`] for it (most methods have defaults) and listing it in [`Registry::builtin`].
//!
//! Invariants: nothing here reads a clock, a random source or a file; no function panics on input; a decoded object is
//! always of the registered type, and what it encodes decodes to itself.

mod strategy;

pub use strategy::{
    Allocated, Cell, Claim, Column, ColumnType, DecodeError, Decoded, FieldError, FieldErrorKind, Object, Pools, Resource,
    Scale, Scope, Strategy, Subresource,
};
