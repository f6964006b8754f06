//! The proxy's own Node, as far as it matters to Services.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the Node says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its zone.
    pub(super) zone: Option<String>,
    /// Whether load balancers should send it new connections.
    pub(super) eligible: bool,
}

/// A task that follows the Node of that name until `stop`, and what it has seen: nothing before the first answer of the API server. A
/// Node that is not there has no zone, and takes connections: whoever runs a proxy there has meant it.
pub(super) fn watch(
    client: &Client,
    name: &str,
    stop: CancellationToken,
) -> (impl Future<Output = ()> + use<>, watch::Receiver<Option<Seen>>) {
    let (sender, receiver) = watch::channel(None);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = watcher(Api::<Node>::all(client.clone()), config).default_backoff().boxed();
    let task = async move {
        let absent = Seen { zone: None, eligible: true };
        let mut listed = None;
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => event,
            };
            let now = match event {
                None => return,
                Some(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "watch of the node begins anew");
                    continue;
                }
                Some(Ok(Event::Init)) => {
                    listed = None;
                    continue;
                }
                Some(Ok(Event::InitApply(node))) => {
                    listed = Some(super::read(&node));
                    continue;
                }
                Some(Ok(Event::InitDone)) => listed.take().unwrap_or_else(|| absent.clone()),
                Some(Ok(Event::Apply(node))) => super::read(&node),
                Some(Ok(Event::Delete(_))) => absent.clone(),
            };
            sender.send_if_modified(|held| {
                let changed = held.as_ref() != Some(&now);
                *held = Some(now);
                changed
            });
        }
    };
    (task, receiver)
}
