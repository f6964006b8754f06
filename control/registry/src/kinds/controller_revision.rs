//! ControllerRevision.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;
use crate::workload::not_negative;

/// ControllerRevisions.
pub(crate) struct ControllerRevisions;

impl Kind for ControllerRevisions {
    type Object = ControllerRevision;

    const SINGULAR: &'static str = "controllerrevision";
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Controller", "Controller of the object"),
        table::text("Revision", "Its place among the revisions of the same controller."),
        table::AGE,
    ];

    fn validate(object: &ControllerRevision) -> Vec<FieldError> {
        let mut errors = Errors::new();
        if object.data.0.is_null() {
            errors.required(&Path::root("data"), "data is mandatory");
        }
        not_negative(&mut errors, &Path::root("revision"), object.revision);
        errors.into_vec()
    }

    fn validate_update(new: &ControllerRevision, old: &ControllerRevision) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        errors.immutable(&Path::root("data"), &new.data, &old.data);
        errors.into_vec()
    }

    fn row(object: &ControllerRevision, now: Timestamp) -> Vec<Cell> {
        let owners = object.metadata.owner_references.as_deref().unwrap_or_default();
        let controller = owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| {
            let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
            let dot = if group.is_empty() { "" } else { "." };
            format!("{}{dot}{group}/{}", owner.kind.to_lowercase(), owner.name)
        });
        vec![
            table::name(&object.metadata),
            table::or_none(controller.as_deref()),
            Cell::from(object.revision.unwrap_or(0)),
            table::age(&object.metadata, now),
        ]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn revision(data: &serde_json::Value) -> ControllerRevision {
        let owner =
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "uid": "u", "controller": true});
        let value = json!({"metadata": {"name": "s-1", "ownerReferences": [owner]}, "data": data, "revision": 1});
        crate::decode::decode(value).unwrap().0
    }

    #[test]
    fn data_is_there_and_stays() {
        let (a, b) = (revision(&json!({"a": 1})), revision(&json!({"a": 2})));
        assert!(ControllerRevisions::validate(&a).is_empty());
        let errors = ControllerRevisions::validate_update(&a, &b);
        assert_eq!(errors[0].message, "Invalid value: {\"a\":1}: field is immutable");
        let errors = ControllerRevisions::validate(&revision(&json!(null)));
        assert_eq!(
            (errors[0].field.as_str(), errors[0].message.as_str()),
            ("data", "Required value: data is mandatory")
        );
        let row = ControllerRevisions::row(&a, Timestamp::UNIX_EPOCH);
        assert_eq!(row[1], "statefulset.apps/s");
    }
}
