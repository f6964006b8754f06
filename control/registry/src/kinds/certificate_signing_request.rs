//! CertificateSigningRequest.

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};

use crate::certificate::CertificateRequest;
use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::names;
use crate::strategy::{Cell, Column, FieldError, Requester, Subresource};
use crate::table;

/// What a certificate may be for.
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const EXPIRATION_SECONDS_MIN: i32 = 600;
/// Conditions that only the `approval` subresource may set.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];

/// Certificate signing requests.
pub(crate) struct CertificateSigningRequests;

impl Kind for CertificateSigningRequests {
    type Object = CertificateSigningRequest;

    const SINGULAR: &'static str = "certificatesigningrequest";
    const SHORT_NAMES: &'static [&'static str] = &["csr"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status, Subresource::Approval];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::AGE,
        table::text("SignerName", "Who is to sign it."),
        table::text("Requestor", "Who asked."),
        table::text("RequestedDuration", "How long the certificate is to be valid."),
        table::text("Condition", "What was decided."),
    ];
    const FIELDS: &'static [&'static str] = &["metadata.name", "spec.signerName"];

    fn default(object: &mut CertificateSigningRequest) {
        for condition in object.status.iter_mut().flat_map(|status| status.conditions.iter_mut().flatten()) {
            if condition.status.is_empty() {
                "True".clone_into(&mut condition.status);
            }
        }
    }

    fn set_status(object: &mut CertificateSigningRequest, from: Option<&CertificateSigningRequest>) {
        object.status = from.and_then(|from| from.status.clone());
    }

    fn set_requester(object: &mut CertificateSigningRequest, requester: &Requester<'_>) {
        object.spec.username = Some(requester.user.to_owned());
        object.spec.groups = Some(requester.groups.to_vec());
        object.spec.uid = Some(requester.uid.to_owned()).filter(|uid| !uid.is_empty());
        object.spec.extra = Some(requester.extra.clone()).filter(|extra| !extra.is_empty());
    }

    // What was asked for never changes.
    fn prepare_for_update(new: &mut CertificateSigningRequest, old: &CertificateSigningRequest) {
        new.spec.clone_from(&old.spec);
        new.status.clone_from(&old.status);
    }

    fn prepare_for_status_update(new: &mut CertificateSigningRequest, old: &CertificateSigningRequest) {
        let mut conditions = conditions(new).to_vec();
        conditions.retain(|condition| !is_decision(condition));
        let decided = self::conditions(old).iter().filter(|condition| is_decision(condition)).cloned();
        let conditions: Vec<_> = decided.chain(conditions).collect();
        let certificate = new.status.as_mut().and_then(|status| status.certificate.take());
        keep(new, old);
        let status = new.status.get_or_insert_default();
        status.conditions = Some(conditions).filter(|list| !list.is_empty());
        status.certificate = certificate;
    }

    fn prepare_for_part_update(
        _part: Subresource,
        new: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        let conditions = conditions(new).to_vec();
        keep(new, old);
        new.status.get_or_insert_default().conditions = Some(conditions).filter(|list| !list.is_empty());
    }

    fn validate(object: &CertificateSigningRequest) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate_spec(&mut errors, &Path::root("spec"), &object.spec);
        validate_conditions(&mut errors, object);
        errors.into_vec()
    }

    fn validate_status_update(new: &CertificateSigningRequest, old: &CertificateSigningRequest) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate_conditions(&mut errors, new);
        let path = Path::root("status.certificate");
        let certificate = |csr: &CertificateSigningRequest| {
            csr.status.as_ref().and_then(|status| status.certificate.clone()).unwrap_or_default().0
        };
        let (now, was) = (certificate(new), certificate(old));
        if !was.is_empty() && now != was {
            errors.invalid(&path, "<certificate data>", "field is immutable");
        }
        if !now.is_empty() && !x509_parser::pem::parse_x509_pem(&now).is_ok_and(|(_, pem)| pem.label == "CERTIFICATE") {
            errors.invalid(&path, "<certificate data>", "must contain at least one CERTIFICATE PEM block");
        }
        errors.into_vec()
    }

    fn validate_part_update(
        _part: Subresource,
        new: &CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate_conditions(&mut errors, new);
        let path = Path::root("status.conditions");
        for decided in conditions(old).iter().filter(|condition| is_decision(condition)) {
            if !conditions(new).iter().any(|condition| condition.type_ == decided.type_) {
                errors.forbidden(&path, &format!("updates may not remove a condition of type \"{}\"", decided.type_));
            }
        }
        errors.into_vec()
    }

    fn row(object: &CertificateSigningRequest, now: Timestamp) -> Vec<Cell> {
        let spec = &object.spec;
        let duration = spec.expiration_seconds.map(|seconds| table::human_duration(seconds.into()));
        vec![
            table::name(&object.metadata),
            table::age(&object.metadata, now),
            Cell::from(spec.signer_name.as_str()),
            Cell::from(spec.username.as_deref().unwrap_or_default()),
            table::or_none(duration.as_deref()),
            Cell::from(condition_text(object)),
        ]
    }

    fn fields(object: &CertificateSigningRequest) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", object.spec.signer_name.clone())]
    }
}

