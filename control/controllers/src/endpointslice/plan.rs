//! Which slices to write, from a Service, its pods and its slices.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::build::{Group, address_types, endpoints};
use super::pack::pack;
use crate::owner::controller_reference;
use crate::service::{HEADLESS, TRIGGER_TIME, is_headless, trigger_time};

/// The label with the Service's name.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label with who keeps the slice.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// This controller, as upstream's calls itself.
pub(crate) const CONTROLLER: &str = "endpointslice-controller.k8s.io";

/// A Service with a selector and its surroundings.
pub(crate) struct Observed {
    pub(crate) service: Arc<Service>,
    /// The pods that it selects.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// Its slices that are this controller's.
    pub(crate) slices: Vec<Arc<EndpointSlice>>,
    /// Zones of nodes.
    pub(crate) zones: HashMap<String, String>,
    pub(crate) now: Timestamp,
}

/// What to write.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) create: Vec<EndpointSlice>,
    pub(crate) update: Vec<EndpointSlice>,
    pub(crate) delete: Vec<Arc<EndpointSlice>>,
}

/// Plans one Service's slices.
pub(crate) fn plan(observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let mut existing: BTreeMap<Group, Vec<&Arc<EndpointSlice>>> = BTreeMap::new();
    let types = address_types(&observed.service);
    let stamp = trigger_time(&observed.service, &observed.pods, observed.now);
    for slice in &observed.slices {
        if types.contains(&slice.address_type) {
            let group = Group::of(&slice.address_type, slice.ports.as_deref().unwrap_or_default());
            existing.entry(group).or_default().push(slice);
        } else {
            plan.delete.push(Arc::clone(slice));
        }
    }
    let mut desired = endpoints(observed);
    for address_type in &types {
        // A Service without endpoints has one empty slice without ports, so that readers see that it was looked at.
        if !desired.keys().any(|group| group.address_type == *address_type) {
            desired.insert(Group { address_type: address_type.clone(), ports: Vec::new() }, Vec::new());
        }
    }
    for (group, slices) in &existing {
        if !desired.contains_key(group) {
            plan.delete.extend(slices.iter().map(|slice| Arc::clone(slice)));
        }
    }
    for (group, endpoints) in desired {
        let slices = existing.remove(&group).unwrap_or_default();
        plan_group(observed, &group, endpoints, &slices, stamp, &mut plan);
    }
    plan
}

fn plan_group(
    observed: &Observed,
    group: &Group,
    endpoints: Vec<k8s_openapi::api::discovery::v1::Endpoint>,
    slices: &[&Arc<EndpointSlice>],
    stamp: Option<Timestamp>,
    plan: &mut Plan,
) {
    let placeholder = endpoints.is_empty();
    let contents: Vec<_> = slices.iter().map(|slice| slice.endpoints.clone().unwrap_or_default()).collect();
    let mut packed = pack(&contents, endpoints);
    if placeholder {
        match packed.emptied.first().copied() {
            Some(index) => {
                packed.emptied.remove(0);
                if !contents[index].is_empty() {
                    packed.changed.push((index, Vec::new()));
                }
            }
            None => packed.new.push(Vec::new()),
        }
    }
    plan.delete.extend(packed.emptied.iter().map(|index| Arc::clone(slices[*index])));
    let mut touched: HashMap<usize, Vec<_>> = packed.changed.into_iter().collect();
    for (index, slice) in slices.iter().enumerate() {
        let contents = touched.remove(&index);
        if packed.emptied.contains(&index)
            || (contents.is_none() && meta_is_current(&slice.metadata, &observed.service))
        {
            continue;
        }
        let mut updated = EndpointSlice::clone(slice);
        if let Some(contents) = contents {
            updated.endpoints = Some(contents);
        }
        updated.metadata.labels = Some(labels(&observed.service));
        updated.metadata.owner_references = Some(vec![controller_reference(observed.service.as_ref())]);
        set_stamp(&mut updated.metadata, stamp);
        plan.update.push(updated);
    }
    for contents in packed.new {
        let mut metadata = ObjectMeta {
            namespace: observed.service.metadata.namespace.clone(),
            generate_name: Some(format!("{}-", observed.service.metadata.name.as_deref().unwrap_or_default())),
            labels: Some(labels(&observed.service)),
            owner_references: Some(vec![controller_reference(observed.service.as_ref())]),
            ..ObjectMeta::default()
        };
        set_stamp(&mut metadata, stamp);
        plan.create.push(EndpointSlice {
            metadata,
            address_type: group.address_type.clone(),
            endpoints: Some(contents),
            ports: Some(group.endpoint_ports()),
        });
    }
}

fn meta_is_current(meta: &ObjectMeta, service: &Service) -> bool {
    meta.labels.as_ref() == Some(&labels(service))
        && meta.owner_references.as_deref() == Some(&[controller_reference(service)][..])
}

/// The Service's labels, and the controller's own.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    labels
}

