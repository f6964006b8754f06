//! The cluster's certificate authority. Only the authority is kept on disk; every other certificate is issued afresh at start.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};

const AUTHORITY_VALID: Duration = Duration::days(3650);
const LEAF_VALID: Duration = Duration::days(365);
/// Clocks of clients may be behind ours by so much.
const BACKDATE: Duration = Duration::hours(1);

/// The cluster's authority: signs the certificates of the API server, its clients, and the nodes.
pub struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The key that signs service accounts' tokens (`sa.key`), made at the first start; PKCS#8, PEM.
///
/// # Errors
/// The folder cannot be read or written.
pub(crate) fn service_account_key(dir: &Path) -> Result<String> {
    let path = dir.join("sa.key");
    if !path.exists() {
        let key = KeyPair::generate().context("generate the key for service account tokens")?;
        write_private(&path, &key.serialize_pem())?;
    }
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key, PKCS#8.
    pub key_pem: String,
}

/// Who may connect to a TLS server of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Clients may come without a certificate; one that they show must be the authority's.
    Optional,
    /// Only clients with a certificate of the authority's.
    Required,
}

impl Authority {
    /// Reads the authority from `dir` (`ca.crt`, `ca.key`), or makes one there.
    ///
    /// # Errors
    /// The folder cannot be read or written, or holds something else under those names.
    pub fn open(dir: &Path) -> Result<Authority> {
        let (certificate_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
        if !certificate_path.exists() || !key_path.exists() {
            Authority::create(dir, &certificate_path, &key_path)?;
        }
        let read = |path: &PathBuf| fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
        let certificate_pem = read(&certificate_path)?;
        let key = KeyPair::from_pem(&read(&key_path)?).with_context(|| format!("parse {}", key_path.display()))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)
            .with_context(|| format!("parse {}", certificate_path.display()))?;
        Ok(Authority { certificate_pem, issuer })
    }

    fn create(dir: &Path, certificate_path: &Path, key_path: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let mut params = params("skep-ca", &[], AUTHORITY_VALID);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("generate the authority's key")?;
        let certificate = params.self_signed(&key).context("sign the authority")?;
        write_private(key_path, &key.serialize_pem())?;
        write_private(certificate_path, &certificate.pem())
    }

    /// The authority's certificate, PEM: what clients trust.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A certificate for a server that is reached under `names` and `addresses`.
    ///
    /// # Errors
    /// A name that is not a DNS name.
    pub fn issue_server(
        &self,
        common_name: &str,
        organizations: &[&str],
        names: &[&str],
        addresses: &[IpAddr],
    ) -> Result<Identity> {
        let mut params = params(common_name, organizations, LEAF_VALID);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into().context("server name")?));
        }
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        self.sign(params)
    }

    /// A certificate for the user `common_name` in the groups `organizations`.
    ///
    /// # Errors
    /// Signing fails.
    pub fn issue_client(&self, common_name: &str, organizations: &[&str]) -> Result<Identity> {
        let mut params = params(common_name, organizations, LEAF_VALID);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Identity> {
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().context("generate a key")?;
        let certificate = params.signed_by(&key, &self.issuer).context("sign a certificate")?;
        Ok(Identity { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Signs a request as its parameters say; PEM.
    ///
    /// # Errors
    /// Signing fails.
    pub(crate) fn sign_request(&self, request: &rcgen::CertificateSigningRequestParams) -> Result<String> {
        Ok(request.signed_by(&self.issuer).context("sign a request")?.pem())
    }

    /// TLS settings for a server with `identity`, HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// The identity is malformed.
    pub fn server_config(&self, identity: &Identity, clients: ClientAuth) -> Result<Arc<ServerConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), Arc::clone(&provider));
        let verifier = match clients {
            ClientAuth::Optional => verifier.allow_unauthenticated(),
            ClientAuth::Required => verifier,
        };
        let (chain, key) = identity.parse()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier.build().context("client verifier")?)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// TLS settings for a client with `identity` that trusts servers of this authority.
    ///
    /// # Errors
    /// The identity is malformed.
    pub fn client_config(&self, identity: &Identity) -> Result<Arc<ClientConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (chain, key) = identity.parse()?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(chain, key)?;
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).context("parse the authority")?)?;
        Ok(roots)
    }
}

impl Identity {
    fn parse(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let certificate =
            CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).context("parse a certificate")?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).context("parse a key")?;
        Ok((vec![certificate], key))
    }
}

fn params(common_name: &str, organizations: &[&str], valid: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for organization in organizations {
        params.distinguished_name.push(DnType::OrganizationName, *organization);
    }
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATE;
    params.not_after = now + valid;
    params
}

/// Writes a file that only its owner reads, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}
