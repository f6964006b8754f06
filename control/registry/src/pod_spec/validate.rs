//! Validation of pod specs.

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use crate::field::{Errors, Path};
use crate::quantity::Quantity;

/// A pod's or a template's spec.
pub(crate) fn validate_spec(_errors: &mut Errors, _path: &Path<'_>, _spec: &PodSpec) {}

/// A quantity that may not be negative.
pub(crate) fn validate_quantity(errors: &mut Errors, path: &Path<'_>, quantity: &ApiQuantity) {
    match Quantity::try_from(quantity) {
        Err(error) => errors.invalid(path, quantity.0.as_str(), &error.to_string()),
        Ok(amount) if amount.is_negative() => {
            errors.invalid(path, quantity.0.as_str(), "must be greater than or equal to 0");
        }
        Ok(_) => {}
    }
}
