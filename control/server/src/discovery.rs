//! What a node must know of the cluster before it trusts it: the public ConfigMap `cluster-info`, and the hash to check it by.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::kubeconfig::cluster_only;

const NAMESPACE: &str = "kube-public";
const NAME: &str = "cluster-info";

/// Publishes the server's address and the certificate of its authority, for those who have no credentials yet.
///
/// # Errors
/// The API's own.
pub(crate) async fn publish(client: &Client, server: &str, authority_pem: &str) -> Result<()> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    let data = json!({"kubeconfig": cluster_only(server, authority_pem)?});
    let held = api.get_opt(NAME).await.context("read cluster-info")?;
    if held.is_some() {
        let patch = Patch::Merge(json!({"data": data}));
        api.patch(NAME, &PatchParams::default(), &patch).await.context("update cluster-info")?;
        return Ok(());
    }
    let map = ConfigMap {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        data: serde_json::from_value(data).context("the data of cluster-info")?,
        ..ConfigMap::default()
    };
    api.create(&PostParams::default(), &map).await.context("create cluster-info")?;
    Ok(())
}

/// The hash of an authority's public key, as `kubeadm` writes it: `sha256:` and 64 hexadecimal digits.
///
/// # Errors
/// The text is no certificate.
pub fn authority_hash(pem: &str) -> Result<String> {
    let (_, block) =
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).context("the authority's certificate is no PEM")?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).context("parse the authority's certificate")?;
    let digest = Sha256::digest(certificate.public_key().raw);
    Ok(digest.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}")))
}
