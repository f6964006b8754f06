//! All pods of the node: one worker for each, fed by the watch and woken by the runtime's changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::worker::{Desired, Worker};
use super::{PodKey, relist};
use crate::context::Shared;

const RELIST: Duration = Duration::from_secs(1);
/// What is left for a pod that the API does not know any more.
const ORPHAN_GRACE_S: i64 = 1;

/// The node's pods by uid.
#[derive(Clone)]
pub(crate) struct PodSet {
    context: Shared,
    handles: Arc<Mutex<BTreeMap<String, Handle>>>,
}

struct Handle {
    desired: watch::Sender<Desired>,
    wake: Arc<Notify>,
}

impl PodSet {
    pub(crate) fn new(context: Shared) -> Self {
        Self { context, handles: Arc::default() }
    }

    /// The pods as the API last showed them.
    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        let present = |handle: &Handle| match &*handle.desired.borrow() {
            Desired::Present(pod) => Some(pod.clone()),
            Desired::Gone(_) => None,
        };
        self.lock().values().filter_map(present).collect()
    }

    /// One pod by its name.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let fits = |pod: &Arc<Pod>| {
            pod.metadata.namespace.as_deref() == Some(namespace) && pod.metadata.name.as_deref() == Some(name)
        };
        self.pods().into_iter().find(fits)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs all workers until `stop`. The containers keep running after it.
    pub(crate) async fn run(
        self,
        events: impl Stream<Item = watcher::Result<watcher::Event<Pod>>>,
        stop: CancellationToken,
    ) {
        let mut events = std::pin::pin!(events);
        let mut workers: JoinSet<String> = JoinSet::new();
        let mut tick = tokio::time::interval(RELIST);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut prints: BTreeMap<PodKey, u64> = BTreeMap::new();
        let mut listing: Option<Vec<Pod>> = None;
        let mut synced = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => match event {
                    Some(Ok(watcher::Event::Init)) => listing = Some(Vec::new()),
                    Some(Ok(watcher::Event::InitApply(pod))) => match &mut listing {
                        Some(listing) => listing.push(pod),
                        None => self.set(&mut workers, Desired::Present(Arc::new(pod))),
                    },
                    Some(Ok(watcher::Event::InitDone)) => {
                        self.replace(&mut workers, listing.take().unwrap_or_default());
                        if !synced {
                            self.end_forgotten(&mut workers);
                        }
                        synced = true;
                        // Every pod of the runtime is compared again, now that orphans can be told.
                        prints.clear();
                    }
                    Some(Ok(watcher::Event::Apply(pod))) => self.set(&mut workers, Desired::Present(Arc::new(pod))),
                    Some(Ok(watcher::Event::Delete(pod))) => self.set(&mut workers, Desired::Gone(Arc::new(pod))),
                    Some(Err(error)) => tracing::warn!(%error, "watch of pods"),
                    None => return,
                },
                Some(ended) = workers.join_next(), if !workers.is_empty() => {
                    if let Ok(uid) = ended {
                        self.lock().remove(&uid);
                        prints.retain(|key, _| key.uid != uid);
                    }
                }
                _ = tick.tick() => match relist(&self.context.cri).await {
                    Ok(now) => {
                        self.compare(&mut workers, &prints, &now, synced);
                        prints = now;
                    }
                    Err(error) => tracing::debug!(%error, "relist"),
                },
            }
        }
    }

    /// Takes over a full list: what is not in it is gone.
    fn replace(&self, workers: &mut JoinSet<String>, pods: Vec<Pod>) {
        let mut missing: BTreeMap<String, Arc<Pod>> =
            self.lock().iter().map(|(uid, handle)| (uid.clone(), handle.desired.borrow().pod().clone())).collect();
        for pod in pods {
            missing.remove(pod.metadata.uid.as_deref().unwrap_or_default());
            self.set(workers, Desired::Present(Arc::new(pod)));
        }
        for pod in missing.into_values() {
            self.set(workers, Desired::Gone(pod));
        }
    }

    /// Gives pods of which only directories are left a worker that removes those.
    fn end_forgotten(&self, workers: &mut JoinSet<String>) {
        let root = &self.context.options.root_dir;
        let names = |dir: &str| -> Vec<String> {
            let entries = std::fs::read_dir(root.join(dir)).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
        };
        let logs = names("logs/pods").into_iter().filter_map(|name| {
            let mut parts = name.splitn(3, '_').map(str::to_owned);
            Some(PodKey { namespace: parts.next()?, name: parts.next()?, uid: parts.next()? })
        });
        let nameless = |uid| PodKey { namespace: String::new(), name: String::new(), uid };
        for key in logs.chain(names("pods").into_iter().map(nameless)) {
            if !self.lock().contains_key(&key.uid) {
                self.set(workers, Desired::Gone(Arc::new(orphan(&key))));
            }
        }
    }

    fn set(&self, workers: &mut JoinSet<String>, desired: Desired) {
        let uid = desired.pod().metadata.uid.clone().unwrap_or_default();
        let mut handles = self.lock();
        if let Some(handle) = handles.get(&uid) {
            handle.desired.send_replace(desired);
            return;
        }
        let wake = Arc::new(Notify::new());
        let (sender, receiver) = watch::channel(desired);
        handles.insert(uid.clone(), Handle { desired: sender, wake: wake.clone() });
        let worker = Worker::new(self.context.clone(), receiver, wake);
        workers.spawn(async move {
            worker.run().await;
            uid
        });
    }

    /// Wakes the workers of pods that changed in the runtime; pods that nobody wants any more get one that ends them.
    fn compare(
        &self,
        workers: &mut JoinSet<String>,
        before: &BTreeMap<PodKey, u64>,
        now: &BTreeMap<PodKey, u64>,
        synced: bool,
    ) {
        for key in before.keys().chain(now.keys()).filter(|key| before.get(key) != now.get(key)) {
            if let Some(handle) = self.lock().get(&key.uid) {
                handle.wake.notify_one();
                continue;
            }
            if synced && now.contains_key(key) {
                tracing::info!(pod = %key, uid = key.uid, "pod is unknown to the API: ending it");
                self.set(workers, Desired::Gone(Arc::new(orphan(key))));
            }
        }
    }
}

/// A pod known by its runtime labels alone.
fn orphan(key: &PodKey) -> Pod {
    Pod {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            uid: Some(key.uid.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec { termination_grace_period_seconds: Some(ORPHAN_GRACE_S), ..PodSpec::default() }),
        status: None,
    }
}
