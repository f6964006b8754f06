//! The downward API: fields of the pod, and resources of its containers, as text.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::Error;
use crate::quantity;

/// What of the node pods can see.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) ip: IpAddr,
    /// Stands in for the limits that a container does not have.
    pub(crate) allocatable: BTreeMap<String, Quantity>,
}

/// A `fieldRef` of the environment or of a downward API file.
pub(crate) fn field(pod: &Pod, node: &Node, path: &str) -> Result<String, Error> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(Error::Field(path.to_owned())),
        };
        return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    let ips = || -> Vec<String> {
        status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten().map(|ip| ip.ip.clone()).collect()
    };
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => format_map(meta.labels.as_ref()),
        "metadata.annotations" => format_map(meta.annotations.as_ref()),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => node.ip.to_string(),
        "status.podIP" => ips().into_iter().next().unwrap_or_default(),
        "status.podIPs" => ips().join(","),
        _ => return Err(Error::Field(path.to_owned())),
    })
}

/// Labels or annotations as lines of `key="value"`.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

/// A `resourceFieldRef`: in units of its divisor, rounded up.
pub(crate) fn resource(
    pod: &Pod,
    own: &Container,
    node: &Node,
    reference: &ResourceFieldSelector,
) -> Result<String, Error> {
    let spec = pod.spec.as_ref();
    let all = spec.map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let container = match reference.container_name.as_deref().filter(|name| !name.is_empty()) {
        None => own,
        Some(name) => all
            .into_iter()
            .flatten()
            .find(|container| container.name == name)
            .ok_or_else(|| Error::Container(name.to_owned()))?,
    };
    let unsupported = || Error::Resource(reference.resource.clone());
    let (kind, name) = reference.resource.split_once('.').ok_or_else(unsupported)?;
    let resources = container.resources.clone().unwrap_or_default();
    let value = match kind {
        "limits" => {
            resources.limits.and_then(|map| map.get(name).cloned()).or_else(|| node.allocatable.get(name).cloned())
        }
        "requests" => resources.requests.and_then(|map| map.get(name).cloned()),
        _ => return Err(unsupported()),
    };
    let value = value.unwrap_or_else(|| Quantity("0".to_owned()));
    let divisor = reference.divisor.clone().filter(|divisor| quantity::milli(divisor) != Some(0));
    let divisor = divisor.unwrap_or_else(|| Quantity("1".to_owned()));
    let (value, divisor) = if name == "cpu" {
        (quantity::milli(&value), quantity::milli(&divisor))
    } else {
        (quantity::whole(&value), quantity::whole(&divisor))
    };
    match (value, divisor) {
        (Some(value), Some(divisor)) if divisor > 0 => {
            Ok((value / divisor + i64::from(value % divisor != 0)).to_string())
        }
        _ => Err(unsupported()),
    }
}
