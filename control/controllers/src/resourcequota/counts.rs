//! Resources of which quotas count the objects: found through discovery, and watched only while a quota counts them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_resource};
use kube::{Api, Client};
use skep_admission::quota::{Counted, count_name};
use skep_reconcile::{CancellationToken, Queue};
use tokio::sync::Notify;
use tracing::debug;

use super::plan;
use crate::garbage;
use crate::objects::{ObjectKey, Objects};

/// How often discovery is asked for resources that came or went.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);

/// Resources by the names that quotas have for their number.
#[derive(Clone)]
pub(crate) struct Counts {
    client: Client,
    quotas: Objects<ResourceQuota>,
    queue: Queue<ObjectKey>,
    known: Arc<Mutex<HashMap<String, Arc<ApiResource>>>>,
    wanted: Arc<Notify>,
}

type Meta = PartialObjectMeta<DynamicObject>;

impl Counts {
    pub(crate) fn new(client: Client, quotas: Objects<ResourceQuota>, queue: Queue<ObjectKey>) -> Self {
        Self { client, quotas, queue, known: Arc::default(), wanted: Arc::new(Notify::new()) }
    }

    /// How many objects there are in a namespace; `None` for a resource that is not known, or not yet.
    pub(crate) async fn number(&self, namespace: &str, name: &str) -> kube::Result<Option<(Arc<ApiResource>, i64)>> {
        let found = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let Some(resource) = found else {
            self.wanted.notify_one();
            return Ok(None);
        };
        let api: Api<Meta> = Api::namespaced_with(self.client.clone(), namespace, resource.as_ref());
        // Without a selector the server says how many are left.
        let page = api.list_metadata(&ListParams::default().limit(1)).await?;
        let more = page.metadata.remaining_item_count.unwrap_or(0);
        let here = i64::try_from(page.items.len()).unwrap_or(i64::MAX);
        Ok(Some((resource, here.saturating_add(more))))
    }

    /// Keeps watches running for what quotas count, until `stop`.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        let mut running: HashMap<String, CancellationToken> = HashMap::new();
        loop {
            match garbage::discover(&self.client).await {
                Ok(served) => {
                    let named = served.iter().filter(|served| served.namespaced).map(|served| {
                        let resource = &served.resource;
                        (count_name(Counted { group: &resource.group, plural: &resource.plural }), Arc::clone(resource))
                    });
                    let named: HashMap<_, _> = named.collect();
                    // Whoever is woken by a watch finds the resource.
                    self.known.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&named);
                    self.watch_all(&named, &mut running, &stop);
                }
                Err(error) => debug!(%error, "discovery failed"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wanted.notified() => {}
                () = tokio::time::sleep(DISCOVERY_PERIOD) => {}
            }
        }
    }

    fn watch_all(
        &self,
        served: &HashMap<String, Arc<ApiResource>>,
        running: &mut HashMap<String, CancellationToken>,
        stop: &CancellationToken,
    ) {
        let wanted: BTreeSet<String> = self.quotas.all().iter().flat_map(|quota| plan::counted_names(quota)).collect();
        running.retain(|name, watch| {
            let stays = wanted.contains(name) && served.contains_key(name);
            if !stays {
                watch.cancel();
            }
            stays
        });
        for name in wanted {
            let Some(resource) = served.get(&name).filter(|_| !running.contains_key(&name)) else { continue };
            let own = stop.child_token();
            running.insert(name.clone(), own.clone());
            let (counts, resource) = (self.clone(), Arc::clone(resource));
            tokio::spawn(own.run_until_cancelled_owned(async move { counts.watch(&name, &resource).await }));
        }
    }

    /// Wakes quotas when objects go; all that count them when some may have gone unseen.
    async fn watch(&self, name: &str, resource: &ApiResource) {
        let api: Api<Meta> = Api::all_with(self.client.clone(), resource);
        let mut events = std::pin::pin!(watch_resource(api, watcher::Config::default()).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Delete(object)) => self.wake(object.metadata.namespace.as_deref(), name),
                Ok(Event::InitDone) => self.wake(None, name),
                Ok(Event::Init | Event::InitApply(_) | Event::Apply(_)) => {}
                Err(error) => debug!(name, %error, "watch broke"),
            }
        }
    }

    fn wake(&self, namespace: Option<&str>, name: &str) {
        let quotas = namespace.map_or_else(|| self.quotas.all(), |namespace| self.quotas.list(namespace));
        for quota in quotas.iter().filter(|quota| plan::counted_names(quota).iter().any(|own| own == name)) {
            self.queue.add(ObjectKey::of(quota.as_ref()), "count");
        }
    }
}
