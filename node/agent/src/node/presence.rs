//! Whether the Node object is there: somebody may delete it while the node runs.

use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::context::Shared;

/// Tells `gone` each time the Node is found missing, until `stop`.
pub(crate) async fn run(context: Shared, gone: Arc<Notify>, stop: CancellationToken) {
    let mine = watcher::Config::default().fields(&format!("metadata.name={}", context.options.node_name));
    let mut events = std::pin::pin!(watcher(Api::<Node>::all(context.client.clone()), mine).default_backoff());
    let mut listed = false;
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            None => return,
            Some(Err(error)) => tracing::debug!(%error, "watch of the own Node"),
            Some(Ok(watcher::Event::Init)) => listed = false,
            Some(Ok(watcher::Event::InitApply(_) | watcher::Event::Apply(_))) => listed = true,
            Some(Ok(watcher::Event::InitDone)) if listed => {}
            Some(Ok(watcher::Event::InitDone | watcher::Event::Delete(_))) => gone.notify_one(),
        }
    }
}
