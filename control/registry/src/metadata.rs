//! Validation of what all objects share.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};

use crate::field::{Errors, Path};
use crate::names;
use crate::strategy::{FieldError, Scope, Strategy};

/// All annotations of an object together, keys and values.
const ANNOTATION_BYTES_MAX: usize = 256 * 1024;

/// Validates the metadata of an object that is to be created or updated.
#[must_use]
pub fn validate_metadata(meta: &ObjectMeta, scope: Scope, strategy: &dyn Strategy) -> Vec<FieldError> {
    let mut errors = Errors::new();
    let path = Path::root("metadata");
    if let Some(prefix) = meta.generate_name.as_deref().filter(|p| !p.is_empty()) {
        errors.invalid_each(&path.child("generateName"), prefix, strategy.validate_name(prefix, true));
    }
    match meta.name.as_deref().filter(|name| !name.is_empty()) {
        None => errors.required(&path.child("name"), "name or generateName is required"),
        Some(name) => errors.invalid_each(&path.child("name"), name, strategy.validate_name(name, false)),
    }
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    match scope {
        Scope::Namespaced if namespace.is_empty() => errors.required(&path.child("namespace"), ""),
        Scope::Namespaced => {
            errors.invalid_each(&path.child("namespace"), namespace, names::dns1123_label(namespace));
        }
        Scope::Cluster if !namespace.is_empty() => {
            errors.forbidden(&path.child("namespace"), "not allowed on this type");
        }
        Scope::Cluster => {}
    }
    if let Some(generation) = meta.generation.filter(|g| *g < 0) {
        errors.invalid(&path.child("generation"), generation, "must be greater than or equal to 0");
    }
    validate_parts(&mut errors, &path, meta, strategy.takes_any_finalizer());
    errors.into_vec()
}

/// Validates a change of metadata, beyond [`validate_metadata`].
#[must_use]
pub fn validate_metadata_update(new: &ObjectMeta, old: &ObjectMeta) -> Vec<FieldError> {
    let mut errors = Errors::new();
    let path = Path::root("metadata");
    let immutable = "field is immutable";
    for (field, new, old) in
        [("name", &new.name, &old.name), ("namespace", &new.namespace, &old.namespace), ("uid", &new.uid, &old.uid)]
    {
        if new.as_deref().unwrap_or_default() != old.as_deref().unwrap_or_default() {
            errors.invalid(&path.child(field), new.as_deref().unwrap_or_default(), immutable);
        }
    }
    if new.creation_timestamp != old.creation_timestamp {
        let value = new.creation_timestamp.as_ref().map(|time| time.0.to_string());
        errors.invalid(&path.child("creationTimestamp"), value, immutable);
    }
    if new.generation.unwrap_or(0) < old.generation.unwrap_or(0) {
        errors.invalid(&path.child("generation"), new.generation.unwrap_or(0), "must not be decremented");
    }
    if old.deletion_timestamp.is_some() {
        let had = old.finalizers.as_deref().unwrap_or_default();
        let added: Vec<&String> = new.finalizers.iter().flatten().filter(|f| !had.contains(f)).collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            );
            errors.forbidden(&path.child("finalizers"), &detail);
        }
    }
    errors.into_vec()
}

/// Labels, annotations, owners and finalizers: what templates have as well.
pub(crate) fn validate_shared(errors: &mut Errors, path: &Path<'_>, meta: &ObjectMeta) {
    validate_parts(errors, path, meta, false);
}

fn validate_parts(errors: &mut Errors, path: &Path<'_>, meta: &ObjectMeta, any_finalizer: bool) {
    if let Some(labels) = &meta.labels {
        validate_labels(errors, &path.child("labels"), labels);
    }
    if let Some(annotations) = &meta.annotations {
        validate_annotations(errors, &path.child("annotations"), annotations);
    }
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    validate_owners(errors, &path.child("ownerReferences"), owners);
    let finalizers = meta.finalizers.as_deref().unwrap_or_default();
    validate_finalizers(errors, &path.child("finalizers"), finalizers, any_finalizer);
}

/// A map of labels.
pub(crate) fn validate_labels(errors: &mut Errors, path: &Path<'_>, labels: &BTreeMap<String, String>) {
    for (key, value) in labels {
        errors.invalid_each(path, key, names::qualified_name(key));
        errors.invalid_each(path, value, names::label_value(value));
    }
}

/// A map of annotations.
pub(crate) fn validate_annotations(errors: &mut Errors, path: &Path<'_>, annotations: &BTreeMap<String, String>) {
    for key in annotations.keys() {
        // The prefix is a DNS name, whose case does not count.
        errors.invalid_each(path, key, names::qualified_name(&key.to_lowercase()));
    }
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > ANNOTATION_BYTES_MAX {
        errors.too_long(path, ANNOTATION_BYTES_MAX);
    }
}

fn validate_owners(errors: &mut Errors, path: &Path<'_>, owners: &[OwnerReference]) {
    let mut controller: Option<&str> = None;
    for (i, owner) in owners.iter().enumerate() {
        let path = path.index(i);
        if owner.api_version.is_empty() || owner.api_version.ends_with('/') {
            errors.invalid(&path.child("apiVersion"), owner.api_version.as_str(), "version must not be empty");
        }
        for (field, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
            if value.is_empty() {
                errors.invalid(&path.child(field), value.as_str(), "must not be empty");
            }
        }
        if owner.api_version == "v1" && owner.kind == "Event" {
            let value = serde_json::to_value(owner).unwrap_or_default();
            errors.invalid(&path, value, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.controller == Some(true) {
            match controller {
                Some(first) => {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} \
                         and {}",
                        owner.name
                    );
                    errors.invalid(&path, serde_json::to_value(owners).unwrap_or_default(), &detail);
                }
                None => controller = Some(&owner.name),
            }
        }
    }
}

fn validate_finalizers(errors: &mut Errors, path: &Path<'_>, finalizers: &[String], any: bool) {
    for (i, finalizer) in finalizers.iter().enumerate() {
        errors.invalid_each(path, finalizer, names::qualified_name(finalizer));
        if !any {
            validate_finalizer_name(errors, &path.index(i), finalizer);
        }
    }
    let has = |name: &str| finalizers.iter().any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        errors.invalid(path, finalizers.to_vec(), "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

/// A finalizer without a domain is one of Kubernetes' own.
pub(crate) fn validate_finalizer_name(errors: &mut Errors, path: &Path<'_>, name: &str) {
    if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
        errors.invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

/// A `LabelSelector` object.
pub(crate) fn validate_label_selector(errors: &mut Errors, path: &Path<'_>, selector: &LabelSelector) {
    if let Some(labels) = &selector.match_labels {
        validate_labels(errors, &path.child("matchLabels"), labels);
    }
    for (i, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions");
        let path = path.index(i);
        let values = expression.values.as_deref().unwrap_or_default();
        match expression.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.forbidden(
                    &path.child("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        errors.invalid_each(&path.child("key"), &expression.key, names::qualified_name(&expression.key));
        for (i, value) in values.iter().enumerate() {
            errors.invalid_each(&path.child("values").index(i), value, names::label_value(value));
        }
    }
}
