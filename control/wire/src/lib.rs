//! Kubernetes' protobuf form of objects, decoded to their JSON form.
//!
//! Clients with compiled types send bodies as `application/vnd.kubernetes.protobuf`: four bytes of magic, then a
//! `runtime.Unknown` that names the type and holds the object's own message. [`decode`] turns one into the value that the same
//! client would have sent as JSON, so that everything behind it knows one form.
//!
//! What messages look like is a table, `fields.tsv`: the field numbers, JSON names and types of Kubernetes v1.37 (`k8s.io/api` and
//! `k8s.io/apimachinery` at v0.37.0-beta.0), for the built-in kinds of the stable groups. A message is a line with its name, and
//! `kind` if it can be a body; below it a line for each field: JSON name, number, shape (`one`, `list`, `map`, or `inline`, whose
//! fields stand in the parent), type, and `omitzero` for scalars whose zero is the same as their absence. Those are the fields that
//! Go has as plain values with `omitempty`: they are always on the wire, and never as zero in JSON. Pointers are on the wire only
//! where they are set, and keep their zero.
//!
//! Lists that stand in a message of their own (`ExtraValue` of reviews and requests) have no place in the table and are left out.
//!
//! Invariants: no input panics; messages nest to a bound; unknown fields are skipped, as the format wants.

mod decode;
mod envelope;
mod error;
mod fields;
mod scalar;
mod table;

pub use envelope::{MEDIA_TYPE, decode};
pub use error::{DecodeError, Fault};
