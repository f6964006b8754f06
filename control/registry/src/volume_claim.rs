//! What claims have in common: those of their own, those in templates of StatefulSets, and those that pods bring along.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedObjectReference};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use crate::field::{Errors, Path, default_text};
use crate::metadata::validate_label_selector;
use crate::names;
use crate::pod_spec::validate_quantity;
use crate::quantity::Quantity;

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Upstream's defaults of a claim.
pub(crate) fn default_claim(claim: &mut PersistentVolumeClaim) {
    default_text(&mut claim.status.get_or_insert_default().phase, "Pending");
    default_spec(claim.spec.get_or_insert_default());
}

/// Upstream's defaults of a claim's spec.
pub(crate) fn default_spec(spec: &mut PersistentVolumeClaimSpec) {
    default_text(&mut spec.volume_mode, "Filesystem");
}

/// A claim's spec.
pub(crate) fn validate_spec(errors: &mut Errors, path: &Path<'_>, spec: &PersistentVolumeClaimSpec) {
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    if modes.is_empty() {
        errors.required(&path.child("accessModes"), "at least 1 access mode is required");
    }
    if let Some(selector) = &spec.selector {
        validate_label_selector(errors, &path.child("selector"), selector);
    }
    validate_modes(errors, &path.child("accessModes"), modes);
    let at = path.child("resources");
    match spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get("storage")) {
        None => errors.required(&at.key("storage"), ""),
        Some(quantity) => validate_positive(errors, &at.key("storage"), quantity),
    }
    validate_class(errors, &path.child("storageClassName"), spec.storage_class_name.as_deref());
    validate_mode(errors, &path.child("volumeMode"), spec.volume_mode.as_deref());
    let source = spec.data_source.as_ref().map(|source| TypedObjectReference {
        api_group: source.api_group.clone(),
        kind: source.kind.clone(),
        name: source.name.clone(),
        namespace: None,
    });
    for (field, source) in [("dataSource", source.as_ref()), ("dataSourceRef", spec.data_source_ref.as_ref())] {
        if let Some(source) = source {
            validate_source(errors, &path.child(field), source);
        }
    }
    if let (Some(source), Some(reference)) = (&source, &spec.data_source_ref)
        && source != reference
    {
        errors.invalid(path, path.child("dataSource").to_string(), "must match dataSourceRef");
    }
    let class = spec.volume_attributes_class_name.as_deref();
    validate_class(errors, &path.child("volumeAttributesClassName"), class);
}

/// Ways in which a volume may be mounted.
pub(crate) fn validate_modes(errors: &mut Errors, path: &Path<'_>, modes: &[String]) {
    for mode in modes.iter().filter(|mode| !MODES.contains(&mode.as_str())) {
        errors.not_supported(path, mode.as_str(), &MODES);
    }
    let single = modes.iter().any(|mode| mode == "ReadWriteOncePod");
    if single && modes.iter().any(|mode| mode != "ReadWriteOncePod") {
        errors.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

/// A file system or a block device.
pub(crate) fn validate_mode(errors: &mut Errors, path: &Path<'_>, mode: Option<&str>) {
    if let Some(mode) = mode.filter(|mode| !matches!(*mode, "Block" | "Filesystem")) {
        errors.not_supported(path, mode, &["Block", "Filesystem"]);
    }
}

/// The name of a StorageClass or a VolumeAttributesClass.
pub(crate) fn validate_class(errors: &mut Errors, path: &Path<'_>, class: Option<&str>) {
    if let Some(class) = class.filter(|class| !class.is_empty()) {
        errors.invalid_each(path, class, names::dns1123_subdomain(class));
    }
}

/// An amount of storage.
pub(crate) fn validate_positive(errors: &mut Errors, path: &Path<'_>, quantity: &ApiQuantity) {
    validate_quantity(errors, path, quantity);
    if Quantity::try_from(quantity).is_ok_and(Quantity::is_zero) {
        errors.invalid(path, quantity.0.as_str(), "must be greater than zero");
    }
}

fn validate_source(errors: &mut Errors, path: &Path<'_>, source: &TypedObjectReference) {
    for (field, value) in [("name", &source.name), ("kind", &source.kind)] {
        if value.is_empty() {
            errors.required(&path.child(field), "");
        }
    }
    match source.api_group.as_deref().unwrap_or_default() {
        "" if source.kind != "PersistentVolumeClaim" => {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.invalid(path, source.kind.as_str(), detail);
        }
        "" => {}
        group => errors.invalid_each(&path.child("apiGroup"), group, names::dns1123_subdomain(group)),
    }
    if let Some(namespace) = source.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
        errors.invalid_each(&path.child("namespace"), namespace, names::dns1123_label(namespace));
    }
}

/// Access modes in the short form that people read: `RWO,ROX`.
pub(crate) fn short_modes(modes: Option<&[String]>) -> String {
    let modes = modes.unwrap_or_default();
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| modes.iter().any(|has| has == mode);
    short.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// The amount of storage among resources.
pub(crate) fn storage(resources: Option<&BTreeMap<String, ApiQuantity>>) -> Option<&ApiQuantity> {
    resources.and_then(|resources| resources.get("storage"))
}
