//! VolumeAttributesClass.

use jiff::Timestamp;
use k8s_openapi::api::storage::v1::VolumeAttributesClass;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::names;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

const PARAMETERS_MAX: usize = 512;
const PARAMETER_BYTES_MAX: usize = 256 * 1024;

/// VolumeAttributesClasses.
pub(crate) struct VolumeAttributesClasses;

impl Kind for VolumeAttributesClasses {
    type Object = VolumeAttributesClass;

    const SINGULAR: &'static str = "volumeattributesclass";
    const SHORT_NAMES: &'static [&'static str] = &["vac"];
    const COLUMNS: &'static [Column] =
        &[table::NAME, table::text("DriverName", "The driver that knows the attributes."), table::AGE];

    fn validate(object: &VolumeAttributesClass) -> Vec<FieldError> {
        let mut errors = Errors::new();
        names::validate_csi_driver(&mut errors, &Path::root("driverName"), &object.driver_name);
        let path = Path::root("parameters");
        let parameters = object.parameters.clone().unwrap_or_default();
        if parameters.is_empty() {
            errors.required(&path, "must contain at least one key/value pair");
        }
        if parameters.len() > PARAMETERS_MAX {
            errors.too_many(&path, parameters.len(), PARAMETERS_MAX);
        }
        if parameters.contains_key("") {
            errors.invalid(&path, "", "field can not be empty.");
        }
        if parameters.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > PARAMETER_BYTES_MAX {
            errors.too_long(&path, PARAMETER_BYTES_MAX);
        }
        errors.into_vec()
    }

    fn validate_update(new: &VolumeAttributesClass, old: &VolumeAttributesClass) -> Vec<FieldError> {
        let mut errors = Errors::new();
        if new.driver_name != old.driver_name {
            errors.forbidden(&Path::root("driverName"), "updates to driverName are forbidden.");
        }
        if new.parameters != old.parameters {
            errors.forbidden(&Path::root("parameters"), "updates to parameters are forbidden.");
        }
        errors.into_vec()
    }

    fn row(object: &VolumeAttributesClass, now: Timestamp) -> Vec<Cell> {
        vec![table::name(&object.metadata), Cell::from(object.driver_name.as_str()), table::age(&object.metadata, now)]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_there_and_stay() {
        let class = |value: &str| VolumeAttributesClass {
            driver_name: "a.b".to_owned(),
            parameters: Some([("iops".to_owned(), value.to_owned())].into()),
            ..Default::default()
        };
        assert!(VolumeAttributesClasses::validate(&class("1")).is_empty());
        let errors = VolumeAttributesClasses::validate_update(&class("2"), &class("1"));
        assert_eq!(errors[0].message, "Forbidden: updates to parameters are forbidden.");
        let none = VolumeAttributesClass { parameters: None, ..class("1") };
        assert_eq!(VolumeAttributesClasses::validate(&none)[0].field, "parameters");
    }
}
