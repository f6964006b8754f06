//! VolumeAttachment.

use jiff::Timestamp;
use k8s_openapi::api::storage::v1::VolumeAttachment;

use crate::field::{Errors, Path};
use crate::kind::{Kind, with_status};
use crate::names;
use crate::strategy::{Cell, Column, FieldError, Subresource};
use crate::table;

const ONE_SOURCE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";

/// VolumeAttachments.
pub(crate) struct VolumeAttachments;

impl Kind for VolumeAttachments {
    type Object = VolumeAttachment;

    const SINGULAR: &'static str = "volumeattachment";
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Attacher", "What attaches the volume."),
        table::text("PV", "The volume."),
        table::text("Node", "The node that it is attached to."),
        table::boolean("Attached", "Whether it is attached."),
        table::AGE,
    ];

    with_status!(VolumeAttachment);

    fn validate(object: &VolumeAttachment) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (path, spec) = (Path::root("spec"), &object.spec);
        names::validate_csi_driver(&mut errors, &path.child("attacher"), &spec.attacher);
        let at = path.child("source");
        match (&spec.source.persistent_volume_name, &spec.source.inline_volume_spec) {
            (None, None) => errors.required(&at, ONE_SOURCE),
            (Some(_), Some(_)) => errors.forbidden(&at, ONE_SOURCE),
            (Some(name), None) if name.is_empty() => {
                errors.required(&at.child("persistentVolumeName"), "must specify non empty persistentVolumeName");
            }
            _ => {}
        }
        errors.invalid_each(&path.child("nodeName"), &spec.node_name, names::dns1123_subdomain(&spec.node_name));
        errors.into_vec()
    }

    fn validate_update(new: &VolumeAttachment, old: &VolumeAttachment) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        errors.immutable(&Path::root("spec"), &new.spec, &old.spec);
        errors.into_vec()
    }

    fn row(object: &VolumeAttachment, now: Timestamp) -> Vec<Cell> {
        let spec = &object.spec;
        vec![
            table::name(&object.metadata),
            Cell::from(spec.attacher.as_str()),
            Cell::from(spec.source.persistent_volume_name.as_deref().unwrap_or_default()),
            Cell::from(spec.node_name.as_str()),
            Cell::from(object.status.as_ref().is_some_and(|status| status.attached)),
            table::age(&object.metadata, now),
        ]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn there_is_one_source_and_the_spec_stays() {
        let attachment = |volume: &str| -> VolumeAttachment {
            let spec = json!({"attacher": "a.b", "nodeName": "n", "source": {"persistentVolumeName": volume}});
            crate::decode::decode(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap().0
        };
        assert!(VolumeAttachments::validate(&attachment("v")).is_empty());
        assert_eq!(VolumeAttachments::validate(&attachment(""))[0].field, "spec.source.persistentVolumeName");
        assert_eq!(VolumeAttachments::validate_update(&attachment("v"), &attachment("w"))[0].field, "spec");
        let fields: Vec<String> =
            VolumeAttachments::validate(&VolumeAttachment::default()).into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["spec.attacher", "spec.attacher", "spec.source", "spec.nodeName"]);
    }
}
