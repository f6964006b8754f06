//! Every built-in resource, as data and pure functions.
//!
//! [`Registry`] is the entry type: a table of [`Resource`]s. The API server has one generic request path, which knows
//! no resource; it asks the resource's [`Strategy`] for whatever differs between kinds. A resource is added by
//! implementing [`Kind`] for it (most methods have defaults) and listing it in [`Registry::builtin`].
//!
//! Invariants: nothing here reads a clock, a random source or a file; no function panics on input; a decoded object is
//! always of the registered type, and what it encodes decodes to itself.

mod certificate;
mod decode;
mod disruption;
mod endpoint;
mod field;
mod kind;
mod kinds;
mod metadata;
mod names;
mod patch;
mod pod_spec;
mod quantity;
mod registry;
mod resource_name;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod round_trip;
mod schedule;
mod selector;
mod strategy;
mod table;
mod typed;
mod view;
mod volume_claim;
mod workload;

pub use certificate::{CertificateRequest, CertificateRequestError};
pub use decode::decode;
pub use disruption::{DisruptionRefusal, covers_pod, is_free_to_go, is_guarded, take_disruption};
pub use field::{Errors, Path};
pub use kind::{ApiObject, HasScope, Kind};
pub use metadata::{validate_metadata, validate_metadata_update};
pub use names::{dns1035_label, dns1123_label, dns1123_subdomain, qualified_name};
pub use patch::{PatchError, strategic_merge};
pub use pod_spec::qos_class;
pub use quantity::{Quantity, QuantityError};
pub use registry::{Registry, resource};
pub use selector::{FieldSelector, FieldTerm, LabelSelector, Operator, Requirement, SelectorError};
pub use strategy::{
    Allocated, Cell, Claim, Column, ColumnType, DecodeError, Decoded, FieldError, FieldErrorKind, Object, Pools,
    Requester, Resource, Scale, Scope, Strategy, Subresource,
};
pub use table::{NAME as NAME_COLUMN, human_duration, text as text_column};
pub use typed::{Typed, TypedObject, typed_mut, typed_ref};
