//! Sockets of the node and its pods whose datagram backend is gone.

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};
use skep_bpf::{Datapath, GoneBackend};
use skep_network::Network;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Until `stop`: whenever it is told of backends that went, destroys the sockets that were sent to them, in every network namespace of
/// the node. Apart from the writes of tables, which never wait for it.
pub(crate) async fn run(datapath: Arc<Datapath>, network: Arc<Network>, gone: Arc<Notify>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = gone.notified() => {}
        }
        let backends = datapath.take_gone();
        if backends.is_empty() {
            continue;
        }
        let pods = network.attachments().await.into_iter().map(|one| one.netns).collect();
        let datapath = Arc::clone(&datapath);
        // A thread of its own, that ends: it does not come back to the node's namespace.
        let (answer, answered) = tokio::sync::oneshot::channel();
        let sweep = move || drop(answer.send(destroy(&datapath, pods, &backends)));
        if let Err(error) = std::thread::Builder::new().name("stale-sockets".to_owned()).spawn(sweep) {
            tracing::warn!(%error, "stale sockets stay");
            continue;
        }
        match answered.await {
            Ok(Ok(0)) => {}
            Ok(Ok(sockets)) => tracing::info!(sockets, "sockets to backends that are gone destroyed"),
            Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "stale sockets stay"),
            Err(_) => tracing::warn!("the search for stale sockets ended early"),
        }
    }
}

/// In the thread's own namespace, then in each of the pods'. One that is gone has no sockets.
fn destroy(datapath: &Datapath, pods: Vec<PathBuf>, gone: &HashSet<GoneBackend>) -> Result<usize> {
    let kernel = datapath.inspect();
    let mut sockets = kernel.destroy_stale_sockets(gone)?;
    for path in pods {
        let Ok(file) = File::open(&path) else { continue };
        setns(&file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", path.display()))?;
        sockets += kernel.destroy_stale_sockets(gone)?;
    }
    Ok(sockets)
}
