//! Volumes that come from elsewhere: over the network, from a driver, from a claim of the pod's own, from an image.

use k8s_openapi::api::core::v1::{ISCSIVolumeSource, NFSVolumeSource, PersistentVolumeClaimTemplate, Volume};

use crate::field::{Errors, Path};
use crate::metadata::{validate_annotations, validate_labels};
use crate::names;
use crate::volume_claim;

pub(super) fn validate(errors: &mut Errors, path: &Path<'_>, volume: &Volume) {
    if let Some(source) = &volume.nfs {
        validate_nfs(errors, &path.child("nfs"), source);
    }
    if let Some(source) = &volume.iscsi {
        validate_iscsi(errors, &path.child("iscsi"), source);
    }
    if let Some(source) = &volume.csi {
        let path = path.child("csi");
        names::validate_csi_driver(errors, &path.child("driver"), &source.driver);
        if source.node_publish_secret_ref.as_ref().is_some_and(|secret| secret.name.is_empty()) {
            errors.required(&path.child("nodePublishSecretRef.name"), "");
        }
    }
    if let Some(source) = &volume.ephemeral {
        let path = path.child("ephemeral.volumeClaimTemplate");
        match &source.volume_claim_template {
            Some(template) => validate_claim(errors, &path, template),
            None => errors.required(&path, ""),
        }
    }
    if let Some(source) = &volume.image {
        let path = path.child("image");
        let reference = source.reference.as_deref().unwrap_or_default();
        if reference.trim() != reference {
            errors.invalid(&path.child("reference"), reference, "must not have leading or trailing whitespace");
        }
        let policies = ["Always", "IfNotPresent", "Never"];
        if let Some(policy) = source.pull_policy.as_deref().filter(|policy| !policies.contains(policy)) {
            errors.not_supported(&path.child("pullPolicy"), policy, &policies);
        }
    }
    if let Some(source) = &volume.fc {
        let path = path.child("fc");
        let (targets, ids) =
            (source.target_wwns.as_deref().unwrap_or_default(), source.wwids.as_deref().unwrap_or_default());
        match (targets.is_empty(), ids.is_empty()) {
            (true, true) => {
                errors.required(&path.child("targetWWNs"), "must specify either targetWWNs or wwids, but not both");
            }
            (false, false) => {
                errors.invalid(
                    &path.child("targetWWNs"),
                    targets.to_vec(),
                    "targetWWNs and wwids can not be specified simultaneously",
                );
            }
            _ => {}
        }
        let lun = source.lun;
        if !targets.is_empty() && lun.is_none() {
            errors.required(&path.child("lun"), "lun is required if targetWWNs is specified");
        }
        if let Some(lun) = lun.filter(|lun| !targets.is_empty() && !(0..=255).contains(lun)) {
            errors.invalid(&path.child("lun"), lun, "must be between 0 and 255, inclusive");
        }
    }
}

/// A share of a file server.
pub(crate) fn validate_nfs(errors: &mut Errors, path: &Path<'_>, source: &NFSVolumeSource) {
    for (field, value) in [("server", &source.server), ("path", &source.path)] {
        if value.is_empty() {
            errors.required(&path.child(field), "");
        }
    }
    if !source.path.starts_with('/') {
        errors.invalid(&path.child("path"), source.path.as_str(), "must be an absolute path");
    }
}

fn validate_iscsi(errors: &mut Errors, path: &Path<'_>, source: &ISCSIVolumeSource) {
    if source.target_portal.is_empty() {
        errors.required(&path.child("targetPortal"), "");
    }
    let (at, name) = (path.child("iqn"), source.iqn.as_str());
    if name.is_empty() {
        errors.required(&at, "");
    } else if !["iqn", "eui", "naa"].iter().any(|prefix| name.starts_with(prefix)) {
        errors.invalid(&at, name, "must be valid format starting with iqn, eui, or naa");
    }
    if !(0..=255).contains(&source.lun) {
        errors.invalid(&path.child("lun"), source.lun, "must be between 0 and 255, inclusive");
    }
    let checked = source.chap_auth_discovery == Some(true) || source.chap_auth_session == Some(true);
    if checked && source.secret_ref.is_none() {
        errors.required(&path.child("secretRef"), "");
    }
}

fn validate_claim(errors: &mut Errors, path: &Path<'_>, template: &PersistentVolumeClaimTemplate) {
    if let Some(meta) = &template.metadata {
        validate_annotations(
            errors,
            &path.child("metadata.annotations"),
            &meta.annotations.clone().unwrap_or_default(),
        );
        validate_labels(errors, &path.child("metadata.labels"), &meta.labels.clone().unwrap_or_default());
    }
    volume_claim::validate_spec(errors, &path.child("spec"), &template.spec);
}
