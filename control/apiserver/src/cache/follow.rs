//! The task that keeps the watch cache equal to the store.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use skep_raft::{Store, StoreError, WatchBatch};
use skep_store::{Event, KeyValue, Range, Revision};
use tokio_util::sync::CancellationToken;

use super::{CLAIMS_PREFIX, Cache, Kind};
use crate::object::Cached;

/// Pairs read at once while loading.
const PAGE_LEN: usize = 1_000;

/// Wait before the cache is loaded again after the store's watch broke.
const RELOAD_WAIT: Duration = Duration::from_millis(200);

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

async fn follow(cache: &Cache, store: &Store, mut loaded: Revision) {
    loop {
        let batches = store.watch(Bytes::from_static(ALL_START), Some(Bytes::from_static(ALL_END)), loaded + 1);
        let why = drain(cache, batches).await;
        tracing::warn!(error = why.as_ref().map(tracing::field::display), "watch cache starts over");
        loaded = loop {
            tokio::time::sleep(RELOAD_WAIT).await;
            match load(cache, store).await {
                Ok(revision) => break revision,
                Err(error) => tracing::warn!(%error, "watch cache cannot read the store"),
            }
        };
    }
}

/// Applies batches until the stream ends or breaks.
async fn drain<S>(cache: &Cache, batches: S) -> Option<StoreError>
where
    S: Stream<Item = Result<WatchBatch, StoreError>>,
{
    let mut batches = std::pin::pin!(batches);
    while let Some(batch) = batches.next().await {
        match batch {
            Ok(batch) => cache.apply(batch.revision, batch.events),
            Err(error) => return Some(error),
        }
    }
    None
}

async fn load(cache: &Cache, store: &Store) -> Result<Revision, StoreError> {
    let mut kinds: Vec<BTreeMap<String, Arc<Cached>>> = vec![BTreeMap::new(); cache.registry.resources().len()];
    let mut claims = HashMap::new();
    let mut start = Bytes::from_static(REGISTRY_START);
    let mut revision = 0;
    loop {
        let end = Some(Bytes::from_static(REGISTRY_END));
        let page = store.range(Range { start, end, revision, limit: PAGE_LEN, ..Range::default() }).await?;
        if revision == 0 {
            revision = page.revision;
        }
        start = page.kvs.last().map(|kv| after(&kv.key)).unwrap_or_default();
        for kv in page.kvs {
            match cache.route(&kv.key) {
                Some(Route::Claim) => {
                    claims.insert(kv.key, kv.value);
                }
                Some(Route::Object(index, key)) => {
                    if let Some(object) = cache.cached(index, key, &kv) {
                        kinds[index].insert(object.key.clone(), object);
                    }
                }
                None => {}
            }
        }
        if !page.more {
            break;
        }
    }
    cache.replace(kinds, claims, revision);
    Ok(revision)
}

fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

enum Route<'a> {
    Claim,
    /// A resource's index, and the key below its prefix.
    Object(usize, &'a str),
}

impl Cache {
    fn route<'a>(&self, key: &'a [u8]) -> Option<Route<'a>> {
        let key = std::str::from_utf8(key).ok()?;
        if key.starts_with(CLAIMS_PREFIX) {
            return Some(Route::Claim);
        }
        let below = key.strip_prefix("/registry/")?;
        let group = below.find('/')?;
        let plural = below[group + 1..].find('/')?;
        let (prefix, rest) = key.split_at("/registry/".len() + group + 1 + plural + 1);
        Some(Route::Object(*self.prefixes.get(prefix)?, rest))
    }

    fn cached(&self, index: usize, key: &str, kv: &KeyValue) -> Option<Arc<Cached>> {
        let resource = &self.registry.resources()[index];
        let cached = Cached::from_stored(resource, key.to_owned(), kv.mod_revision, &kv.value);
        if cached.is_none() {
            tracing::error!(resource = resource.plural, key, "stored object cannot be decoded and is not served");
        }
        cached.map(Arc::new)
    }

    fn apply(&self, revision: Revision, events: Vec<Event>) {
        // Decoding takes time; the lock is taken after it.
        let decoded: Vec<_> = events.iter().map(|event| self.decoded(event)).collect();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for (event, decoded) in events.iter().zip(decoded) {
            match (decoded, event) {
                (Some((Route::Claim, _)), Event::Put { kv, .. }) => {
                    state.claims.insert(kv.key.clone(), kv.value.clone());
                }
                (Some((Route::Claim, _)), Event::Delete { key, .. }) => {
                    state.claims.remove(key);
                }
                (Some((Route::Object(index, key), object)), Event::Put { kv, .. }) => {
                    state.kinds[index].apply(key, object, kv.mod_revision);
                }
                (Some((Route::Object(index, key), _)), Event::Delete { revision, .. }) => {
                    state.kinds[index].apply(key, None, *revision);
                }
                (None, _) => {}
            }
        }
        state.revision = state.revision.max(revision);
        let revision = state.revision;
        drop(state);
        self.revision.send_replace(revision);
    }

    fn decoded<'a>(&self, event: &'a Event) -> Option<(Route<'a>, Option<Arc<Cached>>)> {
        match event {
            Event::Put { kv, .. } => {
                let route = self.route(&kv.key)?;
                let object = match route {
                    Route::Object(index, key) => self.cached(index, key, kv),
                    Route::Claim => None,
                };
                Some((route, object))
            }
            Event::Delete { key, .. } => Some((self.route(key)?, None)),
        }
    }

    /// Puts a whole new view in place; what watched the old one is closed and starts over.
    fn replace(&self, items: Vec<BTreeMap<String, Arc<Cached>>>, claims: HashMap<Bytes, Bytes>, revision: Revision) {
        let fresh = |items| Kind { items, floor: revision, ..Kind::default() };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.kinds = items.into_iter().map(fresh).collect();
        state.claims = claims;
        state.revision = revision;
        drop(state);
        self.revision.send_replace(revision);
    }
}
