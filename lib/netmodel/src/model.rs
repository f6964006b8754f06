//! The desired state of one node's tables, kept up by single changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::host_port::{self, HostPorts};
use crate::service::{Decoded, Port, decode_service};
use crate::slice::{Slice, decode_slice, service_of};
use crate::spec::{Backend, BackendState, Frontend, HealthCheck, Scope, ServiceSpec};
use crate::traffic::{NodeIdentity, Place, Policy, select};
use crate::{ObjectName, PortName};

/// Services and EndpointSlices as last seen, and the specs that follow from them.
#[derive(Debug)]
pub struct Model {
    node: NodeIdentity,
    services: BTreeMap<ObjectName, Decoded>,
    /// By Service, then by the slice's name.
    slices: BTreeMap<ObjectName, BTreeMap<String, Slice>>,
    /// The Service of each slice, since its label may change.
    slice_service: BTreeMap<ObjectName, ObjectName>,
    specs: BTreeMap<PortName, Arc<ServiceSpec>>,
    health: BTreeMap<ObjectName, HealthCheck>,
    /// Addresses of endpoints on this node, and in how many slices each is.
    local: BTreeMap<IpAddr, usize>,
    /// By pod.
    host_ports: BTreeMap<ObjectName, HostPorts>,
}

/// A service port whose desired state changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is to be as this.
    Set(Arc<ServiceSpec>),
    /// It is to be gone.
    Remove(PortName),
}

/// What followed from an object.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Service ports that changed, sorted by name.
    pub changes: Vec<Change>,
    /// Services whose answer to load balancers changed, to what; `None` where nobody asks any more.
    pub health: Vec<(ObjectName, Option<HealthCheck>)>,
    /// Addresses of endpoints that came to this node (`true`) or went.
    pub local: Vec<(IpAddr, bool)>,
    /// Fields that could not be used.
    pub problems: Vec<Problem>,
}

/// A field that could not be used, and was left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {object}: {field}: unusable value {value:?}")]
pub struct Problem {
    /// Kind of the object.
    pub kind: &'static str,
    /// Namespace and name of the object.
    pub object: ObjectName,
    /// Path of the field.
    pub field: String,
    /// What it holds.
    pub value: String,
}

impl Problem {
    pub(crate) fn new(kind: &'static str, object: &ObjectName, field: String, value: &str) -> Self {
        Self { kind, object: object.clone(), field, value: value.to_owned() }
    }
}

impl Model {
    /// A model that has seen nothing, for one node.
    pub fn new(node: NodeIdentity) -> Self {
        Self {
            node,
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            slice_service: BTreeMap::new(),
            specs: BTreeMap::new(),
            health: BTreeMap::new(),
            local: BTreeMap::new(),
            host_ports: BTreeMap::new(),
        }
    }

    /// Every service port that the node should hold, by name: the full view.
    pub fn specs(&self) -> impl Iterator<Item = &Arc<ServiceSpec>> {
        self.specs.values()
    }

    /// The addresses of endpoints on this node.
    pub fn local(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.local.keys().copied()
    }

    /// A Service was added or changed.
    pub fn upsert_service(&mut self, service: &Service) -> Outcome {
        let mut problems = Vec::new();
        let Some(name) = object_name("Service", &service.metadata, &mut problems) else {
            return Outcome { problems, ..Outcome::default() };
        };
        let decoded = decode_service(service, &name, &mut problems);
        self.services.insert(name.clone(), decoded);
        Outcome { problems, ..self.refresh(&name) }
    }

    /// A Service is gone.
    pub fn remove_service(&mut self, namespace: &str, name: &str) -> Outcome {
        let name = ObjectName::new(namespace, name);
        self.services.remove(&name);
        self.refresh(&name)
    }

    /// An EndpointSlice was added or changed.
    pub fn upsert_slice(&mut self, slice: &EndpointSlice) -> Outcome {
        let mut problems = Vec::new();
        let Some(name) = object_name("EndpointSlice", &slice.metadata, &mut problems) else {
            return Outcome { problems, ..Outcome::default() };
        };
        let decoded = decode_slice(slice, &name, &self.node, &mut problems);
        let service = service_of(slice).map(|service| ObjectName::new(&name.namespace, service));
        let mut outcome = Outcome { problems, ..Outcome::default() };
        // In this order, so that nothing changes for addresses that stay.
        if service.is_some() {
            self.come(&decoded, &mut outcome.local);
        }
        let former = self.unlink_slice(&name, &mut outcome.local);
        let mut touched: BTreeSet<ObjectName> = former.into_iter().collect();
        if let Some(service) = service {
            self.slices.entry(service.clone()).or_default().insert(name.name.clone(), decoded);
            self.slice_service.insert(name, service.clone());
            touched.insert(service);
        }
        touched.iter().for_each(|service| outcome.extend(self.refresh(service)));
        outcome
    }

