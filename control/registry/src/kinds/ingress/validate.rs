//! Validation of Ingresses.

use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec, IngressStatus, IngressTLS,
};

use crate::field::{Errors, Path};
use crate::names;

const SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const SUFFIXES: [&str; 2] = ["/..", "/."];

pub(super) fn spec(errors: &mut Errors, path: &Path<'_>, spec: &IngressSpec) {
    let rules = spec.rules.as_deref().unwrap_or_default();
    match &spec.default_backend {
        Some(backend) => validate_backend(errors, &path.child("defaultBackend"), backend),
        None if rules.is_empty() => {
            let value = serde_json::to_value(rules).unwrap_or_default();
            errors.invalid(path, value, "either `defaultBackend` or `rules` must be specified");
        }
        None => {}
    }
    if let Some(class) = spec.ingress_class_name.as_deref() {
        errors.invalid_each(&path.child("ingressClassName"), class, names::dns1123_subdomain(class));
    }
    let at = path.child("rules");
    for (i, rule) in rules.iter().enumerate() {
        validate_rule(errors, &at.index(i), rule);
    }
    let at = path.child("tls");
    for (i, tls) in spec.tls.iter().flatten().enumerate() {
        validate_tls(errors, &at.index(i), tls);
    }
}

fn validate_tls(errors: &mut Errors, path: &Path<'_>, tls: &IngressTLS) {
    for (i, host) in tls.hosts.iter().flatten().enumerate() {
        validate_host(errors, &path.child("hosts").index(i), host);
    }
    if let Some(secret) = tls.secret_name.as_deref().filter(|secret| !secret.is_empty()) {
        errors.invalid_each(&path.child("secretName"), secret, names::dns1123_subdomain(secret));
    }
}

fn validate_host(errors: &mut Errors, path: &Path<'_>, host: &str) {
    let faults = if host.contains('*') { names::wildcard_subdomain(host) } else { names::dns1123_subdomain(host) };
    errors.invalid_each(path, host, faults);
}

fn validate_rule(errors: &mut Errors, path: &Path<'_>, rule: &IngressRule) {
    if let Some(host) = rule.host.as_deref().filter(|host| !host.is_empty()) {
        let at = path.child("host");
        if names::ip(host).is_ok() {
            errors.invalid(&at, host, "must be a DNS name, not an IP address");
        }
        validate_host(errors, &at, host);
    }
    let Some(http) = &rule.http else { return };
    let at = path.child("http.paths");
    if http.paths.is_empty() {
        errors.required(&at, "");
    }
    for (i, one) in http.paths.iter().enumerate() {
        validate_path(errors, &at.index(i), one);
    }
}

fn validate_path(errors: &mut Errors, path: &Path<'_>, one: &HTTPIngressPath) {
    let at = path.child("path");
    let text = one.path.as_deref().unwrap_or_default();
    match one.path_type.as_str() {
        "" => errors.required(&path.child("pathType"), "pathType must be specified"),
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.invalid(&at, text, "must be an absolute path");
            }
            for sequence in SEQUENCES.iter().filter(|sequence| text.contains(**sequence)) {
                errors.invalid(&at, text, &format!("must not contain '{sequence}'"));
            }
            for suffix in SUFFIXES.iter().filter(|suffix| text.ends_with(**suffix)) {
                errors.invalid(&at, text, &format!("cannot end with '{suffix}'"));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.invalid(&at, text, "must be an absolute path");
            }
        }
        other => {
            errors.not_supported(&path.child("pathType"), other, &["Exact", "ImplementationSpecific", "Prefix"]);
        }
    }
    validate_backend(errors, &path.child("backend"), &one.backend);
}

fn validate_backend(errors: &mut Errors, path: &Path<'_>, backend: &IngressBackend) {
    match (&backend.service, &backend.resource) {
        (Some(_), Some(_)) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (None, None) => errors.invalid(path, "", "resource or service backend is required"),
        (None, Some(resource)) => validate_reference(errors, &path.child("resource"), resource),
        (Some(service), None) => validate_service(errors, path, service),
    }
}

fn validate_service(errors: &mut Errors, path: &Path<'_>, service: &IngressServiceBackend) {
    let at = path.child("service.name");
    if service.name.is_empty() {
        errors.required(&at, "");
    } else {
        errors.invalid_each(&at, &service.name, names::dns1035_label(&service.name));
    }
    let port = service.port.clone().unwrap_or_default();
    let (name, number) = (port.name.unwrap_or_default(), port.number.unwrap_or(0));
    match (name.is_empty(), number) {
        (true, 0) => errors.required(path, "port name or number is required"),
        (false, 1..) => errors.invalid(path, "", "cannot set both port name & port number"),
        (false, _) => errors.invalid_each(&path.child("service.port.name"), &name, names::port_name(&name)),
        (true, number) => {
            if let Some(detail) = names::port_number(number) {
                errors.invalid(&path.child("service.port.number"), number, detail);
            }
        }
    }
}

fn validate_reference(errors: &mut Errors, path: &Path<'_>, reference: &TypedLocalObjectReference) {
    if let Some(group) = reference.api_group.as_deref().filter(|group| !group.is_empty()) {
        errors.invalid_each(&path.child("apiGroup"), group, names::dns1123_subdomain(group));
    }
    for (field, required, value) in
        [("kind", "kind is required", &reference.kind), ("name", "name is required", &reference.name)]
    {
        if value.is_empty() {
            errors.required(&path.child(field), required);
        } else {
            errors.invalid_each(&path.child(field), value, names::path_segment(value));
        }
    }
}

pub(super) fn status(errors: &mut Errors, path: &Path<'_>, status: &IngressStatus) {
    let points = status.load_balancer.as_ref().and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    for (i, point) in points.iter().enumerate() {
        let path = path.child("loadBalancer.ingress");
        let path = path.index(i);
        if let Some(ip) = point.ip.as_deref().filter(|ip| !ip.is_empty())
            && let Err(detail) = names::ip(ip)
        {
            errors.invalid(&path.child("ip"), ip, detail);
        }
        if let Some(host) = point.hostname.as_deref().filter(|host| !host.is_empty()) {
            errors.invalid_each(&path.child("hostname"), host, names::dns1123_subdomain(host));
            if names::ip(host).is_ok() {
                errors.invalid(&path.child("hostname"), host, "must be a DNS name, not an IP address");
            }
        }
    }
}
