//! A watch of the metadata of each resource that is served, as discovery tells them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::api::DynamicObject;
use kube::core::{ApiResource, PartialObjectMeta};
use kube::discovery::{ApiCapabilities, Discovery, Scope, verbs};
use kube::runtime::watcher;
use kube::{Api, Client};
use skep_informer::Informer;
use skep_reconcile::{CancellationToken, Queue};
use tracing::{debug, info};

use super::graph::{Graph, Node};

/// How often discovery is asked for resources that came or went.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);
/// How soon it is asked again after it failed.
const DISCOVERY_RETRY: Duration = Duration::from_secs(1);

/// A resource that is served, and how.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) resource: Arc<ApiResource>,
    pub(crate) namespaced: bool,
}

/// Resources by `apiVersion` and `kind`, as owner references name them.
pub(crate) type Kinds = HashMap<(String, String), Served>;

/// All resources of which objects can be listed, watched and deleted. Events own nothing and are owned by nothing.
pub(crate) async fn discover(client: &Client) -> kube::Result<Vec<Served>> {
    let discovery = Discovery::new(client.clone()).run().await?;
    let mut served = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if resource.plural != "events" && is_collectable(&capabilities) {
                let namespaced = capabilities.scope == Scope::Namespaced;
                served.push(Served { resource: Arc::new(resource), namespaced });
            }
        }
    }
    Ok(served)
}

fn is_collectable(capabilities: &ApiCapabilities) -> bool {
    [verbs::LIST, verbs::WATCH, verbs::DELETE].iter().all(|verb| capabilities.supports_operation(verb))
}

/// Keeps watches running for all that is served, until `stop`.
pub(crate) async fn keep(
    client: Client,
    graph: Arc<Mutex<Graph>>,
    kinds: Arc<Mutex<Kinds>>,
    queue: Queue<String>,
    stop: CancellationToken,
) {
    let mut running: HashMap<(String, String), CancellationToken> = HashMap::new();
    loop {
        let wait = match discover(&client).await {
            Ok(served) => {
                let keys =
                    served.iter().map(|served| (key(&served.resource), served.clone())).collect::<HashMap<_, _>>();
                running.retain(|key, watch| {
                    let stays = keys.contains_key(key);
                    if !stays {
                        info!(api_version = key.0, kind = key.1, "no longer collected");
                        watch.cancel();
                    }
                    stays
                });
                for (key, served) in &keys {
                    if !running.contains_key(key) {
                        let own = stop.child_token();
                        running.insert(key.clone(), own.clone());
                        tokio::spawn(watch(client.clone(), served.clone(), Arc::clone(&graph), queue.clone(), own));
                    }
                }
                *kinds.lock().unwrap_or_else(PoisonError::into_inner) = keys;
                DISCOVERY_PERIOD
            }
            Err(error) => {
                debug!(error = %error, "discovery failed");
                DISCOVERY_RETRY
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn key(resource: &ApiResource) -> (String, String) {
    (resource.api_version.clone(), resource.kind.clone())
}

async fn watch(
    client: Client,
    served: Served,
    graph: Arc<Mutex<Graph>>,
    queue: Queue<String>,
    stop: CancellationToken,
) {
    let informer: Informer<PartialObjectMeta<DynamicObject>> = Informer::new();
    let resource = Arc::clone(&served.resource);
    informer.on_change(move |change| {
        let mut graph = graph.lock().unwrap_or_else(PoisonError::into_inner);
        let mut concerned = Vec::new();
        let old_uid = change.old.as_ref().and_then(|old| old.metadata.uid.as_deref());
        if let Some(uid) = old_uid
            && change.new.as_ref().is_none_or(|new| new.metadata.uid.as_deref() != Some(uid))
        {
            concerned.extend(graph.remove(uid));
        }
        if let Some(new) = &change.new {
            concerned.extend(graph.set(Node { resource: Arc::clone(&resource), meta: new.metadata.clone() }));
        }
        concerned.into_iter().for_each(|uid| queue.add(uid, "metadata"));
    });
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, served.resource.as_ref());
    // What the graph does not need takes most of the room.
    let events = watcher(api, watcher::Config::default()).map(|event| {
        event.map(|event| {
            event.modify(|object| {
                object.metadata.annotations = None;
                object.metadata.labels = None;
                object.metadata.managed_fields = None;
            })
        })
    });
    informer.follow(&served.resource.plural, events, stop).await;
}