    /// An EndpointSlice is gone.
    pub fn remove_slice(&mut self, namespace: &str, name: &str) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(service) = self.unlink_slice(&ObjectName::new(namespace, name), &mut outcome.local) {
            outcome.extend(self.refresh(&service));
        }
        outcome
    }

    /// These are all Services there are, as after a watch that began anew.
    pub fn replace_services<'a>(&mut self, services: impl IntoIterator<Item = &'a Service>) -> Outcome {
        let mut stale: BTreeSet<ObjectName> = self.services.keys().cloned().collect();
        let mut all = Outcome::default();
        for service in services {
            if let (Some(namespace), Some(name)) = (&service.metadata.namespace, &service.metadata.name) {
                stale.remove(&ObjectName::new(namespace, name));
            }
            all.extend(self.upsert_service(service));
        }
        for name in stale {
            all.extend(self.remove_service(&name.namespace, &name.name));
        }
        all
    }

    /// These are all EndpointSlices there are, as after a watch that began anew.
    pub fn replace_slices<'a>(&mut self, slices: impl IntoIterator<Item = &'a EndpointSlice>) -> Outcome {
        let mut stale: BTreeSet<ObjectName> = self.slice_service.keys().cloned().collect();
        let mut all = Outcome::default();
        for slice in slices {
            if let (Some(namespace), Some(name)) = (&slice.metadata.namespace, &slice.metadata.name) {
                stale.remove(&ObjectName::new(namespace, name));
            }
            all.extend(self.upsert_slice(slice));
        }
        for name in stale {
            all.extend(self.remove_slice(&name.namespace, &name.name));
        }
        all
    }

    /// These are all pods of this node that have ports of it. They are shown as `NAMESPACE/pod/NAME:PORT-PROTOCOL`.
    pub fn replace_host_ports(&mut self, pods: &BTreeMap<ObjectName, HostPorts>) -> Outcome {
        let mut all = Outcome::default();
        let gone: Vec<ObjectName> = self.host_ports.keys().filter(|pod| !pods.contains_key(*pod)).cloned().collect();
        for pod in gone {
            self.host_ports.remove(&pod);
            all.changes.extend(self.settle(&host_port::owner(&pod), BTreeMap::new()));
        }
        for (pod, ports) in pods {
            if self.host_ports.get(pod) == Some(ports) {
                continue;
            }
            self.host_ports.insert(pod.clone(), ports.clone());
            let next = host_port::specs_of(pod, ports, &self.node.addresses, &mut all.problems);
            all.changes.extend(self.settle(&host_port::owner(pod), next));
        }
        all
    }

    fn unlink_slice(&mut self, name: &ObjectName, local: &mut Vec<(IpAddr, bool)>) -> Option<ObjectName> {
        let service = self.slice_service.remove(name)?;
        if let Some(slices) = self.slices.get_mut(&service) {
            let former = slices.remove(&name.name);
            if slices.is_empty() {
                self.slices.remove(&service);
            }
            former.iter().for_each(|former| self.go(former, local));
        }
        Some(service)
    }

    fn come(&mut self, slice: &Slice, changes: &mut Vec<(IpAddr, bool)>) {
        for address in slice.local() {
            let slices = self.local.entry(address).or_default();
            *slices += 1;
            if *slices == 1 {
                changes.push((address, true));
            }
        }
    }

    fn go(&mut self, slice: &Slice, changes: &mut Vec<(IpAddr, bool)>) {
        for address in slice.local() {
            let left = self.local.get(&address).map_or(0, |slices| slices - 1);
            if left > 0 {
                self.local.insert(address, left);
            } else {
                self.local.remove(&address);
                changes.push((address, false));
            }
        }
    }

    /// Computes one Service's specs again, and says which of them differ.
    fn refresh(&mut self, service: &ObjectName) -> Outcome {
        let decoded = self.services.get(service);
        let ports = decoded.map(|decoded| decoded.ports.as_slice()).unwrap_or_default();
        let slices = self.slices.get(service);
        let check = decoded.and_then(|decoded| decoded.health_port).map(|port| {
            let local: BTreeSet<IpAddr> = ports.iter().flat_map(|port| local_backends(port, slices)).collect();
            HealthCheck { port, local: local.len() }
        });
        let next: BTreeMap<PortName, ServiceSpec> =
            ports.iter().flat_map(|port| specs_of(port, slices)).map(|spec| (spec.name.clone(), spec)).collect();
        let changes = self.settle(service, next);
        let held = match check {
            Some(check) => self.health.insert(service.clone(), check),
            None => self.health.remove(service),
        };
        let health = if held == check { Vec::new() } else { vec![(service.clone(), check)] };
        Outcome { changes, health, ..Outcome::default() }
    }

    /// These are all specs of one owner: takes them over, and says which of them differ.
    fn settle(&mut self, owner: &ObjectName, next: BTreeMap<PortName, ServiceSpec>) -> Vec<Change> {
        let first = PortName { service: owner.clone(), port: String::new(), external: false, v6: false };
        let held = self.specs.range(first..).take_while(|(name, _)| name.service == *owner);
        let gone: Vec<PortName> = held.map(|(name, _)| name).filter(|name| !next.contains_key(name)).cloned().collect();
        let mut changes = Vec::new();
        for name in gone {
            self.specs.remove(&name);
            changes.push(Change::Remove(name));
        }
        for (name, spec) in next {
            if self.specs.get(&name).is_some_and(|held| **held == spec) {
                continue;
            }
            let spec = Arc::new(spec);
            self.specs.insert(name, Arc::clone(&spec));
            changes.push(Change::Set(spec));
        }
        changes
    }
}

