//! Objects by namespace and name, and the rules by which they are replaced.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::index::{Entries, KeysOf};
use crate::informer::Watched;

/// What became of one object. At least one of the two is there.
pub struct Change<K> {
    /// The object before.
    pub old: Option<Arc<K>>,
    /// The object now.
    pub new: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// The object before and the object now.
    pub fn each(&self) -> impl Iterator<Item = &Arc<K>> {
        self.old.iter().chain(self.new.iter())
    }

    /// The object now, or as it last was.
    pub fn latest(&self) -> Option<&Arc<K>> {
        self.new.as_ref().or(self.old.as_ref())
    }
}

type Objects<K> = HashMap<String, BTreeMap<String, Arc<K>>>;

pub(crate) struct Cache<K> {
    objects: Objects<K>,
    /// The highest version that the watch has delivered: it has nothing more to say about anything up to there.
    seen: u64,
    /// A list under way, and the own writes that came meanwhile, which it may or may not hold.
    listing: Option<Listing<K>>,
    indexes: Vec<Entries<K>>,
}

struct Listing<K> {
    objects: Objects<K>,
    written: Vec<Arc<K>>,
    seen: u64,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self { objects: HashMap::new(), seen: 0, listing: None, indexes: Vec::new() }
    }
}

impl<K: Watched> Cache<K> {
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.objects.get(namespace)?.get(name).cloned()
    }

    pub(crate) fn list(&self, namespace: &str) -> Vec<Arc<K>> {
        self.objects.get(namespace).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.objects.values().flat_map(BTreeMap::values).cloned().collect()
    }

    /// The number of the index of that name, which is made if it is not there.
    pub(crate) fn index(&mut self, name: &'static str, keys_of: KeysOf<K>) -> usize {
        if let Some(number) = self.indexes.iter().position(|entries| entries.name == name) {
            return number;
        }
        let objects = self.objects.values().flat_map(BTreeMap::values);
        self.indexes.push(Entries::new(name, keys_of, objects));
        self.indexes.len() - 1
    }

    pub(crate) fn entries(&self, number: usize) -> &Entries<K> {
        &self.indexes[number]
    }

    /// An object as the watch tells it.
    pub(crate) fn apply(&mut self, object: K) -> Option<Change<K>> {
        self.seen = self.seen.max(version(object.meta()));
        let change = self.put(Arc::new(object));
        self.indexed(change)
    }

    /// An object as the answer to an own write has it. Left out if the watch is past it already: it may be gone since.
    pub(crate) fn record(&mut self, object: K) -> Option<Change<K>> {
        if version(object.meta()) <= self.seen {
            return None;
        }
        let object = Arc::new(object);
        if let Some(listing) = &mut self.listing {
            listing.written.push(Arc::clone(&object));
        }
        let change = self.put(object);
        self.indexed(change)
    }

    fn indexed(&mut self, change: Option<Change<K>>) -> Option<Change<K>> {
        if let Some(change) = &change {
            self.indexes.iter_mut().for_each(|entries| entries.take(change));
        }
        change
    }

    fn put(&mut self, object: Arc<K>) -> Option<Change<K>> {
        let (namespace, name) = identity(object.meta());
        let objects = self.objects.entry(namespace.to_owned()).or_default();
        if let Some(known) = objects.get(name)
            && version(known.meta()) >= version(object.meta())
            && version(object.meta()) != 0
        {
            return None;
        }
        let old = objects.insert(name.to_owned(), Arc::clone(&object));
        Some(Change { old, new: Some(object) })
    }

    /// A removal as the watch tells it.
    pub(crate) fn delete(&mut self, object: &K) -> Option<Change<K>> {
        self.seen = self.seen.max(version(object.meta()));
        self.remove(object.meta())
    }

    /// Removes the object if it is still the one of this UID.
    pub(crate) fn remove(&mut self, meta: &ObjectMeta) -> Option<Change<K>> {
        let (namespace, name) = identity(meta);
        let objects = self.objects.get_mut(namespace)?;
        if objects.get(name)?.meta().uid != meta.uid {
            return None;
        }
        let old = objects.remove(name);
        if objects.is_empty() {
            self.objects.remove(namespace);
        }
        self.indexed(Some(Change { old, new: None }))
    }

    pub(crate) fn begin_list(&mut self) {
        self.listing = Some(Listing { objects: HashMap::new(), written: Vec::new(), seen: 0 });
    }

    pub(crate) fn list_item(&mut self, object: K) {
        let Some(listing) = &mut self.listing else { return };
        listing.seen = listing.seen.max(version(object.meta()));
        let (namespace, name) = identity(object.meta());
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        listing.objects.entry(namespace).or_default().insert(name, Arc::new(object));
    }

    /// Takes the list's objects for the cache's own; says what that changes.
    pub(crate) fn end_list(&mut self) -> Vec<Change<K>> {
        let Some(listing) = self.listing.take() else { return Vec::new() };
        let before = std::mem::replace(&mut self.objects, listing.objects);
        self.seen = listing.seen;
        for object in listing.written {
            if version(object.meta()) > self.seen {
                self.put(object);
            }
        }
        let mut changes = Vec::new();
        for (namespace, objects) in &mut self.objects {
            for (name, new) in objects {
                match before.get(namespace).and_then(|objects| objects.get(name)).cloned() {
                    // Nothing new: the object stays where it is.
                    Some(old) if old.meta().resource_version == new.meta().resource_version => *new = old,
                    old => changes.push(Change { old, new: Some(Arc::clone(new)) }),
                }
            }
        }
        for (namespace, objects) in before {
            for (name, old) in objects {
                if self.objects.get(&namespace).is_none_or(|objects| !objects.contains_key(&name)) {
                    changes.push(Change { old: Some(old), new: None });
                }
            }
        }
        for entries in &mut self.indexes {
            changes.iter().for_each(|change| entries.take(change));
        }
        changes
    }
}

