//! The API as clients see it: in process, and over TLS.
#![allow(clippy::unwrap_used)]

#[path = "api/access.rs"]
mod access;
#[path = "api/admission.rs"]
mod admission;
#[path = "api/apply.rs"]
mod apply;
#[path = "api/certificates.rs"]
mod certificates;
#[path = "api/conflict.rs"]
mod conflict;
#[path = "api/conformance.rs"]
mod conformance;
#[path = "api/custom.rs"]
mod custom;
#[path = "api/custom_apply.rs"]
mod custom_apply;
#[path = "api/custom_fields.rs"]
mod custom_fields;
#[path = "api/custom_openapi.rs"]
mod custom_openapi;
#[path = "api/deletion.rs"]
mod deletion;
#[path = "api/discovery.rs"]
mod discovery;
#[path = "api/eviction.rs"]
mod eviction;
#[path = "api/harness.rs"]
mod harness;
#[path = "api/kinds.rs"]
mod kinds;
#[path = "api/lists.rs"]
mod lists;
#[path = "api/nodes.rs"]
mod nodes;
#[path = "api/openapi.rs"]
mod openapi;
#[path = "api/pki.rs"]
mod pki;
#[path = "api/protobuf.rs"]
mod protobuf;
#[path = "api/requests.rs"]
mod requests;
#[path = "api/secure.rs"]
mod secure;
#[path = "api/streams.rs"]
mod streams;
#[path = "api/tokens.rs"]
mod tokens;
#[path = "api/validation.rs"]
mod validation;
#[path = "api/versions.rs"]
mod versions;
#[path = "api/watches.rs"]
mod watches;
