//! PersistentVolumeClaim.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus};

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::pod_spec::validate_quantity;
use crate::quantity::Quantity;
use crate::strategy::{Cell, Column, FieldError, Subresource};
use crate::table;
use crate::volume_claim;

const IMMUTABLE: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
    bound claims";

/// PersistentVolumeClaims.
pub(crate) struct PersistentVolumeClaims;

impl Kind for PersistentVolumeClaims {
    type Object = PersistentVolumeClaim;

    const SINGULAR: &'static str = "persistentvolumeclaim";
    const SHORT_NAMES: &'static [&'static str] = &["pvc"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Status", "Whether a volume is bound to it."),
        table::text("Volume", "The volume that is bound to it."),
        table::text("Capacity", "How much the volume holds."),
        table::text("Access Modes", "How the volume may be mounted."),
        table::text("StorageClass", "The class of storage that it asks for."),
        table::text("VolumeAttributesClass", "The class of attributes that it asks for."),
        table::AGE,
        table::wide("VolumeMode", "A file system or a block device."),
    ];

    fn default(object: &mut PersistentVolumeClaim) {
        volume_claim::default_claim(object);
    }

    fn set_status(object: &mut PersistentVolumeClaim, from: Option<&PersistentVolumeClaim>) {
        object.status = from.and_then(|from| from.status.clone());
    }

    fn prepare_for_create(object: &mut PersistentVolumeClaim) {
        let phase = Some("Pending".to_owned());
        object.status = Some(PersistentVolumeClaimStatus { phase, ..Default::default() });
    }

    fn validate(object: &PersistentVolumeClaim) -> Vec<FieldError> {
        let mut errors = Errors::new();
        volume_claim::validate_spec(&mut errors, &Path::root("spec"), &object.spec.clone().unwrap_or_default());
        errors.into_vec()
    }

    fn validate_update(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        let (spec, was) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
        let bound = old.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        if with_updatable_of(&spec, &was, bound) != was {
            errors.forbidden(&Path::root("spec"), IMMUTABLE);
        }
        validate_growth(&mut errors, new, &spec, &was);
        errors.into_vec()
    }

    fn validate_status_update(new: &PersistentVolumeClaim, _old: &PersistentVolumeClaim) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let status = new.status.clone().unwrap_or_default();
        let path = Path::root("status");
        let modes = status.access_modes.unwrap_or_default();
        volume_claim::validate_modes(&mut errors, &path.child("accessModes"), &modes);
        for (field, list) in [("capacity", status.capacity), ("allocatedResources", status.allocated_resources)] {
            let path = path.child(field);
            for (name, quantity) in list.iter().flatten() {
                validate_quantity(&mut errors, &path.key(name), quantity);
            }
        }
        errors.into_vec()
    }

    fn row(object: &PersistentVolumeClaim, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone().unwrap_or_default());
        let phase = match object.metadata.deletion_timestamp {
            Some(_) => "Terminating".to_owned(),
            None => status.phase.unwrap_or_default(),
        };
        let volume = spec.volume_name.unwrap_or_default();
        let (mut capacity, mut modes) = (String::new(), String::new());
        if !volume.is_empty() {
            capacity = volume_claim::storage(status.capacity.as_ref()).map_or_else(String::new, |size| size.0.clone());
            modes = volume_claim::short_modes(status.access_modes.as_deref());
        }
        let attributes = status.current_volume_attributes_class_name.or(spec.volume_attributes_class_name);
        vec![
            table::name(&object.metadata),
            Cell::from(phase),
            Cell::from(volume),
            Cell::from(capacity),
            Cell::from(modes),
            Cell::from(spec.storage_class_name.unwrap_or_default()),
            table::or_unset(attributes.as_deref()),
            table::age(&object.metadata, now),
            table::or_unset(spec.volume_mode.as_deref()),
        ]
    }
}

