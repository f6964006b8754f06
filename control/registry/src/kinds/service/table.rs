//! What `kubectl get services` prints.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::kind;
use crate::selector::LabelSelector;
use crate::strategy::{Cell, Column};
use crate::table::{self, or_none};

pub(super) const COLUMNS: &[Column] = &[
    table::NAME,
    table::text("Type", "How the service is exposed."),
    table::text("Cluster-IP", "Its address inside the cluster."),
    table::text("External-IP", "Its addresses outside the cluster."),
    table::text("Port(s)", "Its ports, each with its node port."),
    table::AGE,
    table::wide("Selector", "The labels of its pods."),
];

pub(super) fn row(service: &Service, now: Timestamp) -> Vec<Cell> {
    let spec = service.spec.clone().unwrap_or_default();
    let ports: Vec<String> = spec
        .ports
        .iter()
        .flatten()
        .map(|port| {
            let protocol = port.protocol.as_deref().unwrap_or_default();
            match port.node_port.unwrap_or(0) {
                node_port @ 1.. => format!("{}:{node_port}/{protocol}", port.port),
                _ => format!("{}/{protocol}", port.port),
            }
        })
        .collect();
    let selector = spec.selector.as_ref().map(|labels| LabelSelector::from_labels(labels).to_string());
    vec![
        table::name(&service.metadata),
        Cell::from(kind(&spec)),
        or_none(spec.cluster_ips.iter().flatten().next().or(spec.cluster_ip.as_ref()).map(String::as_str)),
        Cell::from(external(service, &spec)),
        or_none(Some(&ports.join(","))),
        table::age(&service.metadata, now),
        or_none(selector.as_deref()),
    ]
}

fn external(service: &Service, spec: &ServiceSpec) -> String {
    let ips = spec.external_ips.as_deref().unwrap_or_default();
    match kind(spec) {
        "ExternalName" => spec.external_name.clone().unwrap_or_default(),
        "LoadBalancer" => {
            let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let given = balancer.iter().flat_map(|lb| lb.ingress.iter().flatten());
            let mut addresses: Vec<&str> =
                given.filter_map(|i| i.ip.as_deref().or(i.hostname.as_deref())).filter(|a| !a.is_empty()).collect();
            addresses.extend(ips.iter().map(String::as_str));
            if addresses.is_empty() { "<pending>".to_owned() } else { addresses.join(",") }
        }
        _ if ips.is_empty() => "<none>".to_owned(),
        _ => ips.join(","),
    }
}
