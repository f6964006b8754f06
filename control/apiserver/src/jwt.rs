//! Signed tokens: ES256 by the cryptography that TLS uses, behind the crate that knows the format.

mod provider;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What stands before the point of a P-256 key in its `SubjectPublicKeyInfo` (RFC 5480).
const PUBLIC_KEY_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const COORDINATE_LEN: usize = 32;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not PKCS#8 in PEM.
    #[error("the key for service account tokens is no PKCS#8 in PEM")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// Not a key of this sort.
    #[error("the key for service account tokens is no ECDSA key on P-256: {0}")]
    Key(ring::error::KeyRejected),
    /// The system has no randomness.
    #[error("no key for service account tokens can be made")]
    Random,
}

/// The key that signs tokens, and checks them.
pub(crate) struct SigningKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
    id: String,
    /// Uncompressed: 4, x, y.
    point: Vec<u8>,
}

impl SigningKey {
    pub(crate) fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(KeyError::Pem)?;
        Self::from_der(der.secret_pkcs8_der())
    }

    /// A key that nobody has; tokens that it signs end with the process.
    pub(crate) fn generate() -> Result<Self, KeyError> {
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Self::from_der(key.map_err(|_| KeyError::Random)?.as_ref())
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        provider::install();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new());
        let point = pair.map_err(KeyError::Key)?.public_key().as_ref().to_vec();
        let info = [&PUBLIC_KEY_HEAD[..], &point].concat();
        let digest = ring::digest::digest(&ring::digest::SHA256, &info);
        Ok(Self {
            encoding: EncodingKey::from_ec_der(der),
            decoding: DecodingKey::from_ec_der(&point),
            id: URL_SAFE_NO_PAD.encode(digest.as_ref()),
            point,
        })
    }

    pub(crate) fn sign<T: Serialize>(&self, claims: &T) -> Result<String, jsonwebtoken::errors::Error> {
        let header = Header { typ: None, kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.encoding)
    }

    /// The claims of a token that this key signed. When and for whom they hold is the caller's to check.
    pub(crate) fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<T, jsonwebtoken::errors::Error> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        jsonwebtoken::decode(token, &self.decoding, &validation).map(|data| data.claims)
    }

    /// The public half, as a JWK set.
    pub(crate) fn public(&self) -> Value {
        let (x, y) = self.point[1..].split_at(COORDINATE_LEN);
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]})
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_checks_what_it_signed_and_nothing_else() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let token = key.sign(&json!({"sub": "a"})).unwrap();
        assert_eq!(key.verify::<Value>(&token).unwrap(), json!({"sub": "a"}));
        assert!(other.verify::<Value>(&token).is_err());
        let (head, _) = token.rsplit_once('.').unwrap();
        for bad in ["", "a.b.c", head, &format!("{head}.AAAA")] {
            assert!(key.verify::<Value>(bad).is_err(), "{bad}");
        }
        let none = URL_SAFE_NO_PAD.encode(json!({"alg": "none"}).to_string());
        assert!(key.verify::<Value>(&format!("{none}.e30.")).is_err());
        assert_eq!(key.public()["keys"][0]["x"].as_str().unwrap().len(), 43);
    }
}
