//! Tokens of service accounts: signed by the cluster's own key, bound to an object that must still be there.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skep_registry::Registry;

use super::Identity;
use super::verified::Verified;
use crate::cache::Cache;
use crate::jwt::{KeyError, SigningKey};
use crate::object::{self, Cached};
use crate::served::Served;

/// The issuer of tokens that are kept in Secrets and never end.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// Clocks may differ by so much, and deletions take so long to be noticed.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// An object that a token names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What a token says besides RFC 7519's claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Private {
    pub namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Named>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Named>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Named>,
    pub serviceaccount: Named,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    private: Private,
    nbf: i64,
    sub: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LegacyClaims {
    iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: String,
    sub: String,
}

/// What a token that this key signed says.
enum Signed {
    Bound(Box<Claims>),
    Legacy(LegacyClaims),
}

/// Signs tokens and knows those that it signed.
pub(crate) struct Accounts {
    key: SigningKey,
    verified: Verified<Signed>,
    issuer: String,
    audiences: Vec<String>,
    accounts: Option<Served>,
    secrets: Option<Served>,
    pods: Option<Served>,
    nodes: Option<Served>,
}

impl Accounts {
    /// `key` is PKCS#8 in PEM; without one, tokens end with the process.
    pub(crate) fn new(registry: &Arc<Registry>, key: Option<&str>, issuer: &str) -> Result<Self, KeyError> {
        let find = |plural| Served::find(registry, "", "v1", plural);
        Ok(Self {
            key: key.map_or_else(SigningKey::generate, SigningKey::from_pem)?,
            verified: Verified::default(),
            issuer: issuer.to_owned(),
            audiences: vec![issuer.to_owned()],
            accounts: find("serviceaccounts"),
            secrets: find("secrets"),
            pods: find("pods"),
            nodes: find("nodes"),
        })
    }

    /// An object that a token may be bound to.
    pub(crate) fn object(&self, cache: &Cache, plural: &str, namespace: &str, name: &str) -> Option<Arc<Cached>> {
        let served = match plural {
            "pods" => self.pods.as_ref(),
            "nodes" => self.nodes.as_ref(),
            "secrets" => self.secrets.as_ref(),
            _ => self.accounts.as_ref(),
        };
        cache.get(served?, &object::relative_key(Some(namespace).filter(|namespace| !namespace.is_empty()), name))
    }

    /// For whom tokens are good that are shown to this server.
    pub(crate) fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// A token from now to `expires`.
    pub(crate) fn issue(
        &self,
        private: Private,
        audiences: &[String],
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        self.key.sign(&Claims {
            aud: audiences.to_vec(),
            exp: expires.as_second(),
            iat: now.as_second(),
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            nbf: now.as_second(),
            sub: user_name(&private.namespace, &private.serviceaccount.name),
            private,
        })
    }

    /// A token for a Secret, which is good as long as that is there.
    pub(crate) fn issue_legacy(
        &self,
        namespace: &str,
        account: &Named,
        secret: &str,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        self.key.sign(&LegacyClaims {
            iss: LEGACY_ISSUER.to_owned(),
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            account: account.name.clone(),
            uid: account.uid.clone(),
            sub: user_name(namespace, &account.name),
        })
    }

