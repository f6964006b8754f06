//! What a Service's Endpoints should hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::pod;
use crate::service::{
    HEADLESS, TRIGGER_TIME, addresses, endpoint_hostname, is_headless, managed_selector, protocol, publishes_not_ready,
    target_port, trigger_time,
};

/// The label with who keeps the object.
pub(crate) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// This controller, as upstream's calls itself.
pub(crate) const CONTROLLER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const ADDRESSES_MAX: usize = 1000;

/// A Service's name and what is there of it.
pub(crate) struct Observed {
    pub(crate) service: Option<Arc<Service>>,
    /// The pods that it selects.
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) endpoints: Option<Arc<Endpoints>>,
    pub(crate) now: Timestamp,
}

/// What to write.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    Nothing,
    Create(Box<Endpoints>),
    Update(Box<Endpoints>),
    Delete(Arc<Endpoints>),
}

/// Plans one Service's Endpoints.
pub(crate) fn plan(observed: &Observed) -> Plan {
    let Some(service) = &observed.service else {
        return match &observed.endpoints {
            Some(endpoints) if is_own(endpoints) => Plan::Delete(Arc::clone(endpoints)),
            _ => Plan::Nothing,
        };
    };
    if managed_selector(service).is_none() {
        return Plan::Nothing;
    }
    let (subsets, truncated) = subsets(service, &observed.pods);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    let known = observed.endpoints.as_deref();
    if let Some(known) = known
        && known.subsets.clone().unwrap_or_default() == subsets
        && known.metadata.labels.as_ref() == Some(&labels)
    {
        return Plan::Nothing;
    }
    let mut metadata = known.map(|known| known.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        namespace: service.metadata.namespace.clone(),
        name: service.metadata.name.clone(),
        ..ObjectMeta::default()
    });
    metadata.labels = Some(labels);
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.remove(OVER_CAPACITY);
    annotations.remove(TRIGGER_TIME);
    if truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    }
    if let Some(stamp) = trigger_time(service, &observed.pods, observed.now) {
        annotations.insert(TRIGGER_TIME.to_owned(), stamp.to_string());
    }
    let endpoints = Box::new(Endpoints { metadata, subsets: (!subsets.is_empty()).then_some(subsets) });
    if known.is_some() { Plan::Update(endpoints) } else { Plan::Create(endpoints) }
}

/// Whether the object is this controller's.
pub(crate) fn is_own(endpoints: &Endpoints) -> bool {
    endpoints.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == CONTROLLER)
}

type PortKey = (String, i32, String, Option<String>);

fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let publish = publishes_not_ready(service);
    let ipv6 = crate::service::primary_family_is_ipv6(service);
    let mut groups: BTreeMap<Vec<PortKey>, [Vec<EndpointAddress>; 2]> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod::is_terminal(pod)) {
        if pod.metadata.deletion_timestamp.is_some() && !publish {
            continue;
        }
        let Some(ip) = addresses(pod).find(|ip| ip.contains(':') == ipv6) else { continue };
        let ports = ports(service, pod);
        if ports.is_empty() && !is_headless(service) {
            continue;
        }
        let group = groups.entry(ports).or_default();
        group[usize::from(!(publish || pod::is_ready(pod)))].push(address(service, pod, ip));
    }
    let mut room = ADDRESSES_MAX;
    let mut truncated = false;
    // Ready ones have precedence.
    for which in [0, 1] {
        for group in groups.values_mut() {
            group[which].sort_by(|a, b| a.ip.cmp(&b.ip));
            truncated |= group[which].len() > room;
            group[which].truncate(room);
            room -= group[which].len();
        }
    }
    let subsets = groups
        .into_iter()
        .map(|(ports, [ready, not_ready])| EndpointSubset {
            addresses: (!ready.is_empty()).then_some(ready),
            not_ready_addresses: (!not_ready.is_empty()).then_some(not_ready),
            ports: (!ports.is_empty()).then(|| ports.into_iter().map(endpoint_port).collect()),
        })
        .filter(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some())
        .collect();
    (subsets, truncated)
}

fn ports(service: &Service, pod: &Pod) -> Vec<PortKey> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let key = |port: &k8s_openapi::api::core::v1::ServicePort| {
        let number = target_port(port, pod)?;
        Some((port.name.clone().unwrap_or_default(), number, protocol(port).to_owned(), port.app_protocol.clone()))
    };
    let mut keys: Vec<_> = ports.filter_map(key).collect();
    keys.sort();
    keys
}

fn endpoint_port((name, port, protocol, app_protocol): PortKey) -> EndpointPort {
    let name = (!name.is_empty()).then_some(name);
    EndpointPort { name, port, protocol: Some(protocol), app_protocol }
}

fn address(service: &Service, pod: &Pod, ip: &str) -> EndpointAddress {
    EndpointAddress {
        ip: ip.to_owned(),
        hostname: endpoint_hostname(service, pod),
        node_name: pod::node_name(pod).map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn observed(pods: usize) -> Observed {
        let service = json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.9", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        });
        let pod = |n: usize| {
            json!({
                "metadata": {"name": format!("p{n}"), "namespace": "default", "uid": format!("u{n}")},
                "spec": {"nodeName": "n", "containers": []},
                "status": {
                    "phase": "Running", "podIP": format!("10.42.{}.{}", n / 250, n % 250),
                    "conditions": [{"type": "Ready", "status": if n == 1 { "False" } else { "True" }}],
                },
            })
        };
        Observed {
            service: Some(Arc::new(from_value(service).unwrap())),
            pods: (0..pods).map(|n| Arc::new(from_value(pod(n)).unwrap())).collect(),
            endpoints: None,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn ready_and_not_ready_share_a_subset() {
        let Plan::Create(endpoints) = plan(&observed(3)) else { panic!("creates") };
        let subsets = endpoints.subsets.clone().unwrap();
        assert_eq!(subsets.len(), 1);
        assert_eq!(subsets[0].addresses.as_ref().unwrap().len(), 2);
        assert_eq!(subsets[0].not_ready_addresses.as_ref().unwrap().len(), 1);
        assert_eq!(subsets[0].ports.as_ref().unwrap()[0].port, 8080);
        let again = Observed { endpoints: Some(Arc::new(*endpoints)), ..observed(3) };
        assert_eq!(plan(&again), Plan::Nothing);
    }

    #[test]
    fn more_than_a_thousand_are_cut_off() {
        let Plan::Create(endpoints) = plan(&observed(1005)) else { panic!("creates") };
        let subset = &endpoints.subsets.as_ref().unwrap()[0];
        assert_eq!(subset.addresses.as_ref().unwrap().len(), 1000);
        assert_eq!(subset.not_ready_addresses, None);
        assert_eq!(endpoints.metadata.annotations.as_ref().unwrap()[OVER_CAPACITY], "truncated");
    }

    #[test]
    fn what_a_service_left_behind_goes() {
        let Plan::Create(endpoints) = plan(&observed(1)) else { panic!("creates") };
        let endpoints = Arc::new(*endpoints);
        let gone = Observed { service: None, endpoints: Some(Arc::clone(&endpoints)), ..observed(0) };
        assert_eq!(plan(&gone), Plan::Delete(endpoints));
    }
}
