//! Certificate signing requests: those of nodes are approved, approved ones are signed, old ones removed.

mod approve;
mod clean;
mod run;
mod sign;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

pub(crate) use run::{Part, run};

/// Client certificates of nodes.
const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Serving certificates of nodes.
const NODE_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Client certificates of anybody.
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

fn has(csr: &CertificateSigningRequest, condition: &str) -> bool {
    let mut conditions = csr.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|held| held.type_ == condition && held.status == "True")
}

fn is_issued(csr: &CertificateSigningRequest) -> bool {
    csr.status.as_ref().and_then(|status| status.certificate.as_ref()).is_some_and(|pem| !pem.0.is_empty())
}

fn usages(csr: &CertificateSigningRequest) -> Vec<&str> {
    csr.spec.usages.iter().flatten().map(String::as_str).collect()
}
