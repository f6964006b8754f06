//! Environment variables.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector};

use crate::field::{Errors, Path};
use crate::names;

const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn validate_env(errors: &mut Errors, path: &Path<'_>, variables: &[EnvVar]) {
    for (i, variable) in variables.iter().enumerate() {
        let path = path.index(i);
        if variable.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.invalid_each(&path.child("name"), &variable.name, names::env_var_name(&variable.name));
        }
        let Some(source) = &variable.value_from else { continue };
        let path = path.child("valueFrom");
        if variable.value.as_deref().is_some_and(|value| !value.is_empty()) {
            errors.invalid(&path, "", "may not be specified when `value` is not empty");
        }
        validate_source(errors, &path, source);
    }
}

fn validate_source(errors: &mut Errors, path: &Path<'_>, source: &EnvVarSource) {
    let mut sources = 0;
    if let Some(field) = &source.field_ref {
        sources += 1;
        validate_field_ref(errors, &path.child("fieldRef"), field, &FIELDS);
    }
    if let Some(resource) = &source.resource_field_ref {
        sources += 1;
        validate_resource_ref(errors, &path.child("resourceFieldRef"), resource);
    }
    if let Some(reference) = &source.config_map_key_ref {
        sources += 1;
        validate_key_ref(errors, &path.child("configMapKeyRef"), &reference.name, &reference.key);
    }
    if let Some(reference) = &source.secret_key_ref {
        sources += 1;
        validate_key_ref(errors, &path.child("secretKeyRef"), &reference.name, &reference.key);
    }
    sources += usize::from(source.file_key_ref.is_some());
    match sources {
        0 => errors.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        ),
        1 => {}
        _ => errors.invalid(path, "", "may not have more than one field specified at a time"),
    }
}

fn validate_key_ref(errors: &mut Errors, path: &Path<'_>, name: &str, key: &str) {
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    if key.is_empty() {
        errors.required(&path.child("key"), "");
    } else {
        errors.invalid_each(&path.child("key"), key, names::config_map_key(key));
    }
}

/// A field of the pod: one of a list, or an entry of its labels or annotations.
pub(super) fn validate_field_ref(errors: &mut Errors, path: &Path<'_>, field: &ObjectFieldSelector, known: &[&str]) {
    match field.api_version.as_deref().unwrap_or_default() {
        "" => errors.required(&path.child("apiVersion"), ""),
        "v1" => {}
        other => errors.not_supported(&path.child("apiVersion"), other, &["v1"]),
    }
    let at = path.child("fieldPath");
    let text = field.field_path.as_str();
    if text.is_empty() {
        errors.required(&at, "");
        return;
    }
    let subscript = text.strip_suffix("']").and_then(|text| text.split_once("['"));
    match subscript {
        Some(("metadata.labels", key)) => errors.invalid_each(&at, key, names::qualified_name(key)),
        Some(("metadata.annotations", key)) => {
            errors.invalid_each(&at, key, names::qualified_name(&key.to_lowercase()));
        }
        Some((other, _)) => errors.invalid(&at, other, "does not support subscript"),
        None if known.contains(&text) => {}
        None => errors.not_supported(&at, text, known),
    }
}

/// A request or limit of a container.
pub(super) fn validate_resource_ref(errors: &mut Errors, path: &Path<'_>, reference: &ResourceFieldSelector) {
    let resource = reference.resource.as_str();
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if resource.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !RESOURCES.contains(&resource) && !huge {
        errors.not_supported(&path.child("resource"), resource, &RESOURCES);
    }
    if let Some(divisor) = &reference.divisor {
        super::validate_quantity(errors, &path.child("divisor"), divisor);
    }
}

pub(super) fn validate_env_from(errors: &mut Errors, path: &Path<'_>, sources: &[EnvFromSource]) {
    for (i, source) in sources.iter().enumerate() {
        let path = path.index(i);
        if let Some(prefix) = source.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
            errors.invalid_each(&path.child("prefix"), prefix, names::env_var_name(prefix));
        }
        let config = source.config_map_ref.as_ref().map(|reference| ("configMapRef", &reference.name));
        let secret = source.secret_ref.as_ref().map(|reference| ("secretRef", &reference.name));
        for (field, name) in config.into_iter().chain(secret) {
            let path = path.child(field);
            if name.is_empty() {
                errors.required(&path.child("name"), "");
            } else {
                errors.invalid_each(&path.child("name"), name, names::dns1123_subdomain(name));
            }
        }
        match (config, secret) {
            (None, None) => errors.invalid(&path, "", "must specify one of: `configMapRef` or `secretRef`"),
            (Some(_), Some(_)) => errors.invalid(&path, "", "may not have more than one field specified at a time"),
            _ => {}
        }
    }
}
