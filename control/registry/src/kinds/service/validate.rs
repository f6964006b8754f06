//! Validation of Services.

use k8s_openapi::api::core::v1::Service;

use crate::strategy::FieldError;

pub(super) fn service(_service: &Service) -> Vec<FieldError> {
    Vec::new()
}

pub(super) fn update(new: &Service, _old: &Service) -> Vec<FieldError> {
    service(new)
}

pub(super) fn status(_service: &Service) -> Vec<FieldError> {
    Vec::new()
}
