//! The certificate of the node's own server, replaceable while it serves.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::error::Error;
use crate::keypair::KeyPair;

/// Until there is a certificate, handshakes fail.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    current: RwLock<Option<Arc<CertifiedKey>>>,
}

impl Serving {
    pub(crate) fn replace(&self, pair: &KeyPair) -> Result<(), Error> {
        let certified = pair.certified()?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(certified);
        Ok(())
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Settings that demand a client certificate of the cluster's authority.
pub(crate) fn tls(serving: Arc<Serving>, authority_pem: &str) -> Result<Arc<ServerConfig>, Error> {
    let bad = |error: &dyn std::fmt::Display| Error::malformed("the authority's certificate", error);
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(authority_pem.as_bytes()).map_err(|error| bad(&error))?;
    roots.add(authority)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier.build().map_err(|error| bad(&error))?)
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
