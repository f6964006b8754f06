//! PersistentVolume.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeSpec, PersistentVolumeStatus};
use serde_json::{Map, Value};

use crate::field::{self, Errors, Path};
use crate::kind::Kind;
use crate::names;
use crate::pod_spec::{validate_host_path, validate_nfs, validate_node_selector};
use crate::strategy::{Cell, Column, FieldError, Subresource};
use crate::table;
use crate::volume_claim;

/// Fields of the spec that are no source of storage.
const NOT_SOURCES: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

/// PersistentVolumes.
pub(crate) struct PersistentVolumes;

impl Kind for PersistentVolumes {
    type Object = PersistentVolume;

    const SINGULAR: &'static str = "persistentvolume";
    const SHORT_NAMES: &'static [&'static str] = &["pv"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Capacity", "How much it holds."),
        table::text("Access Modes", "How it may be mounted."),
        table::text("Reclaim Policy", "What becomes of it without its claim."),
        table::text("Status", "Whether it is bound to a claim."),
        table::text("Claim", "The claim that it is bound to."),
        table::text("StorageClass", "The class of storage that it belongs to."),
        table::text("VolumeAttributesClass", "The class of attributes that it belongs to."),
        table::text("Reason", "Why it is in this state, in a word."),
        table::AGE,
        table::wide("VolumeMode", "A file system or a block device."),
    ];

    fn default(object: &mut PersistentVolume) {
        field::default_text(&mut object.status.get_or_insert_default().phase, "Pending");
        let spec = object.spec.get_or_insert_default();
        field::default_text(&mut spec.persistent_volume_reclaim_policy, "Retain");
        field::default_text(&mut spec.volume_mode, "Filesystem");
        if let Some(source) = &mut spec.host_path {
            source.type_.get_or_insert_default();
        }
        if let Some(source) = &mut spec.iscsi {
            field::default_text(&mut source.iscsi_interface, "default");
        }
    }

    fn set_status(object: &mut PersistentVolume, from: Option<&PersistentVolume>) {
        object.status = from.and_then(|from| from.status.clone());
    }

    fn prepare_for_create(object: &mut PersistentVolume) {
        let phase = Some("Pending".to_owned());
        object.status = Some(PersistentVolumeStatus { phase, ..Default::default() });
    }

    fn validate(object: &PersistentVolume) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate_spec(&mut errors, &Path::root("spec"), &object.spec.clone().unwrap_or_default());
        errors.into_vec()
    }

    fn validate_update(new: &PersistentVolume, old: &PersistentVolume) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        let (spec, was) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
        if sources(&spec) != sources(&was) {
            let path = Path::root("spec.persistentvolumesource");
            errors.forbidden(&path, "spec.persistentvolumesource is immutable after creation");
        }
        errors.immutable(&Path::root("volumeMode"), &spec.volume_mode, &was.volume_mode);
        if was.node_affinity.is_some() {
            errors.immutable(&Path::root("nodeAffinity"), &spec.node_affinity, &was.node_affinity);
        }
        errors.into_vec()
    }

    fn row(object: &PersistentVolume, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone().unwrap_or_default());
        let phase = match object.metadata.deletion_timestamp {
            Some(_) => "Terminating".to_owned(),
            None => status.phase.unwrap_or_default(),
        };
        let claim = spec.claim_ref.map_or_else(String::new, |claim| {
            format!("{}/{}", claim.namespace.unwrap_or_default(), claim.name.unwrap_or_default())
        });
        vec![
            table::name(&object.metadata),
            Cell::from(volume_claim::storage(spec.capacity.as_ref()).map_or("", |size| size.0.as_str())),
            Cell::from(volume_claim::short_modes(spec.access_modes.as_deref())),
            Cell::from(spec.persistent_volume_reclaim_policy.unwrap_or_default()),
            Cell::from(phase),
            Cell::from(claim),
            Cell::from(spec.storage_class_name.unwrap_or_default()),
            table::or_unset(spec.volume_attributes_class_name.as_deref()),
            Cell::from(status.reason.unwrap_or_default()),
            table::age(&object.metadata, now),
            table::or_unset(spec.volume_mode.as_deref()),
        ]
    }
}

/// Where the storage comes from: there is one such field.
fn sources(spec: &PersistentVolumeSpec) -> Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(spec) else { return Map::new() };
    fields.retain(|field, _| !NOT_SOURCES.contains(&field.as_str()));
    fields
}

