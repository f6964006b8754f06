//! Services, EndpointSlices and pods in; the tables that one node should hold out.
//!
//! [`Model`] is fed with objects as watches deliver them, in any order, and answers each with the service ports whose
//! desired state that changed ([`Outcome`]). Only the Service that an object belongs to is computed again. The same objects give
//! the same specs, whatever the order they came in.
//!
//! [`Nodes`] takes Nodes in the same way, and [`plan_routing`] says what one node needs to know of all: routes and prefixes.
//!
//! A field that cannot be used never fails the whole: what is wrong with it is a [`Problem`] that names it, and the rest is
//! served, as an API server of another make may let more pass than ours.

mod model;
mod name;
mod node;
mod routing;
mod service;
mod slice;
mod spec;

pub use model::{Change, Model, Outcome, Problem};
pub use name::{ObjectName, PortName};
pub use node::{NodeSpec, Nodes};
pub use routing::{Hop, RemoteKind, RemoteSpec, RouteSpec, RoutingMode, RoutingSpec, plan_routing};
pub use spec::{Backend, BackendState, Frontend, FrontendAddress, Protocol, Scope, ServiceSpec};
