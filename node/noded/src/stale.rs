//! Sockets of the node and its pods whose datagram backend is gone.

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use skep_bpf::{Datapath, GoneBackend};
use skep_network::Network;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The network namespaces of a node's pods.
#[derive(Clone)]
pub(crate) enum Namespaces {
    /// Those of our own pods.
    Own(Arc<Network>),
    /// All that stand in a directory, as runtimes keep them.
    In(PathBuf),
}

impl Namespaces {
    async fn list(&self) -> Vec<PathBuf> {
        match self {
            Namespaces::Own(network) => network.attachments().await.into_iter().map(|one| one.netns).collect(),
            Namespaces::In(dir) => match std::fs::read_dir(dir) {
                Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
                Err(error) => {
                    tracing::warn!(%error, dir = %dir.display(), "the sockets of pods are not looked at");
                    Vec::new()
                }
            },
        }
    }
}

/// Until `stop`: whenever it is told of backends that went, destroys the sockets that were sent to them, in every network namespace of
/// the node. Apart from the writes of tables, which never wait for it.
pub(crate) async fn run(datapath: Arc<Datapath>, pods: Namespaces, gone: Arc<Notify>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = gone.notified() => {}
        }
        let backends = datapath.take_gone();
        if backends.is_empty() {
            continue;
        }
        let pods = pods.list().await;
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
        match setns(&file, CloneFlags::CLONE_NEWNET) {
            Ok(()) => {}
            // What is left of a namespace that has just gone is a plain file.
            Err(Errno::EINVAL) => continue,
            Err(error) => return Err(error).with_context(|| format!("enter {}", path.display())),
        }
        sockets += kernel.destroy_stale_sockets(gone)?;
    }
    Ok(sockets)
}