fn validate_spec(errors: &mut Errors, path: &Path<'_>, spec: &PersistentVolumeSpec) {
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let at = path.child("accessModes");
    if modes.is_empty() {
        errors.required(&at, "");
    }
    volume_claim::validate_modes(errors, &at, modes);
    let at = path.child("capacity");
    let capacity = spec.capacity.clone().unwrap_or_default();
    if capacity.is_empty() {
        errors.required(&at, "");
    } else if capacity.len() > 1 || !capacity.contains_key("storage") {
        errors.not_supported(&at, serde_json::to_value(&capacity).unwrap_or_default(), &["storage"]);
    }
    for (name, quantity) in &capacity {
        volume_claim::validate_positive(errors, &at.key(name), quantity);
    }
    let reclaim = spec.persistent_volume_reclaim_policy.as_deref().unwrap_or_default();
    let at = path.child("persistentVolumeReclaimPolicy");
    if !matches!(reclaim, "" | "Delete" | "Recycle" | "Retain") {
        errors.not_supported(&at, reclaim, &["Delete", "Recycle", "Retain"]);
    }
    if reclaim == "Recycle" && spec.host_path.as_ref().is_some_and(|source| source.path == "/") {
        errors.forbidden(&at, "may not be 'recycle' for a hostPath mount of '/'");
    }
    validate_sources(errors, path, spec);
    volume_claim::validate_class(errors, &path.child("storageClassName"), spec.storage_class_name.as_deref());
    volume_claim::validate_mode(errors, &path.child("volumeMode"), spec.volume_mode.as_deref());
    let class = spec.volume_attributes_class_name.as_deref();
    volume_claim::validate_class(errors, &path.child("volumeAttributesClassName"), class);
    if class.is_some() && spec.csi.is_none() {
        errors.required(&path.child("csi"), "has to be specified when using volumeAttributesClassName");
    }
    match spec.node_affinity.as_ref().map(|affinity| affinity.required.as_ref()) {
        Some(Some(required)) => validate_node_selector(errors, &path.child("nodeAffinity.required"), required),
        Some(None) => {
            errors.required(&path.child("nodeAffinity.required"), "must specify required node constraints");
        }
        None if spec.local.is_some() => {
            errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
        }
        None => {}
    }
}

fn validate_sources(errors: &mut Errors, path: &Path<'_>, spec: &PersistentVolumeSpec) {
    let sources = sources(spec);
    if sources.is_empty() {
        errors.required(path, "must specify a volume type");
    }
    for field in sources.keys().skip(1) {
        errors.forbidden(&path.child(field), "may not specify more than 1 volume type");
    }
    if let Some(source) = &spec.host_path {
        validate_host_path(errors, &path.child("hostPath"), source);
    }
    if let Some(source) = &spec.local {
        let at = path.child("local.path");
        if source.path.is_empty() {
            errors.required(&at, "");
        } else if source.path.split('/').any(|part| part == "..") {
            errors.invalid(&at, source.path.as_str(), "must not contain '..'");
        }
    }
    if let Some(source) = &spec.nfs {
        validate_nfs(errors, &path.child("nfs"), source);
    }
    if let Some(source) = &spec.csi {
        let at = path.child("csi");
        names::validate_csi_driver(errors, &at.child("driver"), &source.driver);
        if source.volume_handle.is_empty() {
            errors.required(&at.child("volumeHandle"), "");
        }
        for (field, secret) in [
            ("controllerPublishSecretRef", &source.controller_publish_secret_ref),
            ("controllerExpandSecretRef", &source.controller_expand_secret_ref),
            ("nodePublishSecretRef", &source.node_publish_secret_ref),
            ("nodeExpandSecretRef", &source.node_expand_secret_ref),
        ] {
            let Some(secret) = secret else { continue };
            let at = at.child(field);
            for (field, value) in [("name", &secret.name), ("namespace", &secret.namespace)] {
                if value.as_deref().unwrap_or_default().is_empty() {
                    errors.required(&at.child(field), "");
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn volume(spec: &Value) -> PersistentVolume {
        let mut object = crate::decode::decode(json!({"metadata": {"name": "v"}, "spec": spec})).unwrap().0;
        PersistentVolumes::default(&mut object);
        object
    }

    fn faults(spec: &Value) -> Vec<String> {
        let errors = PersistentVolumes::validate(&volume(spec));
        errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn faults_read_as_upstream() {
        let good =
            json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/a"}});
        assert_eq!(faults(&good), Vec::<String>::new());
        assert_eq!(
            faults(&json!({"accessModes": [], "capacity": {}})),
            [
                "spec.accessModes: Required value",
                "spec.capacity: Required value",
                "spec: Required value: must specify a volume type",
            ]
        );
        let mut two = good;
        two["nfs"] = json!({"server": "s", "path": "p"});
        assert_eq!(
            faults(&two),
            [
                "spec.nfs: Forbidden: may not specify more than 1 volume type",
                "spec.nfs.path: Invalid value: \"p\": must be an absolute path",
            ]
        );
        let local = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "0"}, "local": {"path": "/a"}});
        assert_eq!(
            faults(&local),
            [
                "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
                "spec.nodeAffinity: Required value: Local volume requires node affinity",
            ]
        );
    }

    #[test]
    fn the_source_stays_and_the_row_is_kubectls() {
        let spec = |path: &str| {
            json!({"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": path},
                "claimRef": {"namespace": "n", "name": "c"}})
        };
        let errors = PersistentVolumes::validate_update(&volume(&spec("/b")), &volume(&spec("/a")));
        assert_eq!(errors[0].field, "spec.persistentvolumesource");
        let row = PersistentVolumes::row(&volume(&spec("/a")), Timestamp::UNIX_EPOCH);
        let expected =
            json!(["v", "1Gi", "RWO,ROX", "Retain", "Pending", "n/c", "", "<unset>", "", "<unknown>", "Filesystem"]);
        assert_eq!(Value::from(row), expected);
    }
}
