//! The cluster's authority: on disk, in a file of the operator's, or as the server publishes it, checked by its hash.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::error::Error;
use crate::keypair::write_private;
use crate::options::{Options, Trust};
use crate::{client, join};

/// The certificate's name in the node's folder.
const FILE: &str = "ca.crt";

/// SHA-256 of an authority's public key with its algorithm (SubjectPublicKeyInfo, DER), as `kubeadm` pins it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuthorityHash([u8; 32]);

/// A text that is no such hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash of an authority is sha256: and 64 hexadecimal digits")]
pub struct AuthorityHashError;

impl AuthorityHash {
    /// That of a certificate in PEM.
    fn of(pem: &str) -> Result<Self, String> {
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|error| error.to_string())?;
        let (_, certificate) = X509Certificate::from_der(&block.contents).map_err(|error| error.to_string())?;
        Ok(Self(Sha256::digest(certificate.public_key().raw).into()))
    }
}

impl FromStr for AuthorityHash {
    type Err = AuthorityHashError;

    fn from_str(text: &str) -> Result<Self, AuthorityHashError> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64).ok_or(AuthorityHashError)?;
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| AuthorityHashError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| AuthorityHashError)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for AuthorityHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuthorityHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The authority's certificate, PEM. It is kept on disk once it is known; a pin that is given is checked every time.
pub(crate) async fn find(options: &Options) -> Result<String, Error> {
    let path = options.dir.join(FILE);
    let known = match fs::read_to_string(&path) {
        Ok(pem) => Some(pem),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(Error::File { verb: "read", path, source }),
    };
    let pem = match (&options.trust, known) {
        (Some(Trust::File(file)), _) => read(file)?,
        (Some(Trust::Pinned(_)) | None, Some(pem)) => pem,
        (Some(Trust::Pinned(_)), None) => join::retried(|| fetch(options)).await?,
        (None, None) => return Err(Error::NoTrust),
    };
    let found = AuthorityHash::of(&pem).map_err(|why| Error::malformed("the authority's certificate", why))?;
    if let Some(Trust::Pinned(hashes)) = &options.trust
        && !hashes.contains(&found)
    {
        return Err(Error::WrongAuthority { server: options.server.clone(), found: found.to_string() });
    }
    write_private(&path, &pem)?;
    Ok(pem)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File { verb: "read", path: path.to_owned(), source })
}

/// What the server publishes. Whoever answers is not known yet: the caller checks the hash.
async fn fetch(options: &Options) -> Result<String, Error> {
    let client = client::unchecked(&options.server).await?;
    let api = Api::<ConfigMap>::namespaced(client, "kube-public");
    let verb = "ask the server for its cluster-info";
    let map = api.get("cluster-info").await.map_err(|error| Error::api(&options.server, verb, error))?;
    let text = map.data.as_ref().and_then(|data| data.get("kubeconfig")).map(String::as_str).unwrap_or_default();
    let malformed = |why: &str| Error::malformed(format!("cluster-info of {}", options.server), why);
    let config: Value = serde_saphyr::from_str(text).map_err(|error| malformed(&error.to_string()))?;
    let data = config.pointer("/clusters/0/cluster/certificate-authority-data").and_then(Value::as_str);
    let pem = STANDARD.decode(data.unwrap_or_default()).map_err(|error| malformed(&error.to_string()))?;
    String::from_utf8(pem).map_err(|_| malformed("the authority's certificate is not text"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let text = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(text.parse::<AuthorityHash>().unwrap().to_string(), text);
        for bad in ["", "sha256:", "sha256:0a", "md5:0a", &format!("sha256:{}", "xy".repeat(32))] {
            assert_eq!(bad.parse::<AuthorityHash>(), Err(AuthorityHashError), "{bad}");
        }
    }
}
