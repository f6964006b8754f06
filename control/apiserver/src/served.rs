//! A handle to one resource of the registry that streams can own.

use std::ops::Deref;
use std::sync::Arc;

use skep_registry::{Registry, Resource};

/// One resource that is served, and where its objects are.
#[derive(Clone)]
pub(crate) struct Served {
    registry: Arc<Registry>,
    index: usize,
}

impl Served {
    pub(crate) fn find(registry: &Arc<Registry>, group: &str, version: &str, plural: &str) -> Option<Self> {
        let same = |r: &Resource| r.group == group && r.version == version && r.plural == plural;
        let index = registry.resources().iter().position(same)?;
        Some(Self { registry: Arc::clone(registry), index })
    }

    pub(crate) fn all(registry: &Arc<Registry>) -> impl Iterator<Item = Self> {
        (0..registry.resources().len()).map(|index| Self { registry: Arc::clone(registry), index })
    }

    /// Its place in the registry, which is its place in the watch cache.
    pub(crate) fn index(&self) -> usize {
        self.index
    }
}

impl Deref for Served {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        // `index` came from this registry, which cannot change.
        &self.registry.resources()[self.index]
    }
}
