//! What API types look like: their OpenAPI schemas, and the shapes that patches and field ownership go by.
//!
//! [`Definitions`] collects the schemas of types, built-in ones (from the types themselves and a table of the facts that
//! they do not carry) and those of custom resources. [`ObjectShape`] is what of a schema matters for merging: which
//! fields there are, which lists are keyed and by what, which values are replaced whole.
//!
//! Invariants: nothing here panics on a schema, however odd; a shape may refer to itself (a JSON schema holds JSON
//! schemas), so nobody may walk a shape without a value beside it.

mod definitions;
mod read;
mod shape;

pub use definitions::Definitions;
pub use shape::{Field, Key, ObjectShape, Patch, PatchStrategy, Shape, ShapeId, Shapes};
