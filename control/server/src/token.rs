//! Bootstrap tokens: by which a node asks for its first certificate.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use rand::RngExt;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const NAME_PREFIX: &str = "bootstrap-token-";
const ID_LEN: usize = 6;
const SECRET_LEN: usize = 16;
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// A token, `ID.SECRET`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: String,
    secret: String,
}

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is six and sixteen lower-case letters and digits with a dot between, e.g. abcdef.0123456789abcdef")]
pub struct TokenError;

/// A token as the cluster has it.
pub struct Entry {
    /// The token.
    pub token: Token,
    /// When it ends; never where there is none.
    pub expires: Option<Timestamp>,
    /// What it is for, in words.
    pub description: String,
}

impl Token {
    /// One that nobody knows.
    #[must_use]
    pub fn generate() -> Self {
        let mut rng = rand::rng();
        let mut text = |len| (0..len).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect();
        Self { id: text(ID_LEN), secret: text(SECRET_LEN) }
    }

    /// Its public part.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.…", self.id)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (id, secret) = text.split_once('.').ok_or(TokenError)?;
        let fits = |text: &str, len| text.len() == len && text.bytes().all(|byte| ALPHABET.contains(&byte));
        if !fits(id, ID_LEN) || !fits(secret, SECRET_LEN) {
            return Err(TokenError);
        }
        Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
    }
}

fn api(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), NAMESPACE)
}

/// Makes the token known to the cluster; it ends after `lifetime`, or never.
///
/// # Errors
/// The API's own; a token with this id is there already.
pub async fn create_token(client: &Client, token: &Token, lifetime: Option<Duration>, description: &str) -> Result<()> {
    let expires = match lifetime {
        Some(lifetime) => Some(
            Timestamp::now()
                .checked_add(SignedDuration::try_from(lifetime)?)
                .context("the token's lifetime is too long")?,
        ),
        None => None,
    };
    let mut data = BTreeMap::from([
        ("token-id", token.id.clone()),
        ("token-secret", token.secret.clone()),
        ("usage-bootstrap-authentication", "true".to_owned()),
        ("auth-extra-groups", "system:bootstrappers:skep:default-node-token".to_owned()),
    ]);
    if !description.is_empty() {
        data.insert("description", description.to_owned());
    }
    if let Some(expires) = expires {
        // To the second, as upstream writes it.
        data.insert("expiration", Timestamp::from_second(expires.as_second())?.to_string());
    }
    let secret = Secret {
        metadata: ObjectMeta { name: Some(format!("{NAME_PREFIX}{}", token.id)), ..ObjectMeta::default() },
        type_: Some(TYPE.to_owned()),
        data: Some(data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect()),
        ..Secret::default()
    };
    api(client).create(&PostParams::default(), &secret).await.context("create the token")?;
    Ok(())
}

/// All tokens of the cluster, by id.
///
/// # Errors
/// The API's own.
pub async fn list_tokens(client: &Client) -> Result<Vec<Entry>> {
    let of_type = ListParams::default().fields(&format!("type={TYPE}"));
    let secrets = api(client).list(&of_type).await.context("list tokens")?;
    Ok(secrets.items.iter().filter_map(entry).collect())
}

fn entry(secret: &Secret) -> Option<Entry> {
    let data = |key: &str| {
        let value = secret.data.as_ref().and_then(|data| data.get(key))?;
        String::from_utf8(value.0.clone()).ok()
    };
    let token = format!("{}.{}", data("token-id")?, data("token-secret")?).parse().ok()?;
    let expires = data("expiration").and_then(|text| text.parse().ok());
    Some(Entry { token, expires, description: data("description").unwrap_or_default() })
}

/// Makes the cluster forget a token by its id.
///
/// # Errors
/// The API's own; there is none with this id.
pub async fn delete_token(client: &Client, id: &str) -> Result<()> {
    let name = format!("{NAME_PREFIX}{id}");
    api(client).delete(&name, &DeleteParams::default()).await.with_context(|| format!("delete the token {id}"))?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_are_written_and_kept_out_of_logs() {
        let token = Token::generate();
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(&token.secret));
        for bad in ["", "abcdef", "abcdef.0123456789abcde", "Abcdef.0123456789abcdef"] {
            assert_eq!(bad.parse::<Token>(), Err(TokenError), "{bad}");
        }
    }
}
