//! What definitions make of the registry: the task that follows the store installs their resources as it comes to them,
//! so that every server serves the same at the same revision.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use skep_raft::{Store, StoreError};
use skep_registry::{Registry, Resource};
use skep_store::{Event, KeyValue, Range, Revision};

use super::follow::{Items, PAGE_LEN, after, cached};
use super::{Cache, Kind};
use crate::object;

/// Where definitions are stored.
const START: &[u8] = b"/registry/apiextensions.k8s.io/customresourcedefinitions/";
const END: &[u8] = b"/registry/apiextensions.k8s.io/customresourcedefinitions0";

/// The definitions whose resources are in the registry, by name.
#[derive(Default)]
pub(super) struct Installed(HashMap<String, CustomResourceDefinition>);

fn read(kv: &KeyValue) -> Option<CustomResourceDefinition> {
    serde_json::from_slice(&kv.value).ok()
}

fn name(key: &[u8]) -> Option<String> {
    String::from_utf8(key.strip_prefix(START)?.to_vec()).ok()
}

/// Whether events change definitions.
pub(super) fn concern(events: &[Event]) -> bool {
    let key = |event: &Event| match event {
        Event::Put { kv, .. } => kv.key.starts_with(START),
        Event::Delete { key, .. } => key.starts_with(START),
    };
    events.iter().any(key)
}

impl Installed {
    /// All definitions, a registry with their resources, and the revision as of which they are.
    pub(super) async fn load(registry: &Registry, store: &Store) -> Result<(Self, Registry, Revision), StoreError> {
        let mut all = HashMap::new();
        let (start, end) = (Bytes::from_static(START), Bytes::from_static(END));
        let revision = each(store, start, end, 0, |kv| {
            if let (Some(name), Some(definition)) = (name(&kv.key), read(kv)) {
                all.insert(name, definition);
            }
        })
        .await?;
        let resources = all.values().flat_map(skep_custom::resources).collect();
        let registry = registry.replaced(&|_| true, resources);
        Ok((Self(all), registry, revision))
    }

    /// Installs what the events of a transaction change, before they are applied.
    pub(super) async fn follow(
        &mut self,
        cache: &Cache,
        store: &Store,
        revision: Revision,
        events: &[Event],
    ) -> Result<(), StoreError> {
        for event in events {
            let (key, now) = match event {
                Event::Put { kv, .. } => (&kv.key, read(kv)),
                Event::Delete { key, .. } => (key, None),
            };
            let Some(name) = name(key) else { continue };
            let alike = match (self.0.get(&name), &now) {
                (Some(before), Some(now)) => skep_custom::serves_alike(before, now),
                (None, None) => true,
                _ => false,
            };
            if !alike {
                let resources = now.as_ref().map(skep_custom::resources).unwrap_or_default();
                install(cache, store, &name, resources, revision).await?;
            }
            match now {
                Some(now) => self.0.insert(name, now),
                None => self.0.remove(&name),
            };
        }
        Ok(())
    }
}

/// Puts resources in place of those that a definition had, with the objects that are stored of them. Who watched the
/// old ones starts over.
async fn install(
    cache: &Cache,
    store: &Store,
    name: &str,
    resources: Vec<Resource>,
    revision: Revision,
) -> Result<(), StoreError> {
    let own = |resource: &&Arc<Resource>| resource.definition.as_deref() == Some(name);
    let old = cache.registry();
    let gone: Vec<usize> = old.resources().iter().filter(own).map(|resource| resource.slot).collect();
    if resources.is_empty() && gone.is_empty() {
        return Ok(());
    }
    let next = old.replaced(&|definition| definition == name, resources);
    let new: Vec<&Arc<Resource>> = next.resources().iter().filter(own).collect();
    let mut kinds: HashMap<usize, Items> = new.iter().map(|resource| (resource.slot, Items::new())).collect();
    if let Some(first) = new.first() {
        let prefix = object::prefix(first);
        let mut end = prefix.clone().into_bytes();
        // After `/` comes `0`.
        end.pop();
        end.push(b'0');
        each(store, prefix.clone().into(), end.into(), revision, |kv| {
            let key = std::str::from_utf8(&kv.key).ok().and_then(|key| key.strip_prefix(&prefix));
            for resource in &new {
                let object = key.and_then(|key| cached(resource, key, kv));
                if let (Some(object), Some(items)) = (object, kinds.get_mut(&resource.slot)) {
                    items.insert(object.key.clone(), object);
                }
            }
        })
        .await?;
    }
    let count = new.len();
    let mut state = cache.state.write().unwrap_or_else(PoisonError::into_inner);
    state.kinds.extend(kinds.into_iter().map(|(slot, items)| (slot, Kind::fresh(items, revision))));
    cache.registry.store(Arc::new(next));
    for slot in gone {
        state.kinds.remove(&slot);
    }
    drop(state);
    tracing::info!(definition = name, versions = count, revision, "custom resource");
    Ok(())
}

/// Calls a function with all pairs of a range as of a revision; 0 is now. Returns the revision.
async fn each(
    store: &Store,
    mut start: Bytes,
    end: Bytes,
    mut revision: Revision,
    mut take: impl FnMut(&KeyValue),
) -> Result<Revision, StoreError> {
    loop {
        let end = Some(end.clone());
        let page = store.range(Range { start, end, revision, limit: PAGE_LEN, ..Range::default() }).await?;
        if revision == 0 {
            revision = page.revision;
        }
        start = page.kvs.last().map(|kv| after(&kv.key)).unwrap_or_default();
        page.kvs.iter().for_each(&mut take);
        if !page.more {
            return Ok(revision);
        }
    }
}
