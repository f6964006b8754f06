//! CertificateSubjectRestriction: nobody gets a client certificate of the cluster's administrators by asking for one.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use skep_registry::{CertificateRequest, Object, typed_ref};

use super::{Operation, Request};
use crate::status::ApiError;

const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";

pub(super) fn check_subject(request: &Request<'_>, object: Option<&dyn Object>) -> Result<(), ApiError> {
    if request.operation != Operation::Create || !request.is_for("certificates.k8s.io", "certificatesigningrequests") {
        return Ok(());
    }
    let Some(asked) = object.and_then(|object| typed_ref::<CertificateSigningRequest>(object)) else { return Ok(()) };
    if asked.spec.signer_name != CLIENT_SIGNER {
        return Ok(());
    }
    let is_master = CertificateRequest::from_pem(&asked.spec.request.0)
        .is_ok_and(|parsed| parsed.organizations.iter().any(|organization| organization == MASTERS));
    if is_master {
        let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
        return Err(request.forbidden(&why));
    }
    Ok(())
}