/// Everything of `old`, with the version and managed fields that the client sent.
fn keep(new: &mut CertificateSigningRequest, old: &CertificateSigningRequest) {
    let (version, managed) = (new.metadata.resource_version.take(), new.metadata.managed_fields.take());
    new.clone_from(old);
    new.metadata.resource_version = version;
    new.metadata.managed_fields = managed;
}

fn conditions(csr: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    csr.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn is_decision(condition: &CertificateSigningRequestCondition) -> bool {
    DECISIONS.contains(&condition.type_.as_str())
}

fn validate_spec(errors: &mut Errors, path: &Path<'_>, spec: &CertificateSigningRequestSpec) {
    if let Err(error) = CertificateRequest::from_pem(&spec.request.0) {
        errors.invalid(&path.child("request"), "<request data>", &error.to_string());
    }
    let field = path.child("usages");
    let usages = spec.usages.as_deref().unwrap_or_default();
    if usages.is_empty() {
        errors.required(&field, "usages are required for certificates");
    }
    for (i, usage) in usages.iter().enumerate() {
        if !USAGES.contains(&usage.as_str()) {
            errors.not_supported(&field.index(i), usage.as_str(), USAGES);
        }
        if usages.iter().take(i).any(|other| other == usage) {
            errors.duplicate(&field.index(i), usage.as_str());
        }
    }
    validate_signer(errors, &path.child("signerName"), &spec.signer_name);
    if spec.expiration_seconds.is_some_and(|seconds| seconds < EXPIRATION_SECONDS_MIN) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&path.child("expirationSeconds"), spec.expiration_seconds.unwrap_or_default(), detail);
    }
}

fn validate_signer(errors: &mut Errors, path: &Path<'_>, name: &str) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name == "kubernetes.io/legacy-unknown" {
        return errors.invalid(path, name, "the legacy signerName is not allowed via this API version");
    }
    match name.split_once('/') {
        Some((domain, rest)) if !rest.is_empty() => {
            errors.invalid_each(path, domain, names::dns1123_subdomain(domain));
            for part in rest.split('.') {
                errors.invalid_each(path, part, names::dns1123_label(part));
            }
        }
        _ => {
            let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.invalid(path, name, detail);
        }
    }
}

fn validate_conditions(errors: &mut Errors, csr: &CertificateSigningRequest) {
    let path = Path::root("status.conditions");
    let list = conditions(csr);
    for (i, condition) in list.iter().enumerate() {
        let path = path.index(i);
        if condition.type_.is_empty() {
            errors.required(&path.child("type"), "");
        }
        match condition.status.as_str() {
            "" => errors.required(&path.child("status"), ""),
            "True" => {}
            "False" | "Unknown" if !is_decision(condition) && condition.type_ != "Failed" => {}
            other => errors.not_supported(&path.child("status"), other, &["True"]),
        }
        if list.iter().take(i).any(|other| other.type_ == condition.type_) {
            errors.duplicate(&path.child("type"), condition.type_.as_str());
        }
    }
    if DECISIONS.iter().all(|decision| list.iter().any(|condition| condition.type_ == *decision)) {
        errors.invalid(&path, "Denied", "Approved and Denied conditions are mutually exclusive");
    }
}

