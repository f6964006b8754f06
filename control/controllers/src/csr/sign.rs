//! Which approved requests are signed, and for what.

use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use skep_registry::CertificateRequest;

use super::approve::{is_for_client, is_for_serving};
use super::{CLIENT, NODE_CLIENT, NODE_SERVING, has, is_issued, usages};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Not approved, another signer's, or done.
    Leave,
    /// Sign it.
    Sign {
        /// How long the client wants it to be valid.
        lifetime: Option<Duration>,
    },
    /// It breaks its signer's rules.
    Refuse(&'static str),
}

pub(super) fn order(csr: &CertificateSigningRequest) -> Order {
    if !has(csr, "Approved") || has(csr, "Denied") || has(csr, "Failed") || is_issued(csr) {
        return Order::Leave;
    }
    let signer = csr.spec.signer_name.as_str();
    if ![NODE_CLIENT, NODE_SERVING, CLIENT].contains(&signer) {
        return Order::Leave;
    }
    let Ok(request) = CertificateRequest::from_pem(&csr.spec.request.0) else {
        return Order::Refuse("the request cannot be read");
    };
    let fits = match signer {
        NODE_CLIENT => is_for_client(csr, &request),
        NODE_SERVING => is_for_serving(csr, &request),
        _ => is_plain_client(csr, &request),
    };
    if !fits {
        return Order::Refuse("subject, names or usages are not what the signer signs");
    }
    let seconds = csr.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Order::Sign { lifetime: seconds.map(Duration::from_secs) }
}

/// Anybody but an administrator.
fn is_plain_client(csr: &CertificateSigningRequest, request: &CertificateRequest) -> bool {
    const USAGES: [&str; 3] = ["client auth", "digital signature", "key encipherment"];
    let usages = usages(csr);
    usages.contains(&"client auth")
        && usages.iter().all(|usage| USAGES.contains(usage))
        && !request.organizations.iter().any(|group| group == "system:masters")
}
