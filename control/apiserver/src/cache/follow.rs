//! The task that keeps the watch cache equal to the store.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use skep_raft::{Store, StoreError, WatchBatch};
use skep_registry::{Registry, Resource};
use skep_store::{Event, KeyValue, Range, Revision};
use tokio_util::sync::CancellationToken;

use super::definitions::{self, Installed};
use super::{CLAIMS_PREFIX, Cache, Fresh, Kind};
use crate::object::Cached;

/// Pairs read at once while loading.
pub(super) const PAGE_LEN: usize = 1_000;

/// Transactions that are applied together at most.
const APPLY_LEN_MAX: usize = 64;

/// Wait before the cache is loaded again after the store's watch broke.
const RELOAD_WAIT: Duration = Duration::from_millis(200);

pub(super) type Items = BTreeMap<Box<str>, Arc<Cached>>;

/// All keys: revisions of transactions outside `/registry/` must be seen to pass as well.
const ALL_START: &[u8] = &[0];
const ALL_END: &[u8] = &[0xff];

const REGISTRY_START: &[u8] = b"/registry/";
const REGISTRY_END: &[u8] = b"/registry0";

/// Loads the cache; the task that then follows the store ends with `stop`.
pub(crate) async fn start(cache: Arc<Cache>, store: Store, stop: CancellationToken) -> Result<(), StoreError> {
    let loaded = load(&cache, &store).await?;
    tokio::spawn(async move {
        tokio::select! {
            () = follow(&cache, &store, loaded) => {}
            () = stop.cancelled() => {}
        }
    });
    Ok(())
}

async fn follow(cache: &Cache, store: &Store, mut loaded: (Revision, Installed)) {
    loop {
        let from = loaded.0 + 1;
        let batches = store.watch(Bytes::from_static(ALL_START), Some(Bytes::from_static(ALL_END)), from);
        let why = drain(cache, store, &mut loaded.1, batches).await;
        tracing::warn!(error = why.as_ref().map(tracing::field::display), "watch cache starts over");
        loaded = loop {
            tokio::time::sleep(RELOAD_WAIT).await;
            match load(cache, store).await {
                Ok(loaded) => break loaded,
                Err(error) => tracing::warn!(%error, "watch cache cannot read the store"),
            }
        };
    }
}

/// Applies batches until the stream ends or breaks.
async fn drain<S>(cache: &Cache, store: &Store, installed: &mut Installed, batches: S) -> Option<StoreError>
where
    S: Stream<Item = Result<WatchBatch, StoreError>>,
{
    // What is there already is applied together: whoever waits for a revision is woken once.
    let mut chunks = std::pin::pin!(batches.ready_chunks(APPLY_LEN_MAX));
    while let Some(chunk) = chunks.next().await {
        let mut ready = Vec::with_capacity(chunk.len());
        for batch in chunk {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => return Some(error),
            };
            if definitions::concern(&batch.events) {
                cache.apply(&std::mem::take(&mut ready));
                // Whoever sees that a definition is established finds its resource.
                if let Err(error) = installed.follow(cache, store, batch.revision, &batch.events).await {
                    return Some(error);
                }
            }
            ready.push(batch);
        }
        cache.apply(&ready);
    }
    None
}

async fn load(cache: &Cache, store: &Store) -> Result<(Revision, Installed), StoreError> {
    let (installed, registry, revision) = Installed::load(&cache.registry(), store).await?;
    let mut kinds: HashMap<usize, Items> = registry.resources().iter().map(|r| (r.slot, Items::new())).collect();
    let mut claims = HashMap::new();
    let mut start = Bytes::from_static(REGISTRY_START);
    loop {
        let end = Some(Bytes::from_static(REGISTRY_END));
        let page = store.range(Range { start, end, revision, limit: PAGE_LEN, ..Range::default() }).await?;
        start = page.kvs.last().map(|kv| after(&kv.key)).unwrap_or_default();
        for kv in page.kvs {
            match route(&kv.key) {
                Some(Route::Claim) => {
                    claims.insert(kv.key, kv.value);
                }
                Some(Route::Object { group, plural, key }) => {
                    for resource in registry.versions(group, plural) {
                        if let Some(object) = cached(resource, key, &kv) {
                            kinds.entry(resource.slot).or_default().insert(object.key.clone(), object);
                        }
                    }
                }
                None => {}
            }
        }
        if !page.more {
            break;
        }
    }
    cache.replace(registry, kinds, claims, revision);
    Ok((revision, installed))
}

pub(super) fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

