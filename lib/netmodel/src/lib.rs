//! Services, EndpointSlices and pods in; the tables that one node should hold out.
//!
//! [`Model`] is fed with objects as watches deliver them, in any order, and answers each with the service ports whose
//! desired state that changed ([`Outcome`]). Only the Service that an object belongs to is computed again. The same objects give
//! the same specs, whatever the order they came in. Ports of the node that lead to its pods ([`HostPorts`]) stand among them.
//!
//! [`PolicyModel`] does the same for Pods, Namespaces and NetworkPolicies: identities, address blocks and rows of allowed traffic.
//! [`reference`] says what the same objects allow by reading them, slowly; tests hold the rows, and the kernel, against it.
//! [`Nodes`] takes Nodes in the same way, and [`plan_routing`] says what one node needs to know of all: routes and prefixes.
//!
//! A field that cannot be used never fails the whole: what is wrong with it is a [`Problem`] that names it, and the rest is
//! served, as an API server of another make may let more pass than ours.

mod host_port;
mod identity;
mod maglev;
mod model;
mod name;
mod node;
mod policy;
pub mod reference;
mod routing;
mod selector;
mod service;
mod slice;
mod spec;
mod traffic;

pub use host_port::{HostPort, HostPorts};
pub use identity::{ANY_POD, ANYONE};
pub use maglev::{maglev_size, maglev_table};
pub use model::{Change, Model, Outcome, Problem};
pub use name::{ObjectName, PortName};
pub use node::{NodeSpec, Nodes};
pub use policy::{Direction, PeerIds, Policed, PolicyDelta, PolicyModel, PolicyState, Ports, RowKey, Rule};
pub use routing::{Hop, RemoteKind, RemoteSpec, RouteSpec, RoutingMode, RoutingSpec, plan_routing};
pub use spec::{Backend, BackendState, Frontend, FrontendAddress, HealthCheck, Protocol, Scope, ServiceSpec};
pub use traffic::NodeIdentity;
