//! What API types look like: their OpenAPI schemas, and the shapes that patches and field ownership go by.
//!
//! [`Definitions`] collects the schemas of types, built-in ones (from the types themselves and a table of the facts that
//! they do not carry) and those of custom resources. [`ObjectShape`] is what of a schema matters for merging: which
//! fields there are, which lists are keyed and by what, which values are replaced whole.
//!
//! Invariants: nothing here panics on a schema, however odd; a shape may refer to itself (a JSON schema holds JSON
//! schemas), so nobody may walk a shape without a value beside it.

mod definitions;
mod facts;
mod gnostic;
mod read;
mod shape;
mod v2;
mod v3;

pub use definitions::{Definitions, Gvk};
pub use gnostic::encode as encode_v2;
pub use shape::{Field, Key, ObjectShape, Patch, PatchStrategy, Shape, ShapeId, Shapes};
pub use v2::definitions as v2_definitions;
