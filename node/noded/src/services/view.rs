//! What the watches have shown so far, and what of it is still to be written.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use skep_netmodel::{Change, HealthCheck, HostPorts, Model, NodeIdentity, ObjectName, Outcome, Problem, ServiceSpec};

use crate::inputs::Listing;

/// Set by whoever writes slices: when the change behind this version happened.
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// An event of one of the watches, or all pods with ports of the node.
#[allow(clippy::large_enum_variant, reason = "made once per event and moved at once")]
pub(crate) enum Input {
    Service(Event<Service>),
    Slice(Event<EndpointSlice>),
    HostPorts(BTreeMap<ObjectName, HostPorts>),
}

/// What is to be written now.
pub(crate) enum Step {
    /// All there is: what else the kernel holds is stale.
    Full {
        /// Services' ports.
        specs: Vec<Arc<ServiceSpec>>,
        /// Addresses of endpoints on this node.
        local: Vec<IpAddr>,
    },
    /// What changed since the last step.
    Changes {
        /// Services' ports.
        changes: Vec<Change>,
        /// Addresses of endpoints that came to this node (`true`) or went.
        local: Vec<(IpAddr, bool)>,
    },
}

/// The state of all watches. Total: any order of events is taken.
pub(crate) struct View {
    model: Model,
    services: Listing<Service>,
    slices: Listing<EndpointSlice>,
    /// Whether the node's own pods have been shown.
    ported: bool,
    /// The kernel holds what `pending` does not.
    trusted: bool,
    pending: Vec<Change>,
    pending_local: Vec<(IpAddr, bool)>,
    problems: Vec<Problem>,
    health: Vec<(ObjectName, Option<HealthCheck>)>,
    /// By slice: the time of the newest change that is not written yet, and of the last one that is.
    triggers: HashMap<(String, String), Trigger>,
    started: Timestamp,
}

#[derive(Default)]
struct Trigger {
    seen: Option<Timestamp>,
    unwritten: bool,
}

impl View {
    pub(crate) fn new(node: NodeIdentity) -> Self {
        View {
            model: Model::new(node),
            services: Listing::new(),
            slices: Listing::new(),
            ported: false,
            trusted: false,
            pending: Vec::new(),
            pending_local: Vec::new(),
            problems: Vec::new(),
            health: Vec::new(),
            triggers: HashMap::new(),
            started: Timestamp::now(),
        }
    }

    pub(crate) fn take(&mut self, input: Input) {
        let outcome = match input {
            Input::Service(event) => self.take_service(event),
            Input::Slice(event) => self.take_slice(event),
            Input::HostPorts(pods) => {
                self.ported = true;
                self.model.replace_host_ports(&pods)
            }
        };
        self.pending.extend(outcome.changes);
        self.pending_local.extend(outcome.local);
        self.problems.extend(outcome.problems);
        self.health.extend(outcome.health);
    }

    fn take_service(&mut self, event: Event<Service>) -> Outcome {
        match event {
            Event::Apply(service) => return self.model.upsert_service(&service),
            Event::Delete(service) => {
                return self.model.remove_service(&service.namespace().unwrap_or_default(), &service.name_any());
            }
            Event::InitDone => return self.model.replace_services(&self.services.end()),
            Event::Init => self.services.begin(),
            Event::InitApply(service) => self.services.add(service),
        }
        Outcome::default()
    }

    fn take_slice(&mut self, event: Event<EndpointSlice>) -> Outcome {
        match event {
            Event::Apply(slice) => {
                self.note(&slice);
                return self.model.upsert_slice(&slice);
            }
            Event::Delete(slice) => {
                let key = (slice.namespace().unwrap_or_default(), slice.name_any());
                self.triggers.remove(&key);
                return self.model.remove_slice(&key.0, &key.1);
            }
            Event::InitDone => return self.model.replace_slices(&self.slices.end()),
            Event::Init => self.slices.begin(),
            Event::InitApply(slice) => self.slices.add(slice),
        }
        Outcome::default()
    }

    /// When the change behind this version happened: as the slice notes it if that is finer than a second, else now. A change
    /// from before this daemon says nothing of its own speed.
    fn note(&mut self, slice: &EndpointSlice) {
        let noted = slice.annotations().get(TRIGGER_TIME).and_then(|text| text.parse::<Timestamp>().ok());
        let time = noted.filter(|time| time.subsec_nanosecond() != 0).unwrap_or_else(Timestamp::now);
        if time < self.started {
            return;
        }
        let trigger = self.triggers.entry((slice.namespace().unwrap_or_default(), slice.name_any())).or_default();
        if trigger.seen != Some(time) {
            *trigger = Trigger { seen: Some(time), unwritten: true };
        }
    }

