//! Requests and limits.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use crate::field::{Errors, Path};
use crate::names;
use crate::quantity::Quantity;

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

pub(super) fn validate(errors: &mut Errors, path: &Path<'_>, resources: &ResourceRequirements) {
    for (field, list) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        let path = path.child(field);
        for (name, quantity) in list.iter().flatten() {
            validate_resource_name(errors, &path, name);
            validate_quantity(errors, &path.key(name), quantity);
            // Devices are whole; amounts of memory may be written as fractions.
            let countable = name.contains('/');
            if countable && Quantity::try_from(quantity).is_ok_and(|amount| !amount.is_whole()) {
                errors.invalid(&path.key(name), quantity.0.as_str(), "must be an integer");
            }
        }
    }
    validate_huge_pages(errors, path, resources);
    for (name, request) in resources.requests.iter().flatten() {
        let Some(limit) = resources.limits.as_ref().and_then(|limits| limits.get(name)) else { continue };
        let (Ok(wanted), Ok(most)) = (Quantity::try_from(request), Quantity::try_from(limit)) else { continue };
        let path = path.child("requests");
        if wanted > most {
            let detail = format!("must be less than or equal to {name} limit of {}", limit.0);
            errors.invalid(&path, request.0.as_str(), &detail);
        } else if name.contains('/') && wanted != most {
            let detail = format!("must be equal to {name} limit of {}", limit.0);
            errors.invalid(&path, request.0.as_str(), &detail);
        }
    }
}

/// Huge pages alone are no reason for a place on a node.
fn validate_huge_pages(errors: &mut Errors, path: &Path<'_>, resources: &ResourceRequirements) {
    let lists = [&resources.limits, &resources.requests];
    let names = || lists.iter().flat_map(|list| list.iter().flatten()).map(|(name, _)| name.as_str());
    if names().any(|name| name.starts_with("hugepages-")) && !names().any(|name| matches!(name, "cpu" | "memory")) {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

fn validate_resource_name(errors: &mut Errors, path: &Path<'_>, name: &str) {
    let faults = names::qualified_name(name);
    if !faults.is_empty() {
        errors.invalid_each(&path.key(name), name, faults);
    } else if !name.contains('/')
        && !matches!(name, "cpu" | "memory" | "ephemeral-storage")
        && !name.starts_with("hugepages-")
    {
        errors.invalid(&path.key(name), name, "must be a standard resource for containers");
    }
}