fn condition_text(csr: &CertificateSigningRequest) -> String {
    let has = |name: &str| conditions(csr).iter().any(|condition| condition.type_ == name);
    let decided = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    };
    let issued = csr.status.as_ref().and_then(|status| status.certificate.as_ref()).is_some_and(|c| !c.0.is_empty());
    let mut text = decided.to_owned();
    if has("Failed") {
        text.push_str(",Failed");
    }
    if issued {
        text.push_str(",Issued");
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    /// A request of the user `system:node:a` in the group `system:nodes`, with a key of its own.
    const REQUEST: &str = include_str!("certificate_signing_request/node.pem");

    fn csr(spec: Value, status: Value) -> CertificateSigningRequest {
        let mut csr =
            crate::decode::decode(json!({"metadata": {"name": "a"}, "spec": spec, "status": status})).unwrap().0;
        CertificateSigningRequests::default(&mut csr);
        csr
    }

    fn good() -> Value {
        use base64::Engine as _;
        let request = base64::engine::general_purpose::STANDARD.encode(REQUEST);
        json!({"request": request, "signerName": "kubernetes.io/kube-apiserver-client-kubelet", "usages": ["client auth"]})
    }

    fn text(errors: Vec<FieldError>) -> Vec<String> {
        errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
    }

    #[test]
    fn a_request_is_read_and_checked() {
        let read = CertificateRequest::from_pem(REQUEST.as_bytes()).unwrap();
        assert_eq!(
            (read.common_name.as_str(), read.organizations.as_slice()),
            ("system:node:a", &["system:nodes".to_owned()][..])
        );
        assert!(CertificateSigningRequests::validate(&csr(good(), json!({}))).is_empty());
        let mut bad = good();
        bad["request"] = json!("eA==");
        bad["usages"] = json!(["client auth", "client auth", "x"]);
        bad["signerName"] = json!("kubernetes.io");
        bad["expirationSeconds"] = json!(599);
        let errors = text(CertificateSigningRequests::validate(&csr(bad, json!({}))));
        for (error, start) in errors.iter().zip([
            "spec.request: Invalid value: \"<request data>\": PEM block type must be CERTIFICATE REQUEST",
            "spec.usages[1]: Duplicate value: \"client auth\"",
            "spec.usages[2]: Unsupported value: \"x\"",
            "spec.signerName: Invalid value: \"kubernetes.io\": must be a fully qualified domain",
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600",
        ]) {
            assert!(error.starts_with(start), "{error}");
        }
        assert_eq!(errors.len(), 5);
    }

    #[test]
    fn a_request_signed_by_another_key_is_refused() {
        let (_, block) = parse(REQUEST);
        let mut der = block;
        // The last byte is the signature's.
        *der.last_mut().unwrap() ^= 1;
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
        let error = CertificateRequest::from_pem(pem.as_bytes()).unwrap_err();
        assert_eq!(error, crate::certificate::CertificateRequestError::Signature);
    }

    fn parse(pem: &str) -> (String, Vec<u8>) {
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        (block.label, block.contents)
    }

    #[test]
    fn only_the_approval_decides_and_only_the_status_issues() {
        let old = csr(good(), json!({}));
        let approved = json!({"conditions": [{"type": "Approved"}], "certificate": "eA=="});
        let mut status = csr(json!({}), approved.clone());
        CertificateSigningRequests::prepare_for_status_update(&mut status, &old);
        assert_eq!((conditions(&status).len(), status.spec == old.spec), (0, true));
        let mut approval = csr(json!({}), approved);
        CertificateSigningRequests::prepare_for_part_update(Subresource::Approval, &mut approval, &old);
        assert_eq!(conditions(&approval)[0].status, "True");
        assert_eq!(approval.status.as_ref().unwrap().certificate, None);
        assert_eq!(condition_text(&approval), "Approved");
        let both = csr(good(), json!({"conditions": [{"type": "Approved"}, {"type": "Denied"}]}));
        let errors = text(CertificateSigningRequests::validate_part_update(Subresource::Approval, &both, &old));
        assert!(errors[0].contains("mutually exclusive"), "{errors:?}");
        let errors = text(CertificateSigningRequests::validate_part_update(Subresource::Approval, &old, &approval));
        assert!(errors[0].contains("may not remove a condition of type \"Approved\""), "{errors:?}");
    }

    #[test]
    fn who_asks_is_the_servers_to_say() {
        let mut object = csr(json!({"username": "system:admin", "groups": ["system:masters"], "uid": "7"}), json!({}));
        let groups = ["system:bootstrappers".to_owned()];
        CertificateSigningRequests::set_requester(
            &mut object,
            &Requester { user: "system:bootstrap:abcdef", groups: &groups, uid: "", extra: &BTreeMap::new() },
        );
        assert_eq!(object.spec.username.as_deref(), Some("system:bootstrap:abcdef"));
        assert_eq!((object.spec.groups.as_deref(), object.spec.uid), (Some(&groups[..]), None));
    }
}
