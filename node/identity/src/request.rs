//! A certificate from the cluster: a new key, a request, and the wait for its answer.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::wait::await_condition;
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};

use crate::error::Error;
use crate::keypair::KeyPair;

/// Somebody may have to look at the request.
const ANSWER_WITHIN: Duration = Duration::from_secs(900);

/// What a certificate is for.
pub(crate) enum Purpose<'a> {
    /// To be known to the API server.
    Client,
    /// To be known to those who call the node.
    Serving {
        /// Under which addresses.
        addresses: &'a [IpAddr],
    },
}

impl Purpose<'_> {
    fn signer(&self) -> &'static str {
        match self {
            Self::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Self::Serving { .. } => "kubernetes.io/kubelet-serving",
        }
    }

    fn usages(&self) -> Vec<String> {
        let purpose = match self {
            Self::Client => "client auth",
            Self::Serving { .. } => "server auth",
        };
        ["digital signature", purpose].map(str::to_owned).to_vec()
    }
}

/// Makes a key, asks for its certificate, and waits until it is signed.
pub(crate) async fn obtain(client: &Client, server: &str, node: &str, purpose: &Purpose<'_>) -> Result<KeyPair, Error> {
    let key = rcgen::KeyPair::generate()?;
    let request = params(node, purpose)?.serialize_request(&key)?.pem()?;
    let csr = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some("csr-".to_owned()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.into_bytes()),
            signer_name: purpose.signer().to_owned(),
            usages: Some(purpose.usages()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let api = Api::<CertificateSigningRequest>::all(client.clone());
    let ask = |error| Error::api(server, "ask for a certificate", error);
    let created = api.create(&PostParams::default(), &csr).await.map_err(ask)?;
    let name = created.metadata.name.unwrap_or_default();
    tracing::info!(node, request = name, signer = purpose.signer(), "certificate requested");
    let chain_pem = answer(&api, &name).await?;
    tracing::info!(node, request = name, "certificate received");
    Ok(KeyPair { key_pem: key.serialize_pem(), chain_pem })
}

fn params(node: &str, purpose: &Purpose<'_>) -> Result<CertificateParams, Error> {
    let names = match purpose {
        Purpose::Client => Vec::new(),
        Purpose::Serving { .. } => vec![node.to_owned()],
    };
    let mut params = CertificateParams::new(names)?;
    if let Purpose::Serving { addresses } = purpose {
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
    }
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    Ok(params)
}

async fn answer(api: &Api<CertificateSigningRequest>, name: &str) -> Result<String, Error> {
    let decided = |csr: Option<&CertificateSigningRequest>| {
        csr.is_none_or(|csr| certificate(csr).is_some() || refusal(csr).is_some())
    };
    let waited = tokio::time::timeout(ANSWER_WITHIN, await_condition(api.clone(), name, decided)).await;
    let refused = |why: String| Error::RequestRefused { name: name.to_owned(), why };
    let csr = match waited {
        Err(_) => return Err(Error::Unanswered { name: name.to_owned() }),
        Ok(Err(error)) => return Err(refused(error.to_string())),
        Ok(Ok(None)) => return Err(refused("it was deleted".to_owned())),
        Ok(Ok(Some(csr))) => csr,
    };
    match (certificate(&csr), refusal(&csr)) {
        (_, Some(why)) => Err(refused(why)),
        (Some(pem), None) => Ok(pem),
        (None, None) => Err(Error::Unanswered { name: name.to_owned() }),
    }
}

fn certificate(csr: &CertificateSigningRequest) -> Option<String> {
    let pem = csr.status.as_ref()?.certificate.as_ref().filter(|pem| !pem.0.is_empty())?;
    String::from_utf8(pem.0.clone()).ok()
}

fn refusal(csr: &CertificateSigningRequest) -> Option<String> {
    let mut conditions = csr.status.as_ref()?.conditions.iter().flatten();
    let refusal = conditions.find(|condition| condition.type_ == "Denied" || condition.type_ == "Failed")?;
    Some(format!("{}: {}", refusal.type_, refusal.message.as_deref().unwrap_or_default()))
}
