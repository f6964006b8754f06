//! An API server alone, on loopback, for a look with `kubectl`: `cargo run -p skep-apiserver --example serve DIR`.
//! Everything is in DIR, the kubeconfig among it. Ends with Ctrl-C.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use skep_apiserver::{ApiServer, Options};
use skep_raft::Store;
use skep_registry::Registry;
use tokio_util::sync::CancellationToken;

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/api/pki.rs"]
mod pki;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = PathBuf::from(std::env::args().nth(1).context("name a directory")?);
    std::fs::create_dir_all(&dir)?;
    let store = Store::open(skep_raft::Options::new(dir.join("store"), 1)).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let pki = pki::Pki::new()?;
    let admin = pki.client("kubernetes-admin", Some("system:masters"))?;
    // No controller makes service accounts here.
    let disabled_admission = vec!["ServiceAccount".to_owned()];
    let options = Options { advertise: Some(address), disabled_admission, ..Options::new() };
    let server = ApiServer::start(options, Arc::new(Registry::builtin()), store.clone()).await?;
    let stop = CancellationToken::new();
    let tls = pki.server_tls()?;
    let serving = tokio::spawn({
        let (server, stop) = (server.clone(), stop.clone());
        async move { server.serve(listener, tls, stop).await }
    });
    let kubeconfig = dir.join("kubeconfig");
    std::fs::write(&kubeconfig, pki.kubeconfig(&format!("https://{address}"), Some(&admin)))?;
    println!("export KUBECONFIG={}", kubeconfig.display());
    tokio::signal::ctrl_c().await?;
    stop.cancel();
    serving.await??;
    server.shutdown();
    store.shutdown().await?;
    Ok(())
}
