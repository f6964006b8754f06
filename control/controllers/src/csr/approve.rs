//! Which requests need nobody to look at them: those by which a node gets and renews its own certificates.

use std::net::IpAddr;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use skep_registry::CertificateRequest;

use super::{NODE_CLIENT, NODE_PREFIX, NODE_SERVING, NODES, has, usages};

/// Who may ask for a node's first client certificate.
const BOOTSTRAPPERS: &str = "system:bootstrappers";

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Approve, and say why.
    Approve(&'static str),
    /// Not yet: the Node does not have the addresses that it wants to serve under.
    Wait,
    /// Not ours to approve.
    Leave,
}

/// The node that a request is for.
pub(super) fn node_name(csr: &CertificateSigningRequest) -> Option<String> {
    let request = CertificateRequest::from_pem(&csr.spec.request.0).ok()?;
    request.common_name.strip_prefix(NODE_PREFIX).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// `node` is the Node object of that name.
pub(super) fn judge(csr: &CertificateSigningRequest, node: Option<&Node>) -> Verdict {
    if has(csr, "Approved") || has(csr, "Denied") || has(csr, "Failed") {
        return Verdict::Leave;
    }
    let Ok(request) = CertificateRequest::from_pem(&csr.spec.request.0) else { return Verdict::Leave };
    if !is_of_a_node(&request) {
        return Verdict::Leave;
    }
    let user = csr.spec.username.as_deref().unwrap_or_default();
    let is_in = |group: &str| csr.spec.groups.iter().flatten().any(|held| held == group);
    let own = user == request.common_name && is_in(NODES);
    match csr.spec.signer_name.as_str() {
        NODE_CLIENT if !is_for_client(csr, &request) => Verdict::Leave,
        NODE_CLIENT if own => Verdict::Approve("Auto approving self kubelet client certificate."),
        NODE_CLIENT if is_in(BOOTSTRAPPERS) => Verdict::Approve("Auto approving kubelet client certificate."),
        NODE_SERVING if own && is_for_serving(csr, &request) => {
            if has_names(node, &request) {
                Verdict::Approve("Auto approving kubelet serving certificate for the node's own addresses.")
            } else {
                Verdict::Wait
            }
        }
        _ => Verdict::Leave,
    }
}

fn is_of_a_node(request: &CertificateRequest) -> bool {
    request.organizations == [NODES]
        && request.common_name.strip_prefix(NODE_PREFIX).is_some_and(|name| !name.is_empty())
}

/// Exactly these usages, the key's encipherment with or without.
fn has_usages(csr: &CertificateSigningRequest, purpose: &str) -> bool {
    let mut usages = usages(csr);
    usages.retain(|usage| *usage != "key encipherment");
    usages.sort_unstable();
    let mut wanted = ["digital signature", purpose];
    wanted.sort_unstable();
    usages == wanted
}

pub(super) fn is_for_client(csr: &CertificateSigningRequest, request: &CertificateRequest) -> bool {
    let nameless = request.dns_names.is_empty() && request.addresses.is_empty() && request.other_names == 0;
    is_of_a_node(request) && nameless && has_usages(csr, "client auth")
}

pub(super) fn is_for_serving(csr: &CertificateSigningRequest, request: &CertificateRequest) -> bool {
    let named = !request.dns_names.is_empty() || !request.addresses.is_empty();
    is_of_a_node(request) && named && request.other_names == 0 && has_usages(csr, "server auth")
}

/// Whether the Node has every name and address of the request.
fn has_names(node: Option<&Node>, request: &CertificateRequest) -> bool {
    let Some(node) = node else { return false };
    let held = || node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let address = |wanted: &IpAddr| {
        held().any(|one| one.type_.ends_with("IP") && one.address.parse::<IpAddr>().is_ok_and(|held| held == *wanted))
    };
    let name = |wanted: &String| {
        held().any(|one| {
            matches!(one.type_.as_str(), "Hostname" | "InternalDNS" | "ExternalDNS") && one.address == *wanted
        })
    };
    request.addresses.iter().all(address) && request.dns_names.iter().all(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use k8s_openapi::ByteString;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};
    use serde_json::json;

    use super::*;

    fn request(user: &str, group: &str, names: &[&str], addresses: &[&str]) -> ByteString {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(address.parse().unwrap())));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.distinguished_name.push(DnType::CommonName, user);
        let key = KeyPair::generate().unwrap();
        ByteString(params.serialize_request(&key).unwrap().pem().unwrap().into_bytes())
    }

    fn csr(signer: &str, who: (&str, &str), usages: &[&str], request: ByteString) -> CertificateSigningRequest {
        let mut csr = CertificateSigningRequest::default();
        csr.spec.signer_name = signer.to_owned();
        csr.spec.username = Some(who.0.to_owned());
        csr.spec.groups = Some(vec![who.1.to_owned(), "system:authenticated".to_owned()]);
        csr.spec.usages = Some(usages.iter().map(|usage| (*usage).to_owned()).collect());
        csr.spec.request = request;
        csr
    }

    const TOKEN: (&str, &str) = ("system:bootstrap:abcdef", BOOTSTRAPPERS);
    const A: (&str, &str) = ("system:node:a", NODES);
    const CLIENT: &[&str] = &["client auth", "digital signature"];
    const SERVING: &[&str] = &["server auth", "digital signature", "key encipherment"];

    #[test]
    fn first_and_own_client_certificates_are_approved() {
        let client = |who, usages| csr(NODE_CLIENT, who, usages, request("system:node:a", NODES, &[], &[]));
        assert!(matches!(judge(&client(TOKEN, CLIENT), None), Verdict::Approve(_)));
        assert!(matches!(judge(&client(A, CLIENT), None), Verdict::Approve(_)));
        assert_eq!(judge(&client(("system:node:b", NODES), CLIENT), None), Verdict::Leave, "another node's");
        assert_eq!(judge(&client(("jane", "people"), CLIENT), None), Verdict::Leave);
        assert_eq!(judge(&client(TOKEN, SERVING), None), Verdict::Leave, "usages");
        let masters = csr(NODE_CLIENT, TOKEN, CLIENT, request("system:node:a", "system:masters", &[], &[]));
        assert_eq!(judge(&masters, None), Verdict::Leave);
        let named = csr(NODE_CLIENT, TOKEN, CLIENT, request("system:node:a", NODES, &["kubernetes"], &[]));
        assert_eq!(judge(&named, None), Verdict::Leave);
        let mut denied = client(TOKEN, CLIENT);
        denied.status = serde_json::from_value(json!({"conditions": [{"type": "Denied", "status": "True"}]})).unwrap();
        assert_eq!(judge(&denied, None), Verdict::Leave);
    }

    #[test]
    fn serving_certificates_are_for_the_nodes_own_addresses() {
        let addresses = json!([{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "a"}]);
        let node: Node = serde_json::from_value(json!({"status": {"addresses": addresses}})).unwrap();
        let serving = |who, names: &[&str], addresses: &[&str]| {
            csr(NODE_SERVING, who, SERVING, request("system:node:a", NODES, names, addresses))
        };
        assert!(matches!(judge(&serving(A, &["a"], &["192.0.2.1"]), Some(&node)), Verdict::Approve(_)));
        assert_eq!(judge(&serving(A, &["a"], &["192.0.2.1"]), None), Verdict::Wait);
        assert_eq!(judge(&serving(A, &[], &["192.0.2.1", "192.0.2.2"]), Some(&node)), Verdict::Wait);
        assert_eq!(judge(&serving(A, &["kubernetes"], &[]), Some(&node)), Verdict::Wait);
        assert_eq!(judge(&serving(TOKEN, &["a"], &["192.0.2.1"]), Some(&node)), Verdict::Leave);
        assert_eq!(judge(&serving(A, &[], &[]), Some(&node)), Verdict::Leave);
    }
}
