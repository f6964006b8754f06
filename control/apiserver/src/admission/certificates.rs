//! CertificateApproval and CertificateSigning: who decides on a request or signs it must be allowed to for its signer.
//! CertificateSubjectRestriction: nobody gets a client certificate of the cluster's administrators by asking for one.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use skep_registry::{CertificateRequest, Object, typed_ref};

use super::{Operation, Request};
use crate::authz::Action;
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

/// Before what was decided on a request is changed.
pub(super) fn check_approval(request: &Request<'_>, object: Option<&dyn Object>) -> Result<(), ApiError> {
    check_signer(request, object, "approval", "approve", |_, _| true)
}

/// Before a certificate is put into a request, or its conditions are changed.
pub(super) fn check_signing(request: &Request<'_>, object: Option<&dyn Object>) -> Result<(), ApiError> {
    check_signer(request, object, "status", "sign", |new, old| new.status != old.status)
}

fn check_signer(
    request: &Request<'_>,
    object: Option<&dyn Object>,
    subresource: &str,
    verb: &str,
    concerns: fn(&CertificateSigningRequest, &CertificateSigningRequest) -> bool,
) -> Result<(), ApiError> {
    let (new, old) = (object.and_then(typed_ref), request.old.and_then(typed_ref));
    let (Some(new), Some(old)) = (new, old) else { return Ok(()) };
    if request.asked.subresource != subresource || !concerns(new, old) {
        return Ok(());
    }
    let signer: &str = &old.spec.signer_name;
    let domain = signer.split('/').next().unwrap_or_default();
    let may = |name: &str| {
        let action = Action::Resource {
            verb,
            group: "certificates.k8s.io",
            resource: "signers",
            subresource: "",
            namespace: None,
            name: Some(name),
        };
        request.writer.authorizers.allows(&request.asked.who, &action)
    };
    if may(signer) || may(&format!("{domain}/*")) {
        return Ok(());
    }
    Err(request.forbidden(&format!("user not permitted to {verb} requests with signerName {signer:?}")))
}