impl Outcome {
    /// Adds what followed from another object.
    pub fn extend(&mut self, other: Self) {
        self.changes.extend(other.changes);
        self.health.extend(other.health);
        self.local.extend(other.local);
        self.problems.extend(other.problems);
    }
}

impl Change {
    /// The service port that it is about.
    pub fn name(&self) -> &PortName {
        match self {
            Self::Set(spec) => &spec.name,
            Self::Remove(name) => name,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remove(name) => write!(f, "remove {name}"),
            Self::Set(spec) => {
                write!(f, "set {} {} at", spec.name, spec.protocol)?;
                spec.frontends.iter().try_for_each(|frontend| write!(f, " {frontend}"))?;
                f.write_str(" to")?;
                spec.backends.iter().try_for_each(|backend| write!(f, " [{backend}]"))
            }
        }
    }
}

/// The addresses of this node's backends that take new connections.
fn local_backends(port: &Port, slices: Option<&BTreeMap<String, Slice>>) -> impl Iterator<Item = IpAddr> {
    let best = backends_of(port, slices).into_values();
    best.filter(|(backend, place)| backend.state == BackendState::Active && place.is_local())
        .map(|(one, _)| one.address)
}

/// The backends of a port's family. One may stand in several slices while it moves between them; its best state counts.
fn backends_of(port: &Port, slices: Option<&BTreeMap<String, Slice>>) -> BTreeMap<(IpAddr, u16), (Backend, Place)> {
    let mut best: BTreeMap<(IpAddr, u16), (Backend, Place)> = BTreeMap::new();
    for slice in slices.into_iter().flat_map(BTreeMap::values) {
        let all = slice.backends(&port.name.port, port.protocol);
        for (backend, place) in all.filter(|(backend, _)| backend.address.is_ipv6() == port.name.v6) {
            let known = best.entry((backend.address, backend.port)).or_insert((backend, place));
            if backend.state < known.0.state {
                *known = (backend, place);
            }
        }
    }
    best
}

/// One list for all callers, or two where the traffic policies for those from inside and from outside differ.
fn specs_of(port: &Port, slices: Option<&BTreeMap<String, Slice>>) -> Vec<ServiceSpec> {
    let best = backends_of(port, slices);
    let spec = |external: bool, policy: Policy, frontends: Vec<Frontend>| {
        let mut backends = select(policy, best.values().copied());
        backends.sort_unstable();
        ServiceSpec {
            name: PortName { external, ..port.name.clone() },
            protocol: port.protocol,
            frontends,
            elsewhere: backends.is_empty() && !best.is_empty(),
            backends,
            affinity_timeout_s: port.affinity_timeout_s,
            sources: port.sources.clone(),
            maglev: port.maglev,
        }
    };
    if port.internal == port.external || port.frontends.iter().all(|frontend| frontend.address.is_internal()) {
        return vec![spec(false, port.internal, port.frontends.clone())];
    }
    let outside = port.frontends.iter().copied().filter(|frontend| !frontend.address.is_internal());
    let inside = port.frontends.iter().map(|&frontend| match frontend.address.is_internal() {
        true => frontend,
        false => Frontend { scope: Scope::Internal, ..frontend },
    });
    vec![spec(false, port.internal, inside.collect()), spec(true, port.external, outside.collect())]
}

fn object_name(kind: &'static str, meta: &ObjectMeta, problems: &mut Vec<Problem>) -> Option<ObjectName> {
    let name = ObjectName::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
    let field = if name.namespace.is_empty() {
        "metadata.namespace"
    } else if name.name.is_empty() {
        "metadata.name"
    } else {
        return Some(name);
    };
    problems.push(Problem::new(kind, &name, field.to_owned(), ""));
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "model/tests.rs"]
mod tests;
