//! Lease.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;
use crate::workload::not_negative;

/// Leases.
pub(crate) struct Leases;

impl Kind for Leases {
    type Object = Lease;

    const CREATES_ON_UPDATE: bool = true;
    const SINGULAR: &'static str = "lease";
    const COLUMNS: &'static [Column] = &[table::NAME, table::text("Holder", "Who holds it."), table::AGE];

    fn validate(object: &Lease) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let Some(lease) = &object.spec else { return Vec::new() };
        let path = Path::root("spec");
        if let Some(seconds) = lease.lease_duration_seconds.filter(|seconds| *seconds <= 0) {
            errors.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        not_negative(&mut errors, &path.child("leaseTransitions"), lease.lease_transitions.map(i64::from));
        if lease.strategy.is_none() && lease.preferred_holder.as_deref().is_some_and(|holder| !holder.is_empty()) {
            let detail = "may only be specified when `strategy` is defined";
            errors.forbidden(&path.child("preferredHolder"), detail);
        }
        errors.into_vec()
    }

    fn row(object: &Lease, now: Timestamp) -> Vec<Cell> {
        let holder = object.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        vec![table::name(&object.metadata), Cell::from(holder), table::age(&object.metadata, now)]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_checked() {
        let value = json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}});
        let errors = Leases::validate(&crate::decode::decode(value).unwrap().0);
        let text: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
        assert_eq!(
            text,
            ["Invalid value: 0: must be greater than 0", "Invalid value: -1: must be greater than or equal to 0"]
        );
    }
}