enum Route<'a> {
    Claim,
    /// A resource, and the key below its prefix.
    Object {
        group: &'a str,
        plural: &'a str,
        key: &'a str,
    },
}

fn route(key: &[u8]) -> Option<Route<'_>> {
    let key = std::str::from_utf8(key).ok()?;
    if key.starts_with(CLAIMS_PREFIX) {
        return Some(Route::Claim);
    }
    let mut parts = key.strip_prefix("/registry/")?.splitn(3, '/');
    let (group, plural, key) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Route::Object { group: if group == "core" { "" } else { group }, plural, key })
}

pub(super) fn cached(resource: &Resource, key: &str, kv: &KeyValue) -> Option<Arc<Cached>> {
    let cached = Cached::from_stored(resource, key.to_owned(), kv.mod_revision, &kv.value);
    if cached.is_none() {
        tracing::error!(resource = &*resource.plural, key, "stored object cannot be decoded and is not served");
    }
    cached.map(Arc::new)
}

/// What an event changes.
enum Applied<'a> {
    Claim,
    /// An object's key, and what it is now, in each version that is served.
    Object(&'a str, Vec<(usize, Option<Arc<Cached>>)>),
}

fn decoded<'a>(registry: &Registry, fresh: &Fresh, event: &'a Event) -> Option<Applied<'a>> {
    let (raw, kv) = match event {
        Event::Put { kv, .. } => (&kv.key, Some(kv)),
        Event::Delete { key, .. } => (key, None),
    };
    Some(match route(raw)? {
        Route::Claim => Applied::Claim,
        Route::Object { group, plural, key } => {
            let versions = registry.versions(group, plural);
            let mut facts = kv.and_then(|kv| fresh.take(&kv.key, &kv.value));
            let mut object = |r: &Resource, kv: &KeyValue| match facts.take_if(|(slot, _)| *slot == r.slot) {
                Some((_, facts)) => Cached::from_known(key, kv.mod_revision, &kv.value, facts).map(Arc::new),
                None => cached(r, key, kv),
            };
            Applied::Object(key, versions.map(|r| (r.slot, kv.and_then(|kv| object(r, kv)))).collect())
        }
    })
}

impl Cache {
    /// Applies transactions in order; readers see all of them or none.
    fn apply(&self, batches: &[WatchBatch]) {
        let Some(revision) = batches.last().map(|batch| batch.revision) else { return };
        // Decoding takes time; the lock is taken after it.
        let registry = self.registry();
        let events = || batches.iter().flat_map(|batch| &batch.events);
        let decoded: Vec<_> = events().map(|event| decoded(&registry, &self.fresh, event)).collect();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for (event, decoded) in events().zip(decoded) {
            match (decoded, event) {
                (Some(Applied::Claim), Event::Put { kv, .. }) => {
                    state.claims.insert(kv.key.clone(), kv.value.clone());
                }
                (Some(Applied::Claim), Event::Delete { key, .. }) => {
                    state.claims.remove(key);
                }
                (Some(Applied::Object(key, versions)), event) => {
                    let at = match event {
                        Event::Put { kv, .. } => kv.mod_revision,
                        Event::Delete { revision, .. } => *revision,
                    };
                    for (slot, object) in versions {
                        if let Some(follower) = self.followers.get(&slot) {
                            follower.changed(key, object.as_deref());
                        }
                        state.kinds.entry(slot).or_default().apply(key, object, at);
                    }
                }
                (None, _) => {}
            }
        }
        state.revision = state.revision.max(revision);
        let revision = state.revision;
        drop(state);
        self.revision.send_replace(revision);
    }

    /// Puts a whole new view in place; what watched the old one is closed and starts over.
    fn replace(
        &self,
        registry: Registry,
        items: HashMap<usize, Items>,
        claims: HashMap<Bytes, Bytes>,
        revision: Revision,
    ) {
        self.fresh.clear();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for (slot, follower) in &self.followers {
            follower.reset();
            for item in items.get(slot).into_iter().flat_map(BTreeMap::values) {
                follower.changed(&item.key, Some(item));
            }
        }
        state.kinds = items.into_iter().map(|(slot, items)| (slot, Kind::fresh(items, revision))).collect();
        self.registry.store(Arc::new(registry));
        state.claims = claims;
        state.revision = revision;
        drop(state);
        self.revision.send_replace(revision);
    }
}

impl Kind {
    /// Objects as of a revision, of whose past nothing is known.
    pub(super) fn fresh(items: Items, revision: Revision) -> Self {
        Self { items, floor: revision, ..Self::default() }
    }
}