    /// Whom a token stands for, and for which of `audiences` it is good. The error says why it stands for nobody.
    pub(crate) fn identity(
        &self,
        cache: &Cache,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<(Identity, Vec<String>), String> {
        match &*self.verified.get(token, || self.read(token))? {
            Signed::Legacy(claims) => {
                self.legacy(cache, claims, token, now)?;
                let good = audiences.iter().filter(|audience| self.audiences.contains(audience)).cloned().collect();
                let account = Named { name: claims.account.clone(), uid: claims.uid.clone() };
                Ok((identity(&claims.namespace, &account, BTreeMap::new()), good))
            }
            Signed::Bound(claims) => {
                self.check(cache, claims, now)?;
                let good: Vec<String> = claims.aud.iter().filter(|held| audiences.contains(held)).cloned().collect();
                if good.is_empty() {
                    let quoted = |list: &[String]| format!("{list:?}").replace(", ", " ");
                    let (held, wanted) = (quoted(&claims.aud), quoted(audiences));
                    return Err(format!("token audiences {held} is invalid for the target audiences {wanted}"));
                }
                Ok((identity(&claims.private.namespace, &claims.private.serviceaccount, extra(claims)), good))
            }
        }
    }

    /// The claims of a token of ours. An error without a text says that it is another's.
    fn read(&self, token: &str) -> Result<Signed, String> {
        let claims: Value = self.key.verify(token).map_err(|_| String::new())?;
        let read = |error: serde_json::Error| error.to_string();
        if claims["iss"] == LEGACY_ISSUER {
            return serde_json::from_value(claims).map(Signed::Legacy).map_err(read);
        }
        let claims: Claims = serde_json::from_value(claims).map_err(read)?;
        if claims.iss == self.issuer { Ok(Signed::Bound(claims.into())) } else { Err(String::new()) }
    }

    fn check(&self, cache: &Cache, claims: &Claims, now: Timestamp) -> Result<(), String> {
        let leeway = LEEWAY.as_secs();
        if now.as_second() > claims.exp.saturating_add(leeway) {
            return Err("service account token has expired".to_owned());
        }
        if now.as_second().saturating_add(leeway) < claims.nbf {
            return Err("service account token is not valid yet".to_owned());
        }
        let Private { namespace, node, pod, secret, serviceaccount, .. } = &claims.private;
        holds(cache, self.accounts.as_ref(), namespace, serviceaccount, now)?;
        if let Some(secret) = secret {
            holds(cache, self.secrets.as_ref(), namespace, secret, now)?;
        }
        match (pod, node) {
            (Some(pod), _) => holds(cache, self.pods.as_ref(), namespace, pod, now),
            (None, Some(node)) => holds(cache, self.nodes.as_ref(), "", node, now),
            (None, None) => Ok(()),
        }
    }

    fn legacy(&self, cache: &Cache, claims: &LegacyClaims, token: &str, now: Timestamp) -> Result<(), String> {
        let account = Named { name: claims.account.clone(), uid: claims.uid.clone() };
        holds(cache, self.accounts.as_ref(), &claims.namespace, &account, now)?;
        let key = format!("{}/{}", claims.namespace, claims.secret);
        let secret = self.secrets.as_ref().and_then(|served| cache.get(served, &key));
        let secret = secret.and_then(|found| serde_json::from_slice(&found.bytes).ok());
        let secret: k8s_openapi::api::core::v1::Secret = secret.ok_or_else(invalidated)?;
        let held = secret.data.as_ref().and_then(|data| data.get("token"));
        if held.is_some_and(|held| held.0 == token.as_bytes()) { Ok(()) } else { Err(invalidated()) }
    }

    /// What others check tokens by: the type of a document and the document, for paths that have one. `address` is where this
    /// server is reached.
    pub(crate) fn document(&self, path: &[String], address: &str) -> Option<(&'static str, Value)> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path.as_slice() {
            [".well-known", "openid-configuration"] => Some((
                "application/json",
                json!({
                    "issuer": self.issuer,
                    "jwks_uri": format!("https://{address}/openid/v1/jwks"),
                    "response_types_supported": ["id_token"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["ES256"],
                }),
            )),
            ["openid", "v1", "jwks"] => Some(("application/jwk-set+json", self.key.public())),
            _ => None,
        }
    }
}

fn invalidated() -> String {
    "service account token has been invalidated".to_owned()
}

/// Whether an object is there that a token is bound to: the very same, and not deleted for long.
fn holds(cache: &Cache, served: Option<&Served>, namespace: &str, named: &Named, now: Timestamp) -> Result<(), String> {
    // What is looked at alone: every request of a pod comes here, and pods are large.
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        #[serde(default)]
        uid: String,
        deletion_timestamp: Option<Timestamp>,
    }
    let key = if namespace.is_empty() { named.name.clone() } else { format!("{namespace}/{}", named.name) };
    let found = served.and_then(|served| cache.get(served, &key)).ok_or_else(invalidated)?;
    let object: Object = serde_json::from_slice(&found.bytes).map_err(|error| error.to_string())?;
    let meta = object.metadata;
    let gone = meta.deletion_timestamp.is_some_and(|at| now.duration_since(at) > LEEWAY);
    let same = meta.uid == named.uid;
    if same && !gone { Ok(()) } else { Err(invalidated()) }
}

fn user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

fn identity(namespace: &str, account: &Named, extra: BTreeMap<String, Vec<String>>) -> Identity {
    let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")];
    let user = user_name(namespace, &account.name);
    Identity { uid: account.uid.clone(), extra, ..Identity::authenticated(&user, &groups) }
}

fn extra(claims: &Claims) -> BTreeMap<String, Vec<String>> {
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: String| extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
    if !claims.jti.is_empty() {
        add("credential-id", format!("JTI={}", claims.jti));
    }
    let Private { pod, node, .. } = &claims.private;
    if let Some(pod) = pod {
        add("pod-name", pod.name.clone());
        add("pod-uid", pod.uid.clone());
    }
    if let Some(node) = node {
        add("node-name", node.name.clone());
        add("node-uid", node.uid.clone());
    }
    extra
}
