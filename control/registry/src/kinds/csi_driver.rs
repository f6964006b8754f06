//! CSIDriver.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::storage::v1::{CSIDriver, TokenRequest};

use crate::field::{self, Errors, Path};
use crate::kind::{Kind, with_generations};
use crate::names;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

/// CSIDrivers.
pub(crate) struct CsiDrivers;

impl Kind for CsiDrivers {
    type Object = CSIDriver;

    const SINGULAR: &'static str = "csidriver";
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::boolean("AttachRequired", "Whether volumes are attached to nodes before they are mounted."),
        table::boolean("PodInfoOnMount", "Whether the driver is told about the pod."),
        table::boolean("StorageCapacity", "Whether the driver says how much storage is left."),
        table::text("TokenRequests", "Audiences of the tokens that the driver gets."),
        table::boolean("RequiresRepublish", "Whether volumes are published again and again."),
        table::text("Modes", "What life cycle volumes may have."),
        table::AGE,
    ];

    with_generations!(CSIDriver);

    fn default(object: &mut CSIDriver) {
        let spec = &mut object.spec;
        spec.attach_required.get_or_insert(true);
        for flag in [
            &mut spec.pod_info_on_mount,
            &mut spec.storage_capacity,
            &mut spec.requires_republish,
            &mut spec.se_linux_mount,
        ] {
            flag.get_or_insert(false);
        }
        field::default_text(&mut spec.fs_group_policy, "ReadWriteOnceWithFSType");
        let modes = spec.volume_lifecycle_modes.get_or_insert_default();
        if modes.is_empty() {
            modes.push("Persistent".to_owned());
        }
    }

    fn validate(object: &CSIDriver) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (path, spec) = (Path::root("spec"), &object.spec);
        for (field, flag) in [
            ("attachedRequired", spec.attach_required),
            ("podInfoOnMount", spec.pod_info_on_mount),
            ("storageCapacity", spec.storage_capacity),
        ] {
            if flag.is_none() {
                errors.required(&path.child(field), "");
            }
        }
        let policies = ["File", "None", "ReadWriteOnceWithFSType"];
        match spec.fs_group_policy.as_deref() {
            None => errors.required(&path.child("fsGroupPolicy"), ""),
            Some(policy) if policies.contains(&policy) => {}
            Some(other) => errors.not_supported(&path.child("fsGroupPolicy"), other, &policies),
        }
        validate_tokens(&mut errors, &path.child("tokenRequests"), spec.token_requests.as_deref().unwrap_or_default());
        for mode in spec.volume_lifecycle_modes.iter().flatten() {
            if !matches!(mode.as_str(), "Ephemeral" | "Persistent") {
                errors.not_supported(&path.child("volumeLifecycleModes"), mode.as_str(), &["Ephemeral", "Persistent"]);
            }
        }
        if let Some(seconds) = spec.node_allocatable_update_period_seconds.filter(|seconds| *seconds < 10) {
            let path = path.child("nodeAllocatableUpdatePeriodSeconds");
            errors.invalid(&path, seconds, "must be greater than or equal to 10 seconds");
        }
        errors.into_vec()
    }

    fn validate_update(new: &CSIDriver, old: &CSIDriver) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        let (path, spec, was) = (Path::root("spec"), &new.spec, &old.spec);
        errors.immutable(&path.child("attachedRequired"), &spec.attach_required, &was.attach_required);
        let modes = path.child("volumeLifecycleModes");
        errors.immutable(&modes, &spec.volume_lifecycle_modes, &was.volume_lifecycle_modes);
        errors.into_vec()
    }

    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        names::dns1123_subdomain(&names::without_suffix_dash(name, prefix).to_lowercase())
    }

    fn row(object: &CSIDriver, now: Timestamp) -> Vec<Cell> {
        let spec = &object.spec;
        let audiences = spec.token_requests.as_ref().map(|requests| {
            let audiences: Vec<&str> = requests.iter().map(|request| request.audience.as_str()).collect();
            audiences.join(",")
        });
        let modes = spec.volume_lifecycle_modes.clone().unwrap_or_default().join(",");
        vec![
            table::name(&object.metadata),
            Cell::from(spec.attach_required.unwrap_or(true)),
            Cell::from(spec.pod_info_on_mount.unwrap_or(false)),
            Cell::from(spec.storage_capacity.unwrap_or(false)),
            table::or_unset(audiences.as_deref()),
            Cell::from(spec.requires_republish.unwrap_or(false)),
            table::or_none(Some(&modes)),
            table::age(&object.metadata, now),
        ]
    }
}

fn validate_tokens(errors: &mut Errors, path: &Path<'_>, requests: &[TokenRequest]) {
    let mut seen = BTreeSet::new();
    for (i, request) in requests.iter().enumerate() {
        let path = path.index(i);
        if !seen.insert(request.audience.as_str()) {
            errors.duplicate(&path.child("audience"), request.audience.as_str());
        }
        let at = path.child("expirationSeconds");
        match request.expiration_seconds {
            Some(seconds) if seconds < 600 => {
                errors.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
            }
            Some(seconds) if seconds > 1 << 32 => {
                errors.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn driver(spec: &Value) -> CSIDriver {
        let mut object = crate::decode::decode(json!({"metadata": {"name": "d"}, "spec": spec})).unwrap().0;
        CsiDrivers::default(&mut object);
        object
    }

    #[test]
    fn faults_read_as_upstream_and_the_row_is_kubectls() {
        assert!(CsiDrivers::validate(&driver(&json!({}))).is_empty());
        let bad = driver(&json!({"tokenRequests": [{"audience": "a", "expirationSeconds": 1}, {"audience": "a"}],
            "volumeLifecycleModes": ["x"]}));
        let text: Vec<String> =
            CsiDrivers::validate(&bad).iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        assert_eq!(
            text,
            [
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
                "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
                "spec.volumeLifecycleModes: Unsupported value: \"x\": supported values: \"Ephemeral\", \"Persistent\"",
            ]
        );
        let row = CsiDrivers::row(&driver(&json!({})), Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(row), json!(["d", true, false, false, "<unset>", false, "Persistent", "<unknown>"]));
    }
}
