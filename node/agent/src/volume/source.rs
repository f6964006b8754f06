//! Reading the objects that volumes and environments refer to.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::api::{Api, PostParams};

use super::content::Token;
use super::{Error, volume_path};
use crate::env::Sources;
use crate::pod::PodKey;

/// No token is kept for longer.
const DAY_S: i64 = 24 * 3600;

/// Names of the ConfigMaps and of the Secrets that a pod's volumes refer to.
pub(crate) fn sources_of(pod: &Pod) -> (Vec<String>, Vec<String>) {
    let (mut config_maps, mut secrets) = (Vec::new(), Vec::new());
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
        secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
        for projection in volume.projected.iter().flat_map(|source| source.sources.iter().flatten()) {
            config_maps.extend(projection.config_map.iter().map(|source| source.name.clone()));
            secrets.extend(projection.secret.iter().map(|source| source.name.clone()));
        }
    }
    (config_maps, secrets)
}

/// Reads ConfigMaps and Secrets by name.
pub(crate) async fn fetch(
    client: &kube::Client,
    namespace: &str,
    (config_maps, secrets): (Vec<String>, Vec<String>),
) -> Result<Sources, kube::Error> {
    let mut sources = Sources::default();
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    for name in config_maps {
        if !sources.config_maps.contains_key(&name) {
            sources.config_maps.insert(name.clone(), api.get_opt(&name).await?);
        }
    }
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    for name in secrets {
        if !sources.secrets.contains_key(&name) {
            sources.secrets.insert(name.clone(), api.get_opt(&name).await?);
        }
    }
    Ok(sources)
}

/// The tokens of a pod's projected volumes: those on disk while they are young, else new ones.
pub(crate) async fn tokens(
    client: &kube::Client,
    pod: &Pod,
    key: &PodKey,
    pod_dir: &std::path::Path,
) -> Result<Vec<Token>, Error> {
    const EXPIRATION_S: i64 = 3600;
    let mut tokens = Vec::new();
    let Some(spec) = &pod.spec else { return Ok(tokens) };
    let account = spec.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
    for volume in spec.volumes.iter().flatten() {
        let projections = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
        for wanted in projections.filter_map(|projection| projection.service_account_token.as_ref()) {
            let expiration_s = wanted.expiration_seconds.unwrap_or(EXPIRATION_S);
            let held = volume_path(pod_dir, volume)
                .and_then(|dir| young(&dir.join(&wanted.path), expiration_s, Timestamp::now()));
            let token = match held {
                Some(token) => token,
                None => request(client, key, account, wanted.audience.as_deref(), expiration_s)
                    .await
                    .map_err(|error| Error::set_up(&volume.name, format!("failed to fetch token: {error}")))?,
            };
            tokens.push(Token { volume: volume.name.clone(), path: wanted.path.clone(), token });
        }
    }
    Ok(tokens)
}

/// A token file's content while it is good for long enough.
fn young(path: &std::path::Path, expiration_s: i64, now: Timestamp) -> Option<String> {
    let token = std::fs::read_to_string(path).ok()?;
    is_young(&token, expiration_s, now).then_some(token)
}

/// Whether less than four fifths of the life that was asked for have passed, and less than a day. The token says when it was issued:
/// its file is as new as the volume's last change.
fn is_young(token: &str, expiration_s: i64, now: Timestamp) -> bool {
    let payload = token.split('.').nth(1).and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
    let claims: Option<serde_json::Value> = payload.and_then(|payload| serde_json::from_slice(&payload).ok());
    let Some(issued) = claims.and_then(|claims| claims["iat"].as_i64()) else { return false };
    let age_s = now.as_second().saturating_sub(issued);
    age_s >= 0 && age_s.saturating_mul(5) < expiration_s.saturating_mul(4) && age_s < DAY_S
}

async fn request(
    client: &kube::Client,
    key: &PodKey,
    account: &str,
    audience: Option<&str>,
    expiration_s: i64,
) -> Result<String, kube::Error> {
    let api = Api::<ServiceAccount>::namespaced(client.clone(), &key.namespace);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: audience.map(|audience| vec![audience.to_owned()]),
            expiration_seconds: Some(expiration_s),
            attestations: None,
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(key.name.clone()),
                uid: Some(key.uid.clone()),
            }),
        }),
        ..TokenRequest::default()
    };
    let answer: TokenRequest = api.create_subresource("token", account, &PostParams::default(), &request).await?;
    Ok(answer.status.and_then(|status| status.token).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_before_their_end() {
        let token = format!("x.{}.y", URL_SAFE_NO_PAD.encode(r#"{"iat": 1000}"#));
        let young = |now: i64, life: i64| is_young(&token, life, Timestamp::from_second(now).unwrap());
        assert!(young(1000, 600) && young(1479, 600));
        assert!(!young(1480, 600));
        assert!(!young(999, 600), "a clock that went back");
        assert!(young(1000 + DAY_S - 1, 10 * DAY_S) && !young(1000 + DAY_S, 10 * DAY_S));
        assert!(!is_young("nonsense", 600, Timestamp::UNIX_EPOCH));
    }
}
