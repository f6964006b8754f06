//! Validation of Services.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::{has_cluster_ips, has_health_check_port, is_external, is_headless, kind};
use crate::endpoint;
use crate::field::{Errors, Path};
use crate::metadata::validate_labels;
use crate::names;
use crate::strategy::FieldError;

const KUBELET_PORT: i32 = 10_250;
const AFFINITY_SECONDS_MAX: i32 = 86_400;
const BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";

pub(super) fn service(service: &Service) -> Vec<FieldError> {
    let mut errors = Errors::new();
    let path = Path::root("spec");
    let spec = service.spec.clone().unwrap_or_default();
    validate_type(&mut errors, &path, &spec);
    validate_ports(&mut errors, &path, &spec);
    if let Some(selector) = &spec.selector {
        validate_labels(&mut errors, &path.child("selector"), selector);
    }
    validate_affinity(&mut errors, &path, &spec);
    validate_addresses(&mut errors, &path, &spec);
    validate_balancer(&mut errors, &path, &spec);
    validate_policies(&mut errors, &path, &spec);
    errors.into_vec()
}

fn validate_type(errors: &mut Errors, path: &Path<'_>, spec: &ServiceSpec) {
    match kind(spec) {
        "ClusterIP" => {}
        name @ ("NodePort" | "LoadBalancer") => {
            if is_headless(spec) {
                let detail = format!("may not be set to 'None' for {name} services");
                errors.invalid(&path.child("clusterIPs").index(0), "None", &detail);
            }
        }
        "ExternalName" => {
            let forbidden = "may not be set for ExternalName services";
            for (field, is_set) in [
                ("clusterIPs", spec.cluster_ips.as_ref().is_some_and(|ips| !ips.is_empty())),
                ("ipFamilies", spec.ip_families.as_ref().is_some_and(|families| !families.is_empty())),
                ("ipFamilyPolicy", spec.ip_family_policy.is_some()),
            ] {
                if is_set {
                    errors.forbidden(&path.child(field), forbidden);
                }
            }
            let path = path.child("externalName");
            let name = spec.external_name.as_deref().unwrap_or_default();
            match name.strip_suffix('.').unwrap_or(name) {
                "" => errors.required(&path, ""),
                name => errors.invalid_each(&path, name, names::dns1123_subdomain(name)),
            }
        }
        "" => errors.required(&path.child("type"), ""),
        other => {
            let supported = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
            errors.not_supported(&path.child("type"), other, &supported);
        }
    }
}

