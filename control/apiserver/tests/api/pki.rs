//! A throw-away certificate authority.

use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// An authority, and a server certificate for loopback, in PEM.
pub(crate) struct Pki {
    pub(crate) ca: String,
    server_chain: String,
    server_key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A client certificate and its key, in PEM.
pub(crate) struct Client {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pki {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let ca = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let server_chain = params.signed_by(&key, &issuer)?.pem();
        Ok(Self { ca, server_chain, server_key: key.serialize_pem(), issuer })
    }

    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Result<Client> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Client { certificate, key: key.serialize_pem() })
    }

    /// Client certificates of this authority are asked for, not demanded.
    pub(crate) fn server_tls(&self) -> Result<Arc<ServerConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes())?)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
        let chain = vec![CertificateDer::from_pem_slice(self.server_chain.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(self.server_key.as_bytes())?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .context("the server's certificate")?;
        Ok(Arc::new(config))
    }

    /// What a client of that name connects with.
    pub(crate) fn client_tls(&self, user: &str, group: Option<&str>) -> Result<rustls::ClientConfig> {
        let client = self.client(user, group)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = vec![CertificateDer::from_pem_slice(client.certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes())?;
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        config.with_root_certificates(roots).with_client_auth_cert(chain, key).context("the client's certificate")
    }

    pub(crate) fn kubeconfig(&self, server: &str, client: Option<&Client>) -> String {
        let ca = STANDARD.encode(&self.ca);
        let user = client.map(|client| {
            let (certificate, key) = (STANDARD.encode(&client.certificate), STANDARD.encode(&client.key));
            serde_json::json!({"client-certificate-data": certificate, "client-key-data": key})
        });
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": ca}}],
            "users": [{"name": "test", "user": user.unwrap_or_else(|| serde_json::json!({}))}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        })
        .to_string()
    }
}
