//! Bearer tokens: of service accounts, and bootstrap tokens `ID.SECRET`, kept in Secrets `bootstrap-token-ID` of kube-system.

use http::{HeaderMap, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use skep_registry::Registry;

use super::Identity;
use super::account::Accounts;
use crate::served::Served;
use crate::status::ApiError;
use crate::write::Writer;

const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";
const ID_LEN: usize = 6;
const SECRET_LEN: usize = 16;

/// Knows bearer tokens.
pub(crate) struct Tokens {
    secrets: Option<Served>,
    pub accounts: Accounts,
}

impl Tokens {
    pub(crate) fn new(registry: &Registry, accounts: Accounts) -> Self {
        Self { secrets: Served::find(registry, "", "v1", "secrets"), accounts }
    }

    /// `None` where the request shows no token. One that is not known, or not any more, is an error.
    pub(crate) async fn authenticate(
        &self,
        writer: &Writer,
        headers: &HeaderMap,
    ) -> Result<Option<Identity>, ApiError> {
        let Some(token) = bearer(headers) else { return Ok(None) };
        match self.review(writer, token, &[]).await {
            Ok((identity, _)) => Ok(Some(identity)),
            Err(why) => {
                tracing::debug!(why, "a bearer token is refused");
                Err(ApiError::unauthorized())
            }
        }
    }

    /// Whom a token stands for, and for which of `audiences` it is good; without any, for this server's own. The error says why it
    /// stands for nobody.
    pub(crate) async fn review(
        &self,
        writer: &Writer,
        token: &str,
        audiences: &[String],
    ) -> Result<(Identity, Vec<String>), String> {
        let own = self.accounts.audiences();
        let audiences = if audiences.is_empty() { own } else { audiences };
        let now = Timestamp::now();
        if let Ok(found) = self.accounts.identity(&writer.cache, token, audiences, now) {
            return Ok(found);
        }
        // What a token stands for may be newer than the cache.
        writer.catch_up().await.map_err(|error| error.to_string())?;
        let why = match self.accounts.identity(&writer.cache, token, audiences, now) {
            Ok(found) => return Ok(found),
            Err(why) => why,
        };
        let good: Vec<String> = audiences.iter().filter(|audience| own.contains(audience)).cloned().collect();
        match self.bootstrap(writer, token) {
            Some(identity) if !good.is_empty() => Ok((identity, good)),
            _ if why.is_empty() => Err("invalid bearer token".to_owned()),
            _ => Err(format!("[invalid bearer token, {why}]")),
        }
    }

    fn bootstrap(&self, writer: &Writer, token: &str) -> Option<Identity> {
        let (id, secret) = split(token)?;
        let found = writer.cache.get(self.secrets.as_ref()?, &format!("kube-system/bootstrap-token-{id}"))?;
        let found: Secret = serde_json::from_slice(&found.bytes).ok()?;
        identity(&found, id, secret, Timestamp::now())
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Id and secret, each of lower-case letters and digits.
fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (id.len() == ID_LEN && secret.len() == SECRET_LEN && plain(id) && plain(secret)).then_some((id, secret))
}

/// Whom the Secret says that the token stands for, if it does.
fn identity(found: &Secret, id: &str, secret: &str, now: Timestamp) -> Option<Identity> {
    let data = |key: &str| {
        let value = found.data.as_ref().and_then(|data| data.get(key));
        value.and_then(|value| std::str::from_utf8(&value.0).ok()).unwrap_or_default()
    };
    let usable = found.type_.as_deref() == Some(TYPE)
        && found.metadata.deletion_timestamp.is_none()
        && data("token-id") == id
        && same(data("token-secret"), secret)
        && data("usage-bootstrap-authentication") == "true";
    let expiration = data("expiration");
    let valid = expiration.is_empty() || expiration.parse::<Timestamp>().is_ok_and(|expires| expires > now);
    if !usable || !valid {
        return None;
    }
    let extra = data("auth-extra-groups").split(',').filter(|group| !group.is_empty());
    let groups: Vec<&str> = std::iter::once(GROUP).chain(extra).collect();
    // A token makes bootstrappers and nothing else.
    let own = |group: &&str| **group == *GROUP || group.starts_with("system:bootstrappers:");
    groups.iter().all(own).then(|| Identity::authenticated(&format!("system:bootstrap:{id}"), &groups))
}

/// Compares in a time that does not tell where the first difference is.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    const ID: &str = "abcdef";
    const SECRET: &str = "0123456789abcdef";

    fn secret(more: &[(&str, &str)]) -> Secret {
        let fixed = [("token-id", ID), ("token-secret", SECRET), ("usage-bootstrap-authentication", "true")];
        let data = fixed.iter().chain(more);
        Secret {
            type_: Some(TYPE.to_owned()),
            data: Some(data.map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect()),
            ..Secret::default()
        }
    }

    fn groups(more: &[(&str, &str)]) -> Option<Vec<String>> {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        identity(&secret(more), ID, SECRET, now).map(|identity| identity.groups)
    }

    #[test]
    fn a_token_stands_for_a_bootstrapper() {
        let identity = identity(&secret(&[]), ID, SECRET, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(identity.user, "system:bootstrap:abcdef");
        assert_eq!(identity.groups, [GROUP, "system:authenticated"]);
        let extra = groups(&[("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token")]).unwrap();
        assert_eq!(extra, [GROUP, "system:bootstrappers:kubeadm:default-node-token", "system:authenticated"]);
    }

    #[test]
    fn what_is_not_a_usable_token_stands_for_nobody() {
        assert!(groups(&[("expiration", "2026-01-01T00:00:01Z")]).is_some());
        for more in [
            ("expiration", "2026-01-01T00:00:00Z"),
            ("expiration", "soon"),
            ("usage-bootstrap-authentication", "false"),
            ("auth-extra-groups", "system:masters"),
            ("token-secret", "0123456789abcdeg"),
            ("token-id", "abcdeg"),
        ] {
            assert_eq!(groups(&[more]), None, "{more:?}");
        }
        let opaque = Secret { type_: Some("Opaque".to_owned()), ..secret(&[]) };
        assert!(super::identity(&opaque, ID, SECRET, Timestamp::UNIX_EPOCH).is_none());
    }

    #[test]
    fn tokens_have_one_form() {
        assert_eq!(split("abcdef.0123456789abcdef"), Some((ID, SECRET)));
        for bad in ["abcdef", "abcde.0123456789abcdef", "abcdef.0123456789abcde", "ABCDEF.0123456789abcdef", "a/../b.x"]
        {
            assert_eq!(split(bad), None, "{bad}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, "bearer  x".parse().unwrap());
        assert_eq!(bearer(&headers), Some("x"));
        headers.insert(header::AUTHORIZATION, "Basic x".parse().unwrap());
        assert_eq!(bearer(&headers), None);
    }
}