fn validate_ports(errors: &mut Errors, path: &Path<'_>, spec: &ServiceSpec) {
    let list = path.child("ports");
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty() && !is_headless(spec) && kind(spec) != "ExternalName" {
        errors.required(&list, "");
    }
    let (mut named, mut numbered, mut on_nodes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (i, port) in ports.iter().enumerate() {
        let path = list.index(i);
        let protocol = port.protocol.as_deref().unwrap_or_default();
        match port.name.as_deref().unwrap_or_default() {
            "" if ports.len() > 1 => errors.required(&path.child("name"), ""),
            "" => {}
            name => {
                errors.invalid_each(&path.child("name"), name, names::dns1123_label(name));
                if !named.insert(name) {
                    errors.duplicate(&path.child("name"), name);
                }
            }
        }
        if let Some(detail) = names::port_number(port.port) {
            errors.invalid(&path.child("port"), port.port, detail);
        }
        if kind(spec) == "LoadBalancer" && port.port == KUBELET_PORT {
            let detail = format!("may not expose port {KUBELET_PORT} externally since it is used by kubelet");
            errors.invalid(&path.child("port"), port.port, &detail);
        }
        endpoint::validate_protocol(errors, &path.child("protocol"), port.protocol.as_deref());
        if let Some(target) = &port.target_port {
            validate_target_port(errors, &path.child("targetPort"), target);
        }
        endpoint::validate_app_protocol(errors, &path.child("appProtocol"), port.app_protocol.as_deref());
        if !numbered.insert((protocol, port.port)) {
            errors.duplicate(&path, json!({"protocol": protocol, "port": port.port}));
        }
        let node_port = port.node_port.unwrap_or(0);
        if node_port != 0 {
            let path = path.child("nodePort");
            if kind(spec) == "ClusterIP" {
                errors.forbidden(&path, "may not be used when `type` is 'ClusterIP'");
            } else if !on_nodes.insert((protocol, node_port)) {
                errors.duplicate(&path, node_port);
            }
        }
    }
}

/// A port by number, or by the name that the pod gives it.
fn validate_target_port(errors: &mut Errors, path: &Path<'_>, port: &IntOrString) {
    match port {
        IntOrString::Int(number) => {
            if let Some(detail) = names::port_number(*number) {
                errors.invalid(path, *number, detail);
            }
        }
        IntOrString::String(name) => errors.invalid_each(path, name, names::port_name(name)),
    }
}

fn validate_affinity(errors: &mut Errors, path: &Path<'_>, spec: &ServiceSpec) {
    match spec.session_affinity.as_deref().unwrap_or_default() {
        "None" => {
            if spec.session_affinity_config.is_some() {
                let detail = "must not be set when session affinity is None";
                errors.forbidden(&path.child("sessionAffinityConfig"), detail);
            }
        }
        "ClientIP" => {
            let client = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
            let path = path.child("sessionAffinityConfig.clientIP.timeoutSeconds");
            match client.and_then(|client| client.timeout_seconds) {
                None => errors.required(&path, "when session affinity is ClientIP"),
                Some(1..=AFFINITY_SECONDS_MAX) => {}
                Some(other) => {
                    let detail = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                    errors.invalid(&path, other, &detail);
                }
            }
        }
        "" => errors.required(&path.child("sessionAffinity"), ""),
        other => errors.not_supported(&path.child("sessionAffinity"), other, &["ClientIP", "None"]),
    }
}

fn validate_addresses(errors: &mut Errors, path: &Path<'_>, spec: &ServiceSpec) {
    let families = spec.ip_families.as_deref().unwrap_or_default();
    let at = path.child("ipFamilies");
    for (i, family) in families.iter().enumerate() {
        let path = at.index(i);
        if !matches!(family.as_str(), "IPv4" | "IPv6") {
            errors.not_supported(&path, family.as_str(), &["IPv4", "IPv6"]);
        }
        if families.iter().take(i).any(|other| other == family) {
            errors.duplicate(&path, family.as_str());
        }
    }
    if let Some(policy) = spec.ip_family_policy.as_deref() {
        let supported = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        if !supported.contains(&policy) {
            errors.not_supported(&path.child("ipFamilyPolicy"), policy, &supported);
        }
    }
    let ips = spec.cluster_ips.as_deref().unwrap_or_default();
    let at = path.child("clusterIPs");
    let first = spec.cluster_ip.as_deref().unwrap_or_default();
    if first.is_empty() && !ips.is_empty() {
        errors.invalid(&at, ips.to_vec(), "must be empty when `clusterIP` is not specified");
    } else if ips.first().is_some_and(|ip| ip != first) {
        errors.invalid(&at, ips.to_vec(), "first value must match `clusterIP`");
    }
    if ips.len() > 2 {
        errors.invalid(&at, ips.to_vec(), "may only hold up to 2 values");
    }
    for (i, ip) in ips.iter().enumerate() {
        let path = at.index(i);
        if ip == "None" {
            if ips.len() > 1 {
                errors.invalid(&path, "None", "'None' must be the first and only value");
            }
            continue;
        }
        match (names::ip(ip), families.get(i).map(String::as_str)) {
            (Err(detail), _) => errors.invalid(&path, ip.as_str(), detail),
            (Ok(address), Some(family)) if (family == "IPv4") != address.is_ipv4() => {
                let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
                errors.invalid(&path, ip.as_str(), &detail);
            }
            (Ok(_), _) => {}
        }
    }
    for (i, ip) in spec.external_ips.iter().flatten().enumerate() {
        endpoint::validate_ip(errors, &path.child("externalIPs").index(i), ip);
    }
}

fn validate_balancer(errors: &mut Errors, path: &Path<'_>, spec: &ServiceSpec) {
    let balanced = kind(spec) == "LoadBalancer";
    let ranges = path.child("loadBalancerSourceRanges");
    let list = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    if !list.is_empty() && !balanced {
        errors.forbidden(&ranges, BALANCER_ONLY);
    }
    for (i, range) in list.iter().enumerate() {
        if let Err(detail) = names::cidr(range.trim()) {
            errors.invalid(&ranges.index(i), range.as_str(), detail);
        }
    }
    let at = path.child("allocateLoadBalancerNodePorts");
    match (balanced, spec.allocate_load_balancer_node_ports) {
        (true, None) => errors.required(&at, ""),
        (false, Some(_)) => errors.forbidden(&at, BALANCER_ONLY),
        _ => {}
    }
    if let Some(class) = &spec.load_balancer_class {
        let path = path.child("loadBalancerClass");
        if !balanced {
            errors.forbidden(&path, BALANCER_ONLY);
        }
        errors.invalid_each(&path, class, names::qualified_name(class));
    }
}

fn validate_policies(errors: &mut Errors, path: &Path<'_>, spec: &ServiceSpec) {
    let at = path.child("externalTrafficPolicy");
    match (is_external(spec), spec.external_traffic_policy.as_deref().unwrap_or_default()) {
        (true, "Cluster" | "Local") | (false, "") => {}
        (true, "") => errors.required(&at, ""),
        (true, other) => errors.not_supported(&at, other, &["Cluster", "Local"]),
        (false, other) => errors.invalid(&at, other, "may only be set for externally-accessible services"),
    }
    let health = spec.health_check_node_port.unwrap_or(0);
    if health != 0 {
        let path = path.child("healthCheckNodePort");
        if !has_health_check_port(spec) {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(&path, health, detail);
        } else if let Some(detail) = names::port_number(health) {
            errors.invalid(&path, health, detail);
        }
    }
    let at = path.child("internalTrafficPolicy");
    match spec.internal_traffic_policy.as_deref() {
        None if has_cluster_ips(spec) => errors.required(&at, ""),
        None | Some("Cluster" | "Local") => {}
        Some(other) => errors.not_supported(&at, other, &["Cluster", "Local"]),
    }
    if let Some(distribution) = spec.traffic_distribution.as_deref() {
        let supported = ["PreferClose", "PreferSameNode", "PreferSameZone"];
        if !supported.contains(&distribution) {
            errors.not_supported(&path.child("trafficDistribution"), distribution, &supported);
        }
    }
}

pub(super) fn update(new: &Service, old: &Service) -> Vec<FieldError> {
    let mut errors = Errors::new();
    let (spec, was) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    let once = "may not change once set";
    if has_cluster_ips(&spec) && has_cluster_ips(&was) {
        for (field, new, old) in [
            ("spec.clusterIPs", &spec.cluster_ips, &was.cluster_ips),
            ("spec.ipFamilies", &spec.ip_families, &was.ip_families),
        ] {
            let (new, old) = (new.iter().flatten().next(), old.iter().flatten().next());
            if old.is_some_and(|old| !old.is_empty()) && new != old {
                errors.invalid(&Path::root(field).index(0), new.cloned(), once);
            }
        }
    }
    if kind(&spec) == "LoadBalancer"
        && kind(&was) == "LoadBalancer"
        && spec.load_balancer_class != was.load_balancer_class
    {
        errors.invalid(&Path::root("spec.loadBalancerClass"), spec.load_balancer_class, once);
    }
    errors.extend(service(new));
    errors.into_vec()
}

pub(super) fn status(service: &Service) -> Vec<FieldError> {
    let mut errors = Errors::new();
    let path = Path::root("status.loadBalancer.ingress");
    let status = service.status.clone().unwrap_or_default();
    let given = status.load_balancer.and_then(|balancer| balancer.ingress).unwrap_or_default();
    if !given.is_empty() && service.spec.as_ref().map(kind) != Some("LoadBalancer") {
        errors.forbidden(&path, BALANCER_ONLY);
    }
    for (i, ingress) in given.iter().enumerate() {
        let path = path.index(i);
        if let Some(ip) = ingress.ip.as_deref().filter(|ip| !ip.is_empty()) {
            if let Err(detail) = names::ip(ip) {
                errors.invalid(&path.child("ip"), ip, detail);
            }
            match ingress.ip_mode.as_deref() {
                None => errors.required(&path.child("ipMode"), "must be specified when `ip` is set"),
                Some("VIP" | "Proxy") => {}
                Some(other) => errors.not_supported(&path.child("ipMode"), other, &["Proxy", "VIP"]),
            }
        }
        if let Some(name) = ingress.hostname.as_deref().filter(|name| !name.is_empty()) {
            errors.invalid_each(&path.child("hostname"), name, names::dns1123_subdomain(name));
        }
    }
    errors.into_vec()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::kind::Kind as _;

    fn made(spec: Value) -> Service {
        let mut service: Service = crate::decode::decode(json!({"spec": spec})).unwrap().0;
        super::super::Services::default(&mut service);
        service
    }

    fn text(spec: Value) -> Vec<String> {
        service(&made(spec)).iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
    }

    #[test]
    fn good_ones_pass() {
        for spec in [
            json!({"ports": [{"port": 80, "targetPort": "http"}], "selector": {"a": "b"}}),
            json!({"clusterIP": "None"}),
            json!({"type": "ExternalName", "externalName": "example.com."}),
            json!({"type": "NodePort", "ports": [{"name": "a", "port": 53}, {"name": "b", "port": 53, "protocol": "UDP"}]}),
            json!({"type": "LoadBalancer", "ports": [{"port": 80}], "loadBalancerSourceRanges": ["10.0.0.0/8"],
                "externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP"}),
        ] {
            assert_eq!(text(spec.clone()), Vec::<String>::new(), "{spec}");
        }
    }

    #[test]
    fn faults_read_as_upstream() {
        let cases = [
            (json!({}), "spec.ports: Required value"),
            (
                json!({"ports": [{"port": 70_000, "targetPort": 80}]}),
                "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ),
            (
                json!({"type": "x", "ports": [{"port": 1}]}),
                "spec.type: Unsupported value: \"x\": supported values: \"ClusterIP\", \"ExternalName\", \
                 \"LoadBalancer\", \"NodePort\"",
            ),
            (json!({"ports": [{"port": 1, "name": "a"}, {"port": 2}]}), "spec.ports[1].name: Required value"),
            (
                json!({"ports": [{"port": 1, "nodePort": 30_000}]}),
                "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            ),
            (
                json!({"ports": [{"port": 1}], "externalTrafficPolicy": "Local"}),
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
            ),
            (
                json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 1}]}),
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
            ),
            (json!({"type": "ExternalName"}), "spec.externalName: Required value"),
            (
                json!({"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]}),
                "spec.ports[1]: Duplicate value: {\"protocol\":\"TCP\",\"port\":1}",
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(text(spec), [expected]);
        }
    }

    #[test]
    fn the_address_stays() {
        let with = |ip: &str| {
            let mut service = made(json!({"ports": [{"port": 1}], "clusterIP": ip}));
            service.spec.as_mut().unwrap().cluster_ips = Some(vec![ip.to_owned()]);
            service
        };
        assert!(update(&with("10.96.0.9"), &with("10.96.0.9")).is_empty());
        let errors = update(&with("10.96.0.8"), &with("10.96.0.9"));
        assert_eq!(errors[0].field, "spec.clusterIPs[0]");
        assert_eq!(errors[0].message, "Invalid value: \"10.96.0.8\": may not change once set");
    }
}
