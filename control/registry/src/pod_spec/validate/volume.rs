//! Volumes.

mod source;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, HostPathVolumeSource, KeyToPath, Volume, VolumeProjection};
use serde_json::Value;

pub(crate) use source::validate_nfs;

use super::container::validate_inner_path;
use super::env::{validate_field_ref, validate_resource_ref};
use crate::field::{Errors, Path};
use crate::names;
use crate::quantity::Quantity;

const DOWNWARD_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Validates volumes, and returns the names that mounts may use.
pub(super) fn validate_volumes<'a>(errors: &mut Errors, path: &Path<'_>, volumes: &'a [Volume]) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (i, volume) in volumes.iter().enumerate() {
        let path = path.index(i);
        if volume.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.invalid_each(&path.child("name"), &volume.name, names::dns1123_label(&volume.name));
            if !seen.insert(volume.name.as_str()) {
                errors.duplicate(&path.child("name"), volume.name.as_str());
            }
        }
        validate_source(errors, &path, volume);
    }
    seen
}

fn validate_source(errors: &mut Errors, path: &Path<'_>, volume: &Volume) {
    // What a volume is made of are its fields beside the name: there must be one.
    let value = serde_json::to_value(volume).unwrap_or_default();
    let mut sources = value.as_object().into_iter().flatten().map(|(field, _)| field).filter(|field| *field != "name");
    if sources.next().is_none() {
        errors.required(path, "must specify a volume type");
    }
    for field in sources {
        errors.forbidden(&path.child(field), "may not specify more than 1 volume type");
    }
    if let Some(limit) = volume.empty_dir.as_ref().and_then(|source| source.size_limit.as_ref())
        && Quantity::try_from(limit).map_or(true, Quantity::is_negative)
    {
        errors.forbidden(&path.child("emptyDir.sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
    if let Some(source) = &volume.host_path {
        validate_host_path(errors, &path.child("hostPath"), source);
    }
    if let Some(source) = &volume.secret {
        let path = path.child("secret");
        if source.secret_name.as_deref().unwrap_or_default().is_empty() {
            errors.required(&path.child("secretName"), "");
        }
        validate_mode(errors, &path.child("defaultMode"), source.default_mode);
        validate_items(errors, &path.child("items"), source.items.as_deref().unwrap_or_default());
    }
    if let Some(source) = &volume.config_map {
        let path = path.child("configMap");
        if source.name.is_empty() {
            errors.required(&path.child("name"), "");
        }
        validate_mode(errors, &path.child("defaultMode"), source.default_mode);
        validate_items(errors, &path.child("items"), source.items.as_deref().unwrap_or_default());
    }
    if let Some(source) = &volume.downward_api {
        let path = path.child("downwardAPI");
        validate_mode(errors, &path.child("defaultMode"), source.default_mode);
        validate_files(errors, &path.child("items"), source.items.as_deref().unwrap_or_default());
    }
    if let Some(source) = &volume.projected {
        let path = path.child("projected");
        validate_mode(errors, &path.child("defaultMode"), source.default_mode);
        for (i, projection) in source.sources.iter().flatten().enumerate() {
            validate_projection(errors, &path.child("sources").index(i), projection);
        }
    }
    source::validate(errors, path, volume);
    if volume.persistent_volume_claim.as_ref().is_some_and(|source| source.claim_name.is_empty()) {
        errors.required(&path.child("persistentVolumeClaim.claimName"), "");
    }
}

/// A path of the node's.
pub(crate) fn validate_host_path(errors: &mut Errors, path: &Path<'_>, source: &HostPathVolumeSource) {
    let at = path.child("path");
    if source.path.is_empty() {
        errors.required(&at, "");
    } else if source.path.split('/').any(|part| part == "..") {
        errors.invalid(&at, source.path.as_str(), "must not contain '..'");
    }
    let kind = source.type_.as_deref().unwrap_or_default();
    let supported =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    if !supported.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, &supported);
    }
}

fn validate_mode(errors: &mut Errors, path: &Path<'_>, mode: Option<i32>) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn validate_items(errors: &mut Errors, path: &Path<'_>, items: &[KeyToPath]) {
    for (i, item) in items.iter().enumerate() {
        let path = path.index(i);
        if item.key.is_empty() {
            errors.required(&path.child("key"), "");
        }
        validate_file_path(errors, &path.child("path"), &item.path);
        validate_mode(errors, &path.child("mode"), item.mode);
    }
}

fn validate_files(errors: &mut Errors, path: &Path<'_>, files: &[DownwardAPIVolumeFile]) {
    for (i, file) in files.iter().enumerate() {
        let path = path.index(i);
        validate_file_path(errors, &path.child("path"), &file.path);
        match (&file.field_ref, &file.resource_field_ref) {
            (Some(field), None) => validate_field_ref(errors, &path.child("fieldRef"), field, &DOWNWARD_FIELDS),
            (None, Some(resource)) => validate_resource_ref(errors, &path.child("resourceFieldRef"), resource),
            (Some(_), Some(_)) => {
                errors.invalid(&path, Value::Null, "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
            (None, None) => errors.required(&path, "one of fieldRef and resourceFieldRef is required"),
        }
        validate_mode(errors, &path.child("mode"), file.mode);
    }
}

/// A file inside a volume, whose names that begin with two dots are taken.
fn validate_file_path(errors: &mut Errors, path: &Path<'_>, text: &str) {
    if text.is_empty() {
        errors.required(path, "");
    }
    validate_inner_path(errors, path, text);
    if text.starts_with("..") && !text.starts_with("../") {
        errors.invalid(path, text, "must not start with '..'");
    }
}

fn validate_projection(errors: &mut Errors, path: &Path<'_>, projection: &VolumeProjection) {
    let value = serde_json::to_value(projection).unwrap_or_default();
    let fields: Vec<&String> = value.as_object().into_iter().flatten().map(|(field, _)| field).collect();
    if fields.is_empty() {
        errors.required(path, "must specify one projection source type");
    }
    for field in fields.iter().skip(1) {
        errors.forbidden(&path.child(field), "may not specify more than 1 volume type per source");
    }
    if let Some(source) = &projection.config_map {
        let path = path.child("configMap");
        if source.name.is_empty() {
            errors.required(&path.child("name"), "");
        }
        validate_items(errors, &path.child("items"), source.items.as_deref().unwrap_or_default());
    }
    if let Some(source) = &projection.secret {
        let path = path.child("secret");
        if source.name.is_empty() {
            errors.required(&path.child("name"), "");
        }
        validate_items(errors, &path.child("items"), source.items.as_deref().unwrap_or_default());
    }
    if let Some(source) = &projection.downward_api {
        validate_files(errors, &path.child("downwardAPI.items"), source.items.as_deref().unwrap_or_default());
    }
    if let Some(token) = &projection.service_account_token {
        let path = path.child("serviceAccountToken");
        match token.expiration_seconds.unwrap_or(0) {
            seconds if seconds < 600 => {
                let detail = "may not specify a duration less than 10 minutes";
                errors.invalid(&path.child("expirationSeconds"), seconds, detail);
            }
            seconds if seconds > 1 << 32 => {
                let detail = "may not specify a duration larger than 2^32 seconds";
                errors.invalid(&path.child("expirationSeconds"), seconds, detail);
            }
            _ => {}
        }
        validate_file_path(errors, &path.child("path"), &token.path);
    }
}
