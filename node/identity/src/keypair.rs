//! A key with its certificate, in one file that its owner alone reads.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::Error;
use crate::lifetime::Lifetime;

/// A key and the chain that certifies it, both PEM.
#[derive(Clone)]
pub(crate) struct KeyPair {
    pub(crate) key_pem: String,
    pub(crate) chain_pem: String,
}

impl KeyPair {
    /// `None` where there is no file.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, Error> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::File { verb: "read", path: path.to_owned(), source }),
        };
        // The certificate stands first, the key after it.
        let begin = text.find("-----BEGIN PRIVATE KEY-----");
        let Some((chain, key)) = begin.map(|begin| text.split_at(begin)) else {
            return Err(Error::malformed(path.display().to_string(), "it holds no private key"));
        };
        Ok(Some(Self { key_pem: key.to_owned(), chain_pem: chain.to_owned() }))
    }

    pub(crate) fn save(&self, path: &Path) -> Result<(), Error> {
        write_private(path, &format!("{}\n{}", self.chain_pem.trim_end(), self.key_pem))
    }

    /// When the certificate begins and ends.
    pub(crate) fn lifetime(&self) -> Result<Lifetime, Error> {
        Lifetime::of(&self.chain_pem)
    }

    /// For TLS.
    pub(crate) fn certified(&self) -> Result<Arc<CertifiedKey>, Error> {
        let bad = |error: rustls_pki_types::pem::Error| Error::malformed("a certificate of this node", error);
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(self.chain_pem.as_bytes()).collect::<Result<_, _>>().map_err(bad)?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(bad)?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
        Ok(Arc::new(CertifiedKey::new(chain, key)))
    }
}

/// Writes a file that only its owner reads, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| Error::File { verb: "write", path: path.to_owned(), source })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_pair_is_read_as_it_was_saved_and_its_owner_alone_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pki/client.pem");
        assert!(KeyPair::load(&path).unwrap().is_none());
        let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let pair = KeyPair { key_pem: made.signing_key.serialize_pem(), chain_pem: made.cert.pem() };
        pair.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let loaded = KeyPair::load(&path).unwrap().unwrap();
        assert_eq!(loaded.certified().unwrap().cert, pair.certified().unwrap().cert);
        fs::write(&path, pair.chain_pem).unwrap();
        assert!(KeyPair::load(&path).is_err());
    }
}
