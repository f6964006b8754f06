//! Certificates for requests that were approved.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SerialNumber};
use skep_apiserver::ApiServer;
use skep_controllers::{Sign, SignToken};
use time::OffsetDateTime;

use crate::pki::Authority;

/// Clocks of those who verify may be behind by so much, or a tenth of the lifetime where that is less.
const BACKDATE_MAX: Duration = Duration::from_secs(300);
const SERIAL_LEN: usize = 16;

/// Signs in the name of the cluster's authority.
pub(crate) struct RequestSigner {
    pub(crate) authority: Arc<Authority>,
    /// The longest that a certificate is valid.
    pub(crate) lifetime_max: Duration,
}

/// Signs tokens for Secrets, with the API server's own key.
pub(crate) struct SecretTokens(pub(crate) ApiServer);

impl SignToken for SecretTokens {
    fn sign(&self, namespace: &str, account: (&str, &str), secret: &str) -> Result<String, String> {
        self.0.secret_token(namespace, account, secret)
    }
}

impl Sign for RequestSigner {
    fn sign(&self, request_pem: &[u8], usages: &[&str], lifetime: Option<Duration>) -> Result<String, String> {
        let text = std::str::from_utf8(request_pem).map_err(|error| error.to_string())?;
        let mut request = CertificateSigningRequestParams::from_pem(text).map_err(|error| error.to_string())?;
        let lifetime = lifetime.map_or(self.lifetime_max, |wanted| wanted.min(self.lifetime_max));
        let now = OffsetDateTime::now_utc();
        let params = &mut request.params;
        params.not_before = now - BACKDATE_MAX.min(lifetime / 10);
        params.not_after = now + lifetime;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from(rand::random::<[u8; SERIAL_LEN]>().to_vec()));
        params.key_usages = usages.iter().filter_map(|usage| key_usage(usage)).collect();
        params.extended_key_usages = usages.iter().filter_map(|usage| purpose(usage)).collect();
        let certificate = self.authority.sign_request(&request).map_err(|error| error.to_string())?;
        Ok(certificate)
    }
}

fn key_usage(usage: &str) -> Option<KeyUsagePurpose> {
    match usage {
        "digital signature" => Some(KeyUsagePurpose::DigitalSignature),
        "key encipherment" => Some(KeyUsagePurpose::KeyEncipherment),
        _ => None,
    }
}

fn purpose(usage: &str) -> Option<ExtendedKeyUsagePurpose> {
    match usage {
        "client auth" => Some(ExtendedKeyUsagePurpose::ClientAuth),
        "server auth" => Some(ExtendedKeyUsagePurpose::ServerAuth),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    #[test]
    fn what_was_asked_for_is_signed_and_no_longer_than_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::open(dir.path()).unwrap());
        let signer = RequestSigner { authority, lifetime_max: Duration::from_secs(1000) };
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "system:node:a");
        // Nobody becomes an authority by asking.
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let request = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        for (wanted, seconds) in [(None, 1100), (Some(100), 110), (Some(5000), 1100)] {
            let wanted = wanted.map(Duration::from_secs);
            let pem = signer.sign(request.as_bytes(), &["client auth", "digital signature"], wanted).unwrap();
            let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
            let (_, certificate) = X509Certificate::from_der(&pem.contents).unwrap();
            let validity = certificate.validity();
            assert_eq!(validity.not_after.timestamp() - validity.not_before.timestamp(), seconds);
            assert!(!certificate.is_ca());
            let purposes = certificate.extended_key_usage().unwrap().unwrap().value;
            assert!(purposes.client_auth && !purposes.server_auth);
            assert_eq!(certificate.subject().iter_common_name().next().unwrap().as_str().unwrap(), "system:node:a");
        }
        assert!(signer.sign(b"x", &[], None).is_err());
    }
}