fn identity(meta: &ObjectMeta) -> (&str, &str) {
    (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// The resource version as a number; 0, which replaces anything, where it is none.
fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Resource as _;

    use super::*;

    fn object(name: &str, version: u64) -> ConfigMap {
        let metadata = ObjectMeta {
            namespace: Some("default".to_owned()),
            name: Some(name.to_owned()),
            uid: Some(format!("uid-{name}")),
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn names(cache: &Cache<ConfigMap>) -> Vec<String> {
        let mut names: Vec<_> =
            cache.list("default").iter().filter_map(|object| object.metadata.name.clone()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_own_write_is_there_at_once_and_told_once() {
        let mut cache = Cache::default();
        assert!(cache.record(object("a", 5)).is_some());
        assert_eq!(names(&cache), ["a"]);
        assert!(cache.apply(object("a", 5)).is_none());
        assert!(cache.apply(object("a", 4)).is_none());
        assert!(cache.apply(object("a", 6)).is_some());
    }

    #[test]
    fn a_late_answer_does_not_bring_back_what_is_gone() {
        let mut cache = Cache::default();
        cache.apply(object("a", 5));
        cache.delete(&object("a", 7));
        assert!(cache.record(object("a", 5)).is_none());
        assert!(names(&cache).is_empty());
    }

    #[test]
    fn a_removal_of_an_earlier_namesake_is_ignored() {
        let mut cache = Cache::default();
        cache.apply(object("a", 9));
        let mut earlier = object("a", 8);
        earlier.metadata.uid = Some("another".to_owned());
        assert!(cache.delete(&earlier).is_none());
        assert_eq!(names(&cache), ["a"]);
    }

    #[test]
    fn a_new_list_replaces_all_but_own_writes_that_came_meanwhile() {
        let mut cache = Cache::default();
        for (name, version) in [("kept", 1), ("changed", 2), ("gone", 3)] {
            cache.apply(object(name, version));
        }
        cache.begin_list();
        cache.list_item(object("kept", 1));
        cache.list_item(object("changed", 6));
        cache.record(object("own", 8));
        let mut changes: Vec<_> = cache
            .end_list()
            .iter()
            .map(|change| (change.latest().unwrap().metadata.name.clone().unwrap(), change.new.is_some()))
            .collect();
        changes.sort();
        assert_eq!(changes, [("changed".to_owned(), true), ("gone".to_owned(), false)]);
        assert_eq!(names(&cache), ["changed", "kept", "own"]);
    }

    #[test]
    fn an_index_holds_what_the_cache_holds() {
        let mut cache = Cache::default();
        cache.apply(object("early", 1));
        let initial = |object: &ConfigMap| vec![object.metadata.name.as_deref().unwrap_or_default()[..1].to_owned()];
        let number = cache.index("by-initial", initial);
        assert_eq!(number, cache.index("by-initial", initial));
        cache.apply(object("early", 2));
        cache.apply(object("even", 3));
        cache.record(object("odd", 4));
        let lens = |cache: &Cache<ConfigMap>| ["e", "o"].map(|key| cache.entries(number).len(key));
        assert_eq!(lens(&cache), [2, 1]);
        cache.begin_list();
        cache.list_item(object("early", 2));
        cache.list_item(object("other", 6));
        cache.end_list();
        assert_eq!(lens(&cache), [1, 1]);
        cache.delete(&object("early", 7));
        cache.remove(object("other", 6).meta());
        assert_eq!(lens(&cache), [0, 0]);
    }
}