/// The spec with what may change put back to what it was.
fn with_updatable_of(
    spec: &PersistentVolumeClaimSpec,
    was: &PersistentVolumeClaimSpec,
    bound: bool,
) -> PersistentVolumeClaimSpec {
    let mut spec = spec.clone();
    // The volume is told once, by what binds; a class may be told to claims that came before it was the default.
    if was.volume_name.as_deref().unwrap_or_default().is_empty() {
        spec.volume_name.clone_from(&was.volume_name);
    }
    if was.storage_class_name.is_none() {
        spec.storage_class_name = None;
    }
    spec.volume_attributes_class_name.clone_from(&was.volume_attributes_class_name);
    if bound {
        let requests = was.resources.as_ref().and_then(|resources| resources.requests.clone());
        spec.resources.get_or_insert_default().requests = requests;
        if was.resources.is_none() {
            spec.resources = None;
        }
    }
    spec
}

/// A volume may grow, and a growth that has not happened may be taken back.
fn validate_growth(
    errors: &mut Errors,
    new: &PersistentVolumeClaim,
    spec: &PersistentVolumeClaimSpec,
    was: &PersistentVolumeClaimSpec,
) {
    let size = |spec: &PersistentVolumeClaimSpec| {
        let resources = spec.resources.as_ref()?;
        Quantity::try_from(volume_claim::storage(resources.requests.as_ref())?).ok()
    };
    let (Some(wanted), Some(before)) = (size(spec), size(was)) else { return };
    if wanted >= before {
        return;
    }
    let held = new.status.as_ref().and_then(|status| volume_claim::storage(status.capacity.as_ref()));
    let held = held.and_then(|held| Quantity::try_from(held).ok()).unwrap_or_default();
    let at = Path::root("spec.resources.requests.storage");
    if held.is_zero() {
        errors.forbidden(&at, "field can not be less than previous value");
    } else if wanted <= held {
        errors.forbidden(&at, "field can not be less than status.capacity");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claim(change: impl FnOnce(&mut Value)) -> PersistentVolumeClaim {
        let mut value = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"]}});
        change(&mut value);
        let mut object = crate::decode::decode(value).unwrap().0;
        PersistentVolumeClaims::default(&mut object);
        object
    }

    fn text(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn faults_read_as_upstream() {
        assert_eq!(text(&PersistentVolumeClaims::validate(&claim(|_| {}))), Vec::<String>::new());
        let bad = claim(|v| {
            v["spec"] = json!({"accessModes": ["x", "ReadWriteOncePod"], "volumeMode": "y",
                "dataSource": {"kind": "Other", "name": "n"}});
        });
        assert_eq!(
            text(&PersistentVolumeClaims::validate(&bad)),
            [
                "spec.accessModes: Unsupported value: \"x\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \
                 \"ReadWriteOnce\", \"ReadWriteOncePod\"",
                "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
                "spec.resources[storage]: Required value",
                "spec.volumeMode: Unsupported value: \"y\": supported values: \"Block\", \"Filesystem\"",
                "spec.dataSource: Invalid value: \"Other\": must be 'PersistentVolumeClaim' when referencing the default \
                 apiGroup",
            ]
        );
    }

    #[test]
    fn a_bound_claim_may_grow() {
        let old = claim(|_| {});
        let grown = claim(|v| v["spec"]["resources"]["requests"]["storage"] = json!("2Gi"));
        assert_eq!(text(&PersistentVolumeClaims::validate_update(&grown, &old)), Vec::<String>::new());
        let shrunk = claim(|v| v["spec"]["resources"]["requests"]["storage"] = json!("1Mi"));
        assert_eq!(
            text(&PersistentVolumeClaims::validate_update(&shrunk, &old)),
            ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
        );
        let other = claim(|v| v["spec"]["accessModes"] = json!(["ReadWriteMany"]));
        assert_eq!(
            text(&PersistentVolumeClaims::validate_update(&other, &old)),
            [format!("spec: Forbidden: {IMMUTABLE}")]
        );
        let pending = claim(|v| v["status"] = json!({"phase": "Pending"}));
        assert_eq!(text(&PersistentVolumeClaims::validate_update(&grown, &pending)).len(), 1);
    }

    #[test]
    fn the_row_is_kubectls() {
        let row = PersistentVolumeClaims::row(&claim(|v| v["spec"]["volumeName"] = json!("v")), Timestamp::UNIX_EPOCH);
        let expected = json!(["c", "Bound", "v", "1Gi", "RWO", "", "<unset>", "<unknown>", "Filesystem"]);
        assert_eq!(Value::from(row), expected);
    }
}