fn set_stamp(meta: &mut ObjectMeta, stamp: Option<Timestamp>) {
    let annotations = meta.annotations.get_or_insert_default();
    match stamp {
        Some(stamp) => annotations.insert(TRIGGER_TIME.to_owned(), stamp.to_string()),
        None => annotations.remove(TRIGGER_TIME),
    };
    meta.annotations.take_if(|annotations| annotations.is_empty());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn service(spec: Value) -> Arc<Service> {
        Arc::new(from_value(json!({"metadata": {"name": "web", "namespace": "default", "uid": "s", "labels": {"team": "a"}}, "spec": spec})).unwrap())
    }

    fn pod(name: &str, ip: &str, ready: bool, going: bool) -> Arc<Pod> {
        Arc::new(from_value(json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "deletionTimestamp": going.then_some("2026-01-01T00:00:00Z")},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": "2026-01-01T00:00:05Z"}]},
        })).unwrap())
    }

    fn observed(service: Arc<Service>, pods: Vec<Arc<Pod>>, slices: Vec<EndpointSlice>) -> Observed {
        let zones = HashMap::from([("n1".to_owned(), "z1".to_owned())]);
        let slices = slices.into_iter().map(Arc::new).collect();
        Observed { service, pods, slices, zones, now: "2026-01-01T00:01:00Z".parse().unwrap() }
    }

    fn web() -> Arc<Service> {
        service(json!({
            "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        }))
    }

    #[test]
    fn a_first_slice_as_upstream_makes_it() {
        let pods = vec![
            pod("a", "10.42.0.2", true, false),
            pod("b", "10.42.0.3", false, false),
            pod("c", "10.42.0.4", true, true),
        ];
        let plan = plan(&observed(web(), pods, vec![]));
        assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (1, 0, 0));
        let slice = serde_json::to_value(&plan.create[0]).unwrap();
        assert_eq!(slice["metadata"]["generateName"], "web-");
        assert_eq!(
            slice["metadata"]["labels"],
            json!({"endpointslice.kubernetes.io/managed-by": CONTROLLER, "kubernetes.io/service-name": "web", "team": "a"})
        );
        assert_eq!(slice["metadata"]["annotations"][TRIGGER_TIME], "2026-01-01T00:00:05Z");
        assert_eq!(slice["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
        let conditions: Vec<_> =
            slice["endpoints"].as_array().unwrap().iter().map(|e| e["conditions"].clone()).collect();
        assert_eq!(
            conditions,
            [
                json!({"ready": true, "serving": true, "terminating": false}),
                json!({"ready": false, "serving": false, "terminating": false}),
                json!({"ready": false, "serving": true, "terminating": true}),
            ]
        );
        assert_eq!(slice["endpoints"][0]["nodeName"], "n1");
        assert_eq!(slice["endpoints"][0]["zone"], "z1");
        assert_eq!(
            slice["endpoints"][0]["targetRef"],
            json!({"kind": "Pod", "name": "a", "namespace": "default", "uid": "a"})
        );
    }

    #[test]
    fn a_second_look_changes_nothing() {
        let pods = vec![pod("a", "10.42.0.2", true, false)];
        let first = plan(&observed(web(), pods.clone(), vec![])).create;
        let second = plan(&observed(web(), pods, first));
        assert!(second.create.is_empty() && second.update.is_empty() && second.delete.is_empty());
    }

    #[test]
    fn without_pods_there_is_a_placeholder_that_later_goes() {
        let first = plan(&observed(web(), vec![], vec![])).create;
        assert_eq!(first.len(), 1);
        assert!(first[0].ports.as_ref().unwrap().is_empty());
        let again = plan(&observed(web(), vec![], first.clone()));
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
        let filled = plan(&observed(web(), vec![pod("a", "10.42.0.2", true, false)], first));
        assert_eq!((filled.create.len(), filled.delete.len()), (1, 1));
    }

    #[test]
    fn not_ready_pods_are_published_where_asked_for() {
        let mut spec = serde_json::to_value(web().spec.as_ref()).unwrap();
        spec["publishNotReadyAddresses"] = json!(true);
        spec["clusterIP"] = json!("None");
        let plan = plan(&observed(service(spec), vec![pod("a", "10.42.0.2", false, true)], vec![]));
        let endpoints = plan.create[0].endpoints.as_ref().unwrap();
        assert_eq!(endpoints[0].conditions.as_ref().unwrap().ready, Some(true));
        assert_eq!(plan.create[0].metadata.labels.as_ref().unwrap()[HEADLESS], "");
    }

    #[test]
    fn a_slice_of_another_family_goes() {
        let pods = vec![pod("a", "10.42.0.2", true, false)];
        let mut slice = plan(&observed(web(), pods.clone(), vec![])).create.remove(0);
        slice.address_type = "IPv6".to_owned();
        let plan = plan(&observed(web(), pods, vec![slice]));
        assert_eq!((plan.create.len(), plan.delete.len()), (1, 1));
    }
}
