//! The Kubernetes API over HTTPS.
//!
//! [`ApiServer`] is the entry type. There is one generic path for every resource, driven by the registry; no resource
//! has code of its own here. A request passes, in this order: path and query (`path`, `query`), content negotiation
//! (`negotiate`), authentication (`authn`: a certificate at the connection, or a token; then whom it impersonates), authorization
//! (`authz`), its turn (`server`), and then a question's answer (`review`), a read (`read`, from the watch
//! cache) or a write (`write`: decode, default, change by plugins (`admission`), prepare, allocate, validate, refusal by plugins, one
//! transaction).
//!
//! Invariants:
//! * An object is encoded once, when it is written, and its revision is spliced in once, when its event arrives; gets,
//!   lists and watches send those bytes.
//! * A reader sees all resources as of one revision. A read without a resource version has seen every write that was
//!   acknowledged before it.
//! * A value that one object alone may hold is written with the object, in one transaction.
//! * A slow watcher costs only itself: its queue is bounded, and it is dropped when that is full.
//!
//! Tasks: one that follows the store and feeds the watch cache, one that settles the status of definitions of custom resources, one for each
//! definition whose objects are going, one for each connection, and one for each connection that has left HTTP, to a node, a pod or as a
//! WebSocket; of the latter there is a limit. Queues: one for each watch.

mod admission;
mod authn;
mod authz;
mod bootstrap;
mod cache;
mod call;
mod definitions;
mod discovery;
mod duration;
mod expiry;
mod form;
mod input;
mod jwt;
mod listen;
mod metrics;
mod negotiate;
mod object;
mod openapi;
mod options;
mod other;
mod path;
mod pools;
mod query;
mod read;
mod resource;
mod response;
mod review;
mod selection;
mod served;
mod server;
mod status;
mod warning;
mod websocket;
mod write;

pub use authn::Identity;
pub use authz::{Action, Authorizer, Decision, Reason};
pub use bootstrap::own_address;
pub use jwt::KeyError;
pub use options::{Error, Options};
pub use server::ApiServer;
