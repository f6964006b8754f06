//! What the endpoint controllers ask of a Service and the pods behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::pod;

/// The label that says that a Service has no address of its own.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
/// The annotation with the time of what an endpoint object's last change goes back to.
pub(crate) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The selector of a Service whose endpoints are the controllers' to keep: it has one and is no mere alias.
pub(crate) fn managed_selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.selector.as_ref().filter(|selector| !selector.is_empty())
}

/// Whether the Service has no address of its own.
pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// Whether pods that are not ready are to get traffic.
pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false)
}

/// Whether a change of a pod can change an endpoint.
pub(crate) fn endpoint_changed(old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return true };
    let relevant = |pod: &Pod| {
        (
            pod.metadata.uid.clone(),
            pod.metadata.labels.clone(),
            pod.metadata.deletion_timestamp.clone(),
            pod::is_ready(pod),
            pod::is_terminal(pod),
            pod::node_name(pod).map(str::to_owned),
            addresses(pod).map(str::to_owned).collect::<Vec<_>>(),
        )
    };
    relevant(old) != relevant(new)
}

/// All addresses of a pod.
pub(crate) fn addresses(pod: &Pod) -> impl Iterator<Item = &str> {
    let status = pod.status.as_ref();
    let several = status.and_then(|status| status.pod_ips.as_deref()).unwrap_or_default();
    let single = status.and_then(|status| status.pod_ip.as_deref()).filter(|_| several.is_empty());
    several.iter().map(|ip| ip.ip.as_str()).chain(single).filter(|ip| !ip.is_empty())
}

/// The number of the port of a pod that a Service's port leads to; None where the pod has no port of that name.
pub(crate) fn target_port(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec.init_containers.iter().flatten();
            let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
            let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
            let protocol = protocol(port);
            let mut named = ports.filter(|own| own.protocol.as_deref().unwrap_or("TCP") == protocol);
            named.find(|own| own.name.as_deref() == Some(name)).map(|own| own.container_port)
        }
    }
}

/// `protocol`, TCP by default.
pub(crate) fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// The host name by which the pod is known below the Service's name.
pub(crate) fn endpoint_hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let below = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.clone().filter(|hostname| below && !hostname.is_empty())
}

/// The time of the newest change that endpoints can show: of readiness, of the begin of a deletion, of the Service.
pub(crate) fn trigger_time(service: &Service, pods: &[Arc<Pod>], now: Timestamp) -> Option<Timestamp> {
    let created = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let of_pod = |pod: &Arc<Pod>| {
        let ready = pod::condition(pod, "Ready").and_then(|condition| condition.last_transition_time.as_ref());
        let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0));
        let deleted = pod.metadata.deletion_timestamp.as_ref().and_then(|time| time.0.checked_sub(grace).ok());
        ready.map(|time| time.0).max(deleted)
    };
    pods.iter().filter_map(of_pod).chain(created).filter(|time| *time <= now).max()
}

/// Whether the first address family of the Service is IPv6.
pub(crate) fn primary_family_is_ipv6(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    match spec.ip_families.iter().flatten().next() {
        Some(family) => family == "IPv6",
        None => spec.cluster_ip.as_deref().is_some_and(|ip| ip.contains(':')),
    }
}
