//! The kubeconfig that points `kubectl` at the cluster.

use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::pki::{Identity, write_private};

/// A kubeconfig that names the cluster and no user.
pub(crate) fn cluster_only(server: &str, authority_pem: &str) -> Result<String> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "", "cluster": {"server": server, "certificate-authority-data": STANDARD.encode(authority_pem)},
        }],
        "contexts": null,
        "users": null,
        "current-context": "",
    });
    serde_saphyr::to_string(&config).context("encode kubeconfig")
}

/// Writes a kubeconfig for `identity` at `server` (`https://HOST:PORT`), readable by its owner alone.
///
/// # Errors
/// The file cannot be written.
pub fn write_kubeconfig(
    path: &Path,
    cluster: &str,
    server: &str,
    authority_pem: &str,
    identity: &Identity,
) -> Result<()> {
    let user = format!("{cluster}-admin");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, "certificate-authority-data": STANDARD.encode(authority_pem)}}],
        "users": [{"name": user, "user": {
            "client-certificate-data": STANDARD.encode(&identity.certificate_pem),
            "client-key-data": STANDARD.encode(&identity.key_pem),
        }}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    });
    let text = serde_saphyr::to_string(&config).context("encode kubeconfig")?;
    write_private(path, &text)
}
