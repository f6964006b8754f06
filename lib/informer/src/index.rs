//! Objects by what they have in common.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cache::Change;
use crate::informer::{Informer, Watched};

/// The objects of an informer under keys of their own, e.g. pods by node. Had by [`Informer::index`]; changes with the
/// cache, under the same lock.
pub struct Index<K> {
    pub(crate) informer: Informer<K>,
    pub(crate) number: usize,
}

impl<K> Clone for Index<K> {
    fn clone(&self) -> Self {
        Self { informer: self.informer.clone(), number: self.number }
    }
}

impl<K: Watched> Index<K> {
    /// The objects under a key, in no order.
    pub fn get(&self, key: &str) -> Vec<Arc<K>> {
        self.informer.read(|cache| cache.entries(self.number).get(key))
    }

    /// The number of objects under a key.
    pub fn len(&self, key: &str) -> usize {
        self.informer.read(|cache| cache.entries(self.number).len(key))
    }
}

/// Says under which keys an object is found.
pub(crate) type KeysOf<K> = fn(&K) -> Vec<String>;

pub(crate) struct Entries<K> {
    pub(crate) name: &'static str,
    keys_of: KeysOf<K>,
    /// An object's address tells it apart: it is in the cache, and stays where it is, for as long as it is here.
    objects: HashMap<String, HashMap<usize, Arc<K>>>,
}

impl<K> Entries<K> {
    pub(crate) fn new<'a>(name: &'static str, keys_of: KeysOf<K>, objects: impl Iterator<Item = &'a Arc<K>>) -> Self
    where
        K: 'a,
    {
        let mut entries = Self { name, keys_of, objects: HashMap::new() };
        objects.for_each(|object| entries.insert(object));
        entries
    }

    pub(crate) fn take(&mut self, change: &Change<K>) {
        if let Some(old) = &change.old {
            self.remove(old);
        }
        if let Some(new) = &change.new {
            self.insert(new);
        }
    }

    fn insert(&mut self, object: &Arc<K>) {
        for key in (self.keys_of)(object) {
            self.objects.entry(key).or_default().insert(address(object), Arc::clone(object));
        }
    }

    fn remove(&mut self, object: &Arc<K>) {
        for key in (self.keys_of)(object) {
            if let Some(objects) = self.objects.get_mut(&key) {
                objects.remove(&address(object));
                if objects.is_empty() {
                    self.objects.remove(&key);
                }
            }
        }
    }

    pub(crate) fn get(&self, key: &str) -> Vec<Arc<K>> {
        self.objects.get(key).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn len(&self, key: &str) -> usize {
        self.objects.get(key).map_or(0, HashMap::len)
    }
}

fn address<K>(object: &Arc<K>) -> usize {
    Arc::as_ptr(object).addr()
}