    /// The next write; `None` where there is nothing to write, or not everything is known yet.
    pub(crate) fn step(&mut self) -> Option<Step> {
        if !self.is_complete() {
            return None;
        }
        let (changes, local) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.pending_local));
        if !self.trusted {
            self.trusted = true;
            let specs = self.model.specs().cloned().collect();
            return Some(Step::Full { specs, local: self.model.local().collect() });
        }
        (!changes.is_empty() || !local.is_empty()).then_some(Step::Changes { changes, local })
    }

    /// A write failed, and what it held is no longer pending: only the whole can mend it.
    pub(crate) fn distrust(&mut self) {
        self.trusted = false;
    }

    /// The fields that could not be used since the last time.
    pub(crate) fn problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    /// What load balancers are to be told from now on; nothing before everything is known.
    pub(crate) fn health(&mut self) -> Vec<(ObjectName, Option<HealthCheck>)> {
        if self.is_complete() { std::mem::take(&mut self.health) } else { Vec::new() }
    }

    /// Whether everything has been shown once.
    pub(crate) fn is_complete(&self) -> bool {
        self.services.is_complete() && self.slices.is_complete() && self.ported
    }

    /// The last step is in the kernel: how long ago the changes behind it happened.
    pub(crate) fn written(&mut self) -> Vec<Duration> {
        let now = Timestamp::now();
        let unwritten = self.triggers.values_mut().filter(|trigger| trigger.unwritten);
        let delay = |trigger: &mut Trigger| {
            trigger.unwritten = false;
            trigger.seen.and_then(|seen| Duration::try_from(now.duration_since(seen)).ok())
        };
        unwritten.filter_map(delay).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn service(name: &str) -> Service {
        let json = serde_json::json!({
            "metadata": { "name": name, "namespace": "a" },
            "spec": { "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "type": "ClusterIP",
                "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 8080 }] },
        });
        serde_json::from_value(json).unwrap()
    }

    fn slice(service: &str, address: &str, trigger: &str) -> EndpointSlice {
        let json = serde_json::json!({
            "metadata": { "name": format!("{service}-x"), "namespace": "a",
                "labels": { "kubernetes.io/service-name": service }, "annotations": { TRIGGER_TIME: trigger } },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
            "ports": [{ "port": 8080, "protocol": "TCP", "name": "" }],
        });
        serde_json::from_value(json).unwrap()
    }

    fn listed(view: &mut View) {
        view.take(Input::HostPorts(BTreeMap::new()));
        view.take(Input::Service(Event::Init));
        view.take(Input::Service(Event::InitApply(service("web"))));
        view.take(Input::Service(Event::InitDone));
    }

    #[test]
    fn nothing_is_written_before_all_is_known() {
        let mut view = View::new(NodeIdentity::default());
        listed(&mut view);
        assert!(view.step().is_none());
        view.take(Input::Slice(Event::Init));
        view.take(Input::Slice(Event::InitApply(slice("web", "10.42.0.5", ""))));
        assert!(view.step().is_none());
        view.take(Input::Slice(Event::InitDone));
        let Some(Step::Full { specs, .. }) = view.step() else { panic!("the first step is of the whole") };
        assert_eq!((specs.len(), specs[0].backends.len()), (1, 1));
        assert!(view.step().is_none());
    }

    #[test]
    fn host_ports_of_a_former_daemon_stay_until_they_are_known() {
        let mut view = View::new(NodeIdentity { addresses: vec![[192, 0, 2, 1].into()], ..NodeIdentity::default() });
        for done in [Input::Service(Event::Init), Input::Service(Event::InitDone), Input::Slice(Event::Init)] {
            view.take(done);
        }
        view.take(Input::Slice(Event::InitDone));
        assert!(view.step().is_none(), "the node's own pods are not known yet");
        let ports =
            skep_netmodel::HostPort { host_ip: None, host_port: 8080, container_port: 80, protocol: "tcp".to_owned() };
        let pod = HostPorts { pod: vec![[10, 42, 0, 5].into()], ports: vec![ports] };
        view.take(Input::HostPorts(BTreeMap::from([(ObjectName::new("a", "p"), pod)])));
        let Some(Step::Full { specs, .. }) = view.step() else { panic!("the first step is of the whole") };
        assert_eq!(specs[0].name.to_string(), "a/pod/p:8080-tcp");
    }

    #[test]
    fn changes_follow_and_a_failure_asks_for_the_whole() {
        let mut view = View::new(NodeIdentity::default());
        listed(&mut view);
        view.take(Input::Slice(Event::Init));
        view.take(Input::Slice(Event::InitDone));
        assert!(matches!(view.step(), Some(Step::Full { .. })));
        let now = Timestamp::now().to_string();
        view.take(Input::Slice(Event::Apply(slice("web", "10.42.0.5", &now))));
        let Some(Step::Changes { changes, .. }) = view.step() else { panic!("a change is a change") };
        assert_eq!(changes.len(), 1);
        assert_eq!(view.written().len(), 1);
        view.take(Input::Slice(Event::Apply(slice("web", "10.42.0.6", &now))));
        view.step().unwrap();
        assert_eq!(view.written().len(), 0, "the same moment counts once");
        view.distrust();
        assert!(matches!(view.step(), Some(Step::Full { .. })));
    }

    #[test]
    fn a_watch_that_begins_anew_removes_what_went_meanwhile() {
        let mut view = View::new(NodeIdentity::default());
        listed(&mut view);
        view.take(Input::Slice(Event::Init));
        view.take(Input::Slice(Event::InitDone));
        view.step().unwrap();
        view.take(Input::Service(Event::Init));
        assert!(view.step().is_none(), "an unfinished list changes nothing");
        view.take(Input::Service(Event::InitDone));
        let Some(Step::Changes { changes, .. }) = view.step() else { panic!("a removal is a change") };
        assert!(matches!(changes.as_slice(), [Change::Remove(_)]));
    }
}
